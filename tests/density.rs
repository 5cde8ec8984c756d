//! A density without samples: typed, followed by particles, judged without data.

use serde_json::Value;

use crate::train::{Mark, Workplace, assert_equal_results, metric, smoke, text};

const CONFIG: &str = "density_expression.json";

/// The config of a formula, at a path of the workplace.
fn typed(place: &Workplace, name: &str, formula: &str, dim: usize, more: &str) -> std::path::PathBuf {
    let config = format!(
        r#"{{"name": "{name}", "target": {{"expression": {{"dim": {dim}, "log_density": "{formula}"{more}}}}},
            "method": {{"annealed_particles": {{"particles": 512, "start": {{"gaussian": {{"sd": 2}}}}}}}},
            "evaluation": {{"count": 500}}, "output": {{"log_every": 1, "figures": false}}}}"#
    );
    place.write(&format!("{name}.json"), &config)
}

#[test]
fn an_annealing_that_is_killed_and_stopped_ends_with_the_same_bits() {
    let place = Workplace::new();
    // Many temperatures, so that a kill falls between them.
    let long = ["--set", "method.annealed_particles.ess=0.995", "--set", "output.checkpoint_every=2", "-q"];
    place.smoke(CONFIG, "whole", &[&long[..], &["--threads", "1"]].concat()).succeeds();
    let (config, run) = (smoke(CONFIG), place.run("killed"));
    let arguments = [&["run", text(&config), "--run-dir", text(&run), "--resume"][..], &long].concat();
    place.train_through_kills(&arguments, &run, &[Mark::File("config.json"), Mark::Line(3), Mark::Line(9)]);
    assert_equal_results(&place.run("whole"), &run);
    place.smoke(CONFIG, "stopped", &[&long[..], &["--max-steps", "3"]].concat()).fails(75);
    let stopped = place.run("stopped");
    place.train(&["resume", text(&stopped), "-q"]).succeeds();
    let (stopped, whole) = (crate::train::results(&stopped), crate::train::results(&place.run("whole")));
    // The stop itself left a checkpoint.
    assert!(whole.iter().all(|(name, bytes)| stopped.get(name) == Some(bytes)));
}

