//! A fitted mixture: the method that every verb takes and that is no network.

use serde_json::Value;

use crate::train::{Mark, Workplace, metric, smoke, text, workspace};

const CONFIG: &str = "mixture_two_moons.json";

#[test]
fn a_mixture_that_is_killed_and_stopped_ends_with_the_same_bits() {
    // Many steps, so that a kill falls between them.
    let long = ["--set", "method.gaussian_mixture.tolerance=0", "--set", "method.gaussian_mixture.iterations=400"];
    let marks = [Mark::File("config.json"), Mark::Line(13), Mark::Checkpoint(500), Mark::Line(901)];
    Workplace::new().survives_kills_and_stops(CONFIG, &long, &marks, "777");
}

#[test]
fn every_verb_takes_a_mixture_and_its_own_law_is_exact() {
    let place = Workplace::new();
    place.smoke(CONFIG, "run", &["-q"]).succeeds();
    let run = place.run("run");
    let (kl, error) = metric(&run, "kl_forward");
    // 480 points and eight Gaussians: less than .2 nats from the moons, whose width one Gaussian misses by half a nat.
    assert!(error < 0.03 && (0.0..0.2).contains(&kl), "{kl} ± {error}");
    let (out, log_q) = (place.path("s.csv"), place.path("q.csv"));
    let draw = |more: &[&str]| {
        let arguments =
            [&["sample", text(&run), "--count", "2000", "--out", text(&out), "--json", "-q"], more].concat();
        let said = place.train(&arguments).succeeds().json();
        (said, std::fs::read_to_string(&out).unwrap())
    };
    let (exact, drawn) = draw(&[]);
    assert_eq!((&exact["sampler"], &exact["steps"]), (&"exact".into(), &Value::Null));
    let (solved, other) = draw(&["--sampler", "dpm-solver-2m", "--steps", "20"]);
    assert_eq!((&solved["sampler"], &solved["steps"]), (&"dpm_solver_2m".into(), &20.into()));
    assert_ne!(drawn, other);
    draw(&["--grid", "localized", "--steps", "8"]);
    place.train(&["density", text(&run), "--in", text(&out), "--out", text(&log_q), "-q"]).succeeds();
    let refused = ["density", text(&run), "--in", text(&out), "--out", text(&log_q), "--steps", "8"];
    place.train(&refused).fails(2).says("`--steps` means nothing to the run");
    let report = place.train(&["evaluate", text(&run), "--sampler", "heun", "--json", "-q"]).succeeds().json();
    assert!(report["metrics"]["elbo"]["note"].as_str().unwrap().contains("those of a solver"), "{report}");
    let looked =
        place.train(&["localize", text(&run), "--snr", "1", "--times", "0.5", "--json", "-q"]).succeeds().json();
    assert_eq!(looked["examined"], "exact law");
    let back = ["chain", text(&run), "--steps", "5", "--particles", "64", "--json", "-q"];
    assert_eq!(place.train(&back).succeeds().json()["examined"], "exact law");
    let missing = ["evaluate", text(&run), "--only", "denoising_loss"];
    place.train(&missing).fails(2).says("takes a score network");
}

#[test]
fn a_mixture_starts_from_another_of_its_size() {
    let place = Workplace::new();
    let eight = ["-q", "--set", "method.gaussian_mixture.components=8"];
    place.smoke(CONFIG, "first", &eight).succeeds();
    let start = format!("method.gaussian_mixture.start_from={}", text(&place.run("first")));
    let further = ["--set", &start, "--set", "method.gaussian_mixture.restarts=1"];
    place.smoke(CONFIG, "second", &[&eight[..], &further].concat()).succeeds();
    // Never worse by held-out points than what it started from; the first restart alone may fall behind.
    let held_out = |run: &str| {
        let metrics = std::fs::read_to_string(place.run(run).join("metrics.jsonl")).unwrap();
        let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let nll: Vec<f64> = lines.filter_map(|line| line["held_out_nll"].as_f64()).collect();
        (nll[0], nll.into_iter().fold(f64::INFINITY, f64::min))
    };
    assert!(held_out("second").0 <= held_out("first").1, "{:?} from {:?}", held_out("second"), held_out("first"));
    let four = ["-q", "--set", "method.gaussian_mixture.components=4", "--set", &start];
    place.smoke(CONFIG, "third", &four).fails(2).says("has 8 components, and the first size here is 4");
    place.smoke("score_matching_two_moons.json", "network", &["-q"]).succeeds();
    let network = format!("method.gaussian_mixture.start_from={}", text(&place.run("network")));
    place.smoke(CONFIG, "fourth", &["-q", "--set", &network]).fails(2).says("has another model");
}

#[test]
fn what_belongs_to_a_network_is_refused_by_name() {
    let place = Workplace::new();
    let config = smoke(CONFIG);
    let check = |set: &str| place.train(&["check", text(&config), "--set", set]);
    check("evaluation.steps=18").fails(2).says("`evaluation.steps`: this key belongs to `denoising_score_matching`");
    check(r#"training={"steps":5,"batch":5,"learning_rate":{"constant":{"rate":1e-3}}}"#)
        .fails(2)
        .says("`training`: this key belongs to `denoising_score_matching`, and `gaussian_mixture` does not read it");
    check(r#"target={"two_moons":{}}"#)
        .fails(2)
        .says(r#"write {"drawn": {"target": {"two_moons": …}, "points": 20000}}"#);
    check("method.gaussian_mixture.components=0").fails(2).says("components");
    check("method.gaussian_mixture.components=[8,4,8]").fails(2).says("the size 8 is there twice");
    check("target.drawn.split.validation=0").fails(2).says("give one size");
    check("method.gaussian_mixture={\"components\":4,\"covariance\":\"tied\",\"shrinkage\":5}")
        .fails(2)
        .says("leave it out");
    check("method.gaussian_mixture.components=[]").fails(2).says("a list of at least 1");
}

#[test]
fn init_makes_a_mixture_for_a_file() {
    let place = Workplace::new();
    let digits = workspace().join("datasets/digits.npz");
    let config = place.train(&["init", text(&digits), "--method", "gaussian_mixture"]).succeeds().stdout;
    let config = place.write("config.json", &config);
    place.train(&["check", text(&config)]).succeeds();
}
