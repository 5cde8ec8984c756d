//! A density without samples: typed, followed by particles, judged without data.

use serde_json::Value;

use crate::train::{Mark, Workplace, metric, smoke, text};

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
    // Many temperatures, so that a kill falls between them.
    let long = ["--set", "method.annealed_particles.ess=0.995", "--set", "output.checkpoint_every=2"];
    let marks = [Mark::File("config.json"), Mark::Line(3), Mark::Line(9)];
    Workplace::new().survives_kills_and_stops(CONFIG, &long, &marks, "3");
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
    let wrong = ["sample", text(&run), "--count", "7", "--correct", "--out", text(&out), "-q"];
    place.train(&wrong).fails(2).says("`--correct` takes a run that follows a density by a map");
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

/// The smoke config of a map to a density.
const MAP: &str = "density_monge_ampere_expression.json";

#[test]
fn a_map_to_a_density_that_is_killed_and_stopped_ends_with_the_same_bits() {
    let long = [
        "--set",
        "method.monge_ampere_score.stages=24",
        "--set",
        "method.monge_ampere_score.patience=null",
        "--set",
        "output.checkpoint_every=2",
    ];
    let marks = [Mark::File("config.json"), Mark::Line(3), Mark::Line(9)];
    Workplace::new().survives_kills_and_stops(MAP, &long, &marks, "5");
}

#[test]
fn a_map_to_a_density_knows_its_own_and_goes_both_ways() {
    let place = Workplace::new();
    // A Gaussian beside a Gamma(3, 2): Z = √(2π)/2 · Γ(3)/2³, E x₁ = 3/2.
    let config = r#"{"name": "map", "target": {"expression": {"dim": 2, "log_density": "-2*(x0 - 1)^2 + 2*log(x1) - 2*x1",
            "support": {"x1": "positive"}}},
        "method": {"monge_ampere_score": {"reference": {"particles": {"annealing": {"particles": 1024}}}, "stages": 20}},
        "evaluation": {"count": 1000}, "output": {"log_every": 1}}"#;
    let (config, run) = (place.write("map.json", config), place.run("map"));
    place.train(&["check", text(&config)]).succeeds();
    place.train(&["run", text(&config), "--run-dir", text(&run), "-q"]).succeeds();
    let exact = std::f64::consts::TAU.ln() / 2.0 - 2f64.ln() + 0.25f64.ln();
    let (log_z, error) = metric(&run, "log_z");
    assert!((log_z - exact).abs() < 5.0 * error && error < 0.01, "{log_z} ± {error} against {exact}");
    let (elbo, eubo) = (metric(&run, "elbo"), metric(&run, "eubo"));
    assert!(elbo.0 < exact + 5.0 * elbo.1 && eubo.0 > exact - 5.0 * eubo.1, "{elbo:?} {eubo:?}");
    assert!(metric(&run, "ess_reverse").0 > 0.9 && metric(&run, "optimality_gap").0 < 1e-6);
    let summary = place.path("summary.csv");
    place.train(&["evaluate", text(&run), "--out", text(&summary), "-q"]).succeeds();
    let table = std::fs::read_to_string(&summary).unwrap();
    let mean: f64 = table.lines().nth(2).unwrap().split(',').nth(1).unwrap().parse().unwrap();
    // The sd of Gamma(3, 2) is √3/2.
    assert!((mean - 1.5).abs() < 5.0 * 3f64.sqrt() / 2.0 / 90_000f64.sqrt(), "{table}");
    let corrected = place.path("corrected.csv");
    let more = ["sample", text(&run), "--count", "4000", "--correct", "--out", text(&corrected), "--json", "-q"];
    let more = place.train(&more).succeeds().json();
    assert!(more["distinct"].as_u64().unwrap() > 2000 && more["ess"].as_f64().unwrap() > 0.9, "{more}");
    let rows = std::fs::read_to_string(&corrected).unwrap();
    let positive = rows.lines().filter_map(|line| line.split(',').nth(1)?.parse::<f64>().ok()).collect::<Vec<f64>>();
    let mean = positive.iter().sum::<f64>() / 4000.0;
    assert!(positive.len() == 4000 && (mean - 1.5).abs() < 5.0 * 3f64.sqrt() / 2.0 / 4000f64.sqrt(), "{mean}");
    let [samples, back, again, log_q] = ["x.csv", "y.csv", "again.csv", "q.csv"].map(|name| place.path(name));
    place.train(&["sample", text(&run), "--count", "300", "--out", text(&samples), "-q"]).succeeds();
    let through = |input: &std::path::Path, out: &std::path::Path, more: &[&str]| {
        let arguments = ["transport", text(&run), "--in", text(input), "--out", text(out), "-q"];
        place.train(&[&arguments[..], more].concat()).succeeds();
    };
    through(&samples, &back, &["--inverse"]);
    through(&back, &again, &[]);
    let numbers = |path: &std::path::Path| -> Vec<f64> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .flat_map(|line| line.split(',').filter_map(|cell| cell.parse().ok()).collect::<Vec<f64>>())
            .collect()
    };
    let (x, same) = (numbers(&samples), numbers(&again));
    assert!(x.len() == 600 && x.iter().zip(&same).all(|(a, b)| (a - b).abs() < 1e-6), "there and back");
    place.train(&["density", text(&run), "--in", text(&samples), "--out", text(&log_q), "-q"]).succeeds();
    // Where the map is good, its density is that of the target.
    // Every log-density has its standard error beside it.
    let found: Vec<f64> = numbers(&log_q).into_iter().step_by(2).collect();
    let known = |x: &[f64]| -2.0 * (x[0] - 1.0).powi(2) + 2.0 * x[1].ln() - 2.0 * x[1] - exact;
    let apart: f64 = found.iter().zip(x.chunks(2)).map(|(q, x)| (q - known(x)).abs()).sum::<f64>() / 300.0;
    assert!(found.len() == 300 && apart < 0.2, "{apart}");
}