#[test]
fn a_typed_density_is_followed_and_every_verb_answers() {
    let place = Workplace::new();
    // A Gaussian beside a Gamma(3, 2): Z = √(2π)/2 · Γ(3)/2³, E x₁ = 3/2.
    let formula = "-2*(x0 - 1)^2 + 2*log(x1) - 2*x1";
    let config = typed(&place, "typed", formula, 2, r#", "support": {"x1": "positive"}"#);
    let said = place.train(&["check", text(&config)]).succeeds().stdout;
    assert!(said.contains("a density without draws of dimension 2"), "{said}");
    let run = place.run("typed");
    place.train(&["run", text(&config), "--run-dir", text(&run), "-q"]).succeeds();
    let (log_z, error) = metric(&run, "log_z");
    let exact = std::f64::consts::TAU.ln() / 2.0 - 2f64.ln() + 0.25f64.ln();
    assert!((log_z - exact).abs() < 5.0 * error && error < 0.15, "{log_z} ± {error} against {exact}");
    let summary = place.path("summary.csv");
    let report = ["evaluate", text(&run), "--count", "4000", "--out", text(&summary), "--json", "-q"];
    let report = place.train(&report).succeeds().json();
    let mean = report["posterior"][1]["mean"].as_f64().unwrap();
    // The sd of Gamma(3, 2) is √3/2, and the particles are 512.
    assert!((mean - 1.5).abs() < 5.0 * 3f64.sqrt() / 2.0 / 512f64.sqrt(), "{report}");
    assert_eq!(report["compared_with"], "nothing");
    let table = std::fs::read_to_string(&summary).unwrap();
    assert!(table.starts_with("coordinate,mean,sd,q5,q50,q95,r_hat\nx0,") && table.lines().count() == 3, "{table}");
    let out = place.path("samples.csv");
    let drawn = ["sample", text(&run), "--count", "700", "--out", text(&out), "--json", "-q"];
    let drawn = place.train(&drawn).succeeds().json();
    assert!(drawn["distinct_ancestors"].as_u64().unwrap() > 50, "{drawn}");
    let rows: Vec<Vec<f64>> = (std::fs::read_to_string(&out).unwrap().lines())
        .filter_map(|line| line.split(',').map(|cell| cell.parse().ok()).collect())
        .collect();
    assert!(rows.len() == 700 && rows.iter().all(|row| row[1] > 0.0), "samples are in the user's coordinates");
    let log_q = place.path("q.csv");
    let density = ["density", text(&run), "--in", text(&out), "--out", text(&log_q), "-q"];
    place.train(&density).fails(2).says("has no log-density");
    place.train(&["evaluate", text(&run), "--only", "w2"]).fails(2).says("take draws of the target");
    place.train(&["localize", text(&config)]).fails(2).says("take draws of the target");
}

#[test]
fn runs_of_one_target_are_set_side_by_side() {
    let place = Workplace::new();
    let (config, run) = (smoke(CONFIG), |name: &str| place.run(name));
    for (name, seed) in [("a", "1"), ("b", "2")] {
        place.train(&["run", text(&config), "--run-dir", text(&run(name)), "--seed", seed, "-q"]).succeeds();
    }
    let (a, b) = (run("a"), run("b"));
    let both = ["evaluate", text(&a), text(&b)];
    let answer = place.train(&[&both[..], &["--json", "-q"]].concat()).succeeds().json();
    assert_eq!(answer["agreement"]["agree"], Value::Bool(true), "{answer}");
    assert_eq!(answer["runs"].as_array().unwrap().len(), 2);
    let said = place.train(&[&both[..], &["-q"]].concat()).succeeds().stdout;
    assert!(said.contains("the runs agree; log Z at most"), "{said}");
    let other = typed(&place, "other", "-x0^2 - x1^2 - x2^2", 3, "");
    place.train(&["run", text(&other), "--run-dir", text(&run("c")), "-q"]).succeeds();
    let foreign = place.train(&["evaluate", text(&a), text(&run("c")), "-q"]).fails(2);
    foreign.says("have different targets");
}

#[test]
fn a_target_with_draws_is_compared_with_them_too() {
    let place = Workplace::new();
    place.smoke("density_gmm40_2d.json", "run", &["-q"]).succeeds();
    let run = place.run("run");
    let only = ["evaluate", text(&run), "--only", "log_z,w2,modes_hit", "--json", "-q"];
    let report = place.train(&only).succeeds().json();
    let metrics = report["metrics"].as_object().unwrap();
    let names: Vec<&str> = metrics.keys().map(String::as_str).collect();
    assert_eq!(names, ["log_z", "modes_hit", "w2"], "{report}");
    assert_eq!(metrics["log_z"]["floor"], 0.0, "the target is normalised");
    place.train(&["evaluate", text(&run), "--only", "elbo"]).fails(2).says("has no log-density");
}

#[test]
fn init_prints_a_config_for_a_formula() {
    let place = Workplace::new();
    let formula = ["init", "--expression", "-(x0^2 - 1)^2 - 0.5*(x1 - x0)^2", "--dim", "2"];
    let printed = place.train(&formula).succeeds().json();
    let config = place.write("init.json", &printed.to_string());
    let run = place.run("init");
    place.train(&["run", text(&config), "--run-dir", text(&run), "-q", "--set", "output.figures=false"]).succeeds();
    // ∫e^{-(x² - 1)²}dx = 1.9732…, times √(2π).
    let (log_z, error) = metric(&run, "log_z");
    let mass = (-4000..=4000).map(|i| (-((f64::from(i) / 1e3).powi(2) - 1.0).powi(2)).exp() * 1e-3).sum::<f64>();
    let exact = (mass * std::f64::consts::TAU.sqrt()).ln();
    assert!((log_z - exact).abs() < 5.0 * error && error < 0.06, "{log_z} ± {error} against {exact}");
    let wrong = ["init", "--expression", "-x0^2 - foo(x1)", "--dim", "2"];
    place.train(&wrong).fails(2).says("character 9: expected one of the functions");
}

#[test]
fn what_cannot_be_followed_is_refused_and_nothing_is_written() {
    let place = Workplace::new();
    let run = place.run("refused");
    for (name, formula, dim, more, message) in [
        ("name", "-x0^2 - y^2", 1, "", "the unknown name `y`"),
        ("index", "-x0^2 - x[4]^2", 2, "", "expected an index 0 to 1 of `x`, found 4"),
        ("column", "-x0^2 + sum(row, foo)", 1, "", "runs over the rows of `data`, and there is none"),
        ("point", "-x0^2 + log(x0)", 1, "", "the log-density of the target is NaN at the point ("),
        ("improper", "-x0^2 - log(1 + x1^2)/4", 2, "", "the target is improper"),
        ("file", "-x0^2", 1, r#", "data": {"path": "nowhere.csv"}"#, "nowhere.csv"),
        ("support", "-x0^2", 1, r#", "support": {"x0": [2, 1]}"#, "the lower one first"),
    ] {
        let config = typed(&place, name, formula, dim, more);
        for verb in [&["run", text(&config), "--run-dir", text(&run)][..], &["check", text(&config)]] {
            place.train(verb).fails(2).says(message);
        }
        assert!(!run.exists(), "{name}");
    }
    let target = r#"{"expression": {"dim": 1, "log_density": "-x0^2"}}"#;
    let learner = format!(r#"{{"name": "n", "target": {target}, "method": {{"monge_ampere_logistic": {{}}}}}}"#);
    let config = place.write("learner.json", &learner);
    let said = place.train(&["run", text(&config), "--run-dir", text(&run)]).fails(2);
    said.says("the points of `monge_ampere_logistic` take draws of the target");
    assert!(!run.exists(), "a method that learns from points");
    let points = place.write("points.csv", "a,b\n1,2\n3,4\n");
    let data = format!(r#", "data": {{"path": {}}}"#, serde_json::to_string(&points).unwrap());
    let config = typed(&place, "columns", "-x0^2 - sum(row, (c - x0)^2)", 1, &data);
    place.train(&["check", text(&config)]).fails(2).says("found the unknown name `c`");
}