#[test]
fn what_a_map_to_a_density_cannot_be_is_said() {
    let place = Workplace::new();
    let write = |name: &str, formula: &str, method: &str| {
        let config = format!(
            r#"{{"name": "{name}", "target": {{"expression": {{"dim": 2, "log_density": "{formula}"}}}},
                "method": {{"monge_ampere_score": {method}}}, "evaluation": {{"count": 100}}, "output": {{"figures": false}}}}"#
        );
        place.write(&format!("{name}.json"), &config)
    };
    // Two modes far apart, seen from one of them.
    let modes = "logsumexp(-(x0 - 4)^2*2 - x1^2, -(x0 + 8)^2*2 - x1^2)";
    let method = r#"{"reference": "standard_normal", "annealing": "none", "family": "quadratic", "stages": 40}"#;
    let lost = write("lost", modes, method);
    place.train(&["run", text(&lost), "--run-dir", text(&place.run("lost"))]).succeeds().says("modes may be lost");
    let report = place.train(&["evaluate", text(&place.run("lost")), "-q"]).succeeds().stdout;
    assert!(report.contains("log_z: mass is missing, modes may be lost"), "{report}");
    for (name, formula, method, message) in [
        ("improper", "-(x0 - x1)^2", r#"{"reference": "standard_normal"}"#, "the target is improper"),
        ("nan", "-x0^2 + log(x1)", r#"{"reference": "standard_normal"}"#, "the log-density of the target is"),
        ("kink", "-abs(x0) - abs(x1)", r#"{"reference": {"laplace": {}}}"#, "`reference.laplace` found no mode"),
        (
            "none",
            "-x0^2 - x1^2",
            r#"{"reference": "standard_normal", "annealing": "particles"}"#,
            "the reference has none",
        ),
    ] {
        let config = write(name, formula, method);
        for verb in ["check", "run"] {
            place.train(&[verb, text(&config)]).fails(2).says(message);
        }
        assert!(!place.path("checkpoints").join(name).exists(), "{name}: a directory was made");
    }
    let points = place.write("points.csv", "a,b\n1,2\n2,3\n0,1\n");
    let config = format!(
        r#"{{"name": "points", "target": {{"dataset": {{"path": "{}"}}}}, "method": {{"monge_ampere_score": {{}}}}}}"#,
        text(&points)
    );
    let config = place.write("points.json", &config);
    place.train(&["run", text(&config)]).fails(2).says("`monge_ampere_score` follows a density");
}

#[test]
fn log_densities_of_too_few_steps_say_so_and_one_that_is_not_reached_costs_no_other() {
    let place = Workplace::new();
    let small = ["-q", "--set", "output.figures=false", "--set", "evaluation.log_density.points=100"];
    for (name, steps) in [("few", "4"), ("enough", "64")] {
        let steps = format!("evaluation.log_density.steps={steps}");
        let more = [&small[..], &["--set", &steps]].concat();
        place.smoke("score_matching_gaussian_mixture.json", name, &more).succeeds();
        let report = std::fs::read(place.run(name).join("evaluation.json")).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        for metric in ["nll", "bits_per_dimension", "elbo", "kl_reverse", "kl_forward", "log_z", "ess_reverse"] {
            let told = report["metrics"][metric]["note"].as_str().is_some_and(|note| note.contains("too few"));
            assert_eq!(told, name == "few", "{name}: {metric}");
        }
        let [error, std_error] =
            [&report["metrics"]["nll"]["details"]["ode_error"], &report["metrics"]["nll"]["std_error"]]
                .map(|x| x.as_f64());
        assert!((error > Some(0.1)) == (name == "few") && std_error >= error, "{error:?} {std_error:?}");
    }
    let run = place.run("enough");
    let points = place.write("points.csv", "0.5,0.1\n1e200,0\n0.1,0.3\n");
    let out = place.path("out.csv");
    let density = ["density", text(&run), "--in", text(&points), "--out", text(&out), "--json", "-q"];
    place.train(&density).fails(2).says("row 2 of").says("--skip-invalid");
    assert!(!out.exists());
    let said = place.train(&[&density[..], &["--skip-invalid"]].concat()).succeeds();
    assert!(said.json()["skipped"] == 1 && said.json()["nll"].as_f64().is_some(), "{}", said.stdout);
    let rows = std::fs::read_to_string(&out).unwrap();
    let values: Vec<f64> = rows.lines().skip(1).map(|row| row.split(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(values.iter().map(|value| value.is_nan()).collect::<Vec<_>>(), [false, true, false]);
    place.train(&[&density[..], &["--skip-invalid", "--steps", "4"]].concat()).succeeds().says("raise `--steps`");
}
