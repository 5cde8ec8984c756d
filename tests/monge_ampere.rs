//! Brenier maps from samples: trained, stopped, and asked by every verb.

use crate::train::{Mark, Workplace, metric, smoke, text, workspace};

const CONFIG: &str = "monge_ampere_two_moons.json";
const SEMI_DUAL: &str = "monge_ampere_semi_dual.json";
const GAUSSIAN: &str = "monge_ampere_gaussian_2d.json";

/// The numbers of a csv file, row by row.
fn numbers(path: &std::path::Path) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| line.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>());
    rows.filter_map(Result::ok).collect()
}

#[test]
fn a_map_that_is_killed_and_stopped_ends_with_the_same_bits() {
    let long = ["--set", "method.monge_ampere_logistic.stages=60"];
    let marks = [Mark::File("config.json"), Mark::Line(7), Mark::Checkpoint(30), Mark::Line(45)];
    Workplace::new().survives_kills_and_stops(CONFIG, &long, &marks, "17");
}

#[test]
fn a_polish_that_is_killed_and_stopped_ends_with_the_same_bits() {
    let polished = "monge_ampere_polish.json";
    let marks = [Mark::File("config.json"), Mark::Line(3), Mark::Checkpoint(20), Mark::Line(45)];
    Workplace::new().survives_kills_and_stops(polished, &[], &marks, "23");
    let pieces = "monge_ampere_log_sum_exp.json";
    Workplace::new().survives_kills_and_stops(pieces, &[], &[Mark::Line(5), Mark::Checkpoint(50)], "17");
}

#[test]
fn a_descent_on_the_semi_dual_that_is_killed_and_stopped_ends_with_the_same_bits() {
    let marks = [Mark::File("config.json"), Mark::Line(3), Mark::Checkpoint(6), Mark::Line(9)];
    Workplace::new().survives_kills_and_stops(SEMI_DUAL, &[], &marks, "5");
    // The noise of a data set is another in every stage, and 64 dimensions take their Hessians.
    let target = r#"target={"dataset":{"path":"datasets/digits.npz","noise":0.3}}"#;
    let noisy = ["--set", target, "--set", "method.monge_ampere_logistic.stages=4"];
    Workplace::new().survives_kills_and_stops(SEMI_DUAL, &noisy, &[Mark::Line(2)], "3");
}

#[cfg(feature = "ndarray")]
#[test]
fn a_descent_by_tensor_operations_ends_where_one_by_tiles_does() {
    let place = Workplace::new();
    let value = |run: &str, device: &str| {
        let more = ["-q", "--device", device, "--set", "output.figures=false", "--set", "evaluation.log_density=null"];
        place.smoke(SEMI_DUAL, run, &more).succeeds();
        let lines = std::fs::read_to_string(place.run(run).join("metrics.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        last["held_out_semi_dual"].as_f64().unwrap()
    };
    let (tiles, tensors) = (value("tiles", "cpu"), value("tensors", "ndarray"));
    // 240 updates in single precision.
    assert!(tiles != tensors && (tiles - tensors).abs() < 1e-4, "{tiles} and {tensors}");
}

#[test]
fn a_map_is_compared_with_given_pairs() {
    let place = Workplace::new();
    let (benchmark, directory) = (workspace().join("configs/monge_ampere/benchmark_2d.json"), place.run("run"));
    let sets = [
        r#"method.monge_ampere_logistic.potential={"input_convex":{"widths":[16,8]}}"#,
        "method.monge_ampere_logistic.semi_dual.updates=150",
        "method.monge_ampere_logistic.stages=2",
        "evaluation.count=100",
        "output.figures=false",
    ];
    let mut arguments = vec!["run", text(&benchmark), "--run-dir", text(&directory), "-q"];
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    place.train(&arguments).succeeds();
    let pairs = workspace().join("datasets/mix3_to_mix10_2.npz");
    let asked = ["evaluate", text(&directory), "--pairs", text(&pairs), "--only", "l2_uvp,cosine", "--json"];
    let report = place.train(&asked).succeeds().json();
    let value = |metric: &str| report["metrics"][metric]["value"].as_f64().unwrap();
    // The linear map leaves 14 %; .5 % is what so few updates of so small a network come to.
    assert!(value("l2_uvp") < 4.0 && value("cosine") > 0.95, "{report}");
    let moved = |pairs: &std::path::Path| {
        place.train(&["evaluate", text(&directory), "--pairs", text(pairs), "--only", "l2_uvp"])
    };
    moved(&workspace().join("datasets/mix3_to_mix10_8.npz")).fails(2).says("the pairs have dimension 8");
    moved(&workspace().join("datasets/digits.npz")).fails(2).says("test_x");
    moved(&place.write("pairs.csv", "0,1\n")).fails(2).says("npz archive");
    let asked = ["evaluate", text(&directory), "--pairs", text(&pairs), "--only", "w2"];
    place.train(&asked).fails(2).says("--only names neither");
    let both =
        ["evaluate", text(&directory), text(&directory), "--only", "mean_error", "--count", "50", "--threads", "1"];
    place.train(&both).succeeds();
    place.smoke("mixture_two_moons.json", "mixture", &["-q", "--set", "output.figures=false"]).succeeds();
    let mixture = place.run("mixture");
    place.train(&["evaluate", text(&mixture), "--pairs", text(&pairs)]).fails(2).says("is given by no map");
}

#[test]
fn a_descent_that_runs_away_says_what_to_try() {
    let place = Workplace::new();
    let wild =
        ["-q", "--set", "method.monge_ampere_logistic.semi_dual.plain_rate=300", "--set", "output.figures=false"];
    place.smoke(SEMI_DUAL, "run", &wild).fails(3).says("semi_dual.plain_rate");
}

#[test]
fn choices_of_the_semi_dual_that_do_not_go_together_are_refused() {
    let place = Workplace::new();
    let check = |sets: &[&str]| {
        let config = smoke(SEMI_DUAL);
        let mut arguments = vec!["check", text(&config)];
        let sets: Vec<String> = sets.iter().map(|set| format!("method.monge_ampere_logistic.{set}")).collect();
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        place.train(&arguments).fails(2)
    };
    check(&["step=newton"]).says("is learnt by `step: \"semi_dual\"`");
    check(&["potential=ridges"]).says("give `potential` an `input_convex`");
    check(&["coordinates=dual"]).says("set `coordinates` to `primal`");
    check(&["iterate=ema"]).says("take `best` or `last`");
    check(&["polish={}", "stages=0"]).says("polish").says("at least one stage");
    check(&["semi_dual.matched=true", "semi_dual.draws=2"]).says("one draw a point");
    check(&["semi_dual.plain=1", "semi_dual.rate=0.1"]).says("semi_dual.rate");
    check(&["semi_dual.plain=0", "semi_dual.plain_rate=0.1"]).says("semi_dual.plain_rate");
    let config = smoke(CONFIG);
    let key = r#"method.monge_ampere_logistic.semi_dual={"updates":3}"#;
    place.train(&["check", text(&config), "--set", key]).fails(2).says("is for `step: \"semi_dual\"`");
}

#[test]
fn a_polished_map_says_what_it_is_worth() {
    let place = Workplace::new();
    place
        .smoke("monge_ampere_polish.json", "run", &[])
        .succeeds()
        .says("4 stages are done")
        .says("negative log-likelihood");
    let run = place.run("run");
    let (kl, error) = metric(&run, "kl_forward");
    // Six Gaussians on two moons leave .1 to .2 nats.
    assert!(error < 0.05 && (0.0..0.4).contains(&kl), "{kl} ± {error}");
    assert_eq!(metric(&run, "density_valid").0, 1.0);
    assert!(metric(&run, "optimality_gap").0.abs() < 1e-3);
    let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().rev().nth(1).unwrap()).unwrap();
    let nll = |name: &str| last[name].as_f64().unwrap_or_else(|| panic!("no {name} in {last}"));
    assert!(nll("held_out_nll_polish") < nll("held_out_nll_reference") + 0.5);
    let (samples, reference, back) = (place.path("s.csv"), place.path("y.csv"), place.path("x.csv"));
    place.train(&["sample", text(&run), "--count", "300", "--out", text(&samples), "-q"]).succeeds();
    let there = ["transport", text(&run), "--in", text(&samples), "--out", text(&reference), "--inverse", "-q"];
    place.train(&there).succeeds();
    place.train(&["transport", text(&run), "--in", text(&reference), "--out", text(&back), "-q"]).succeeds();
    let (x, again) = (numbers(&samples), numbers(&back));
    assert!(x.iter().flatten().zip(again.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn what_is_left_to_the_data_is_in_the_stored_config() {
    let place = Workplace::new();
    let config = place.write(
        "automatic.json",
        r#"{"name": "a", "seed": 0, "target": {"drawn": {"target": {"ring": {}}, "points": 300, "seed": 1}},
            "method": {"monge_ampere_logistic": {"potential": "automatic", "reference": "automatic"}},
            "evaluation": {"count": 200}, "output": {"checkpoint_every": 100000, "figures": false}}"#,
    );
    let run = place.run("run");
    let stopped = ["run", text(&config), "--run-dir", text(&run), "--max-steps", "20"];
    place.train(&stopped).fails(75).says("potential log_sum_exp for 270 points in dimension 2");
    let stored: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("config.json")).unwrap()).unwrap();
    let method = &stored["config"]["method"]["monge_ampere_logistic"];
    assert_eq!(method["reference"], "standard_normal");
    assert_eq!(method["potential"]["log_sum_exp"]["pieces"], 128);
    assert!(method["polish"]["smoothing"]["stack"].is_object());
    // The same config goes on with the same run.
    place.train(&["run", text(&config), "--run-dir", text(&run), "--resume", "--max-steps", "20"]).fails(75);
    let given = ["check", text(&config), "--set", r#"method.monge_ampere_logistic.polish={"steps": 5}"#];
    place.train(&given).fails(2).says("is chosen with the potential");
}

#[test]
fn every_verb_takes_a_map() {
    let place = Workplace::new();
    place.smoke(CONFIG, "run", &["-q"]).succeeds();
    let run = place.run("run");
    for figure in ["map", "density", "samples", "loss"] {
        assert!(run.join(format!("figures/{figure}.png")).exists(), "no {figure}");
    }
    let (kl, error) = metric(&run, "kl_forward");
    // The moons are 1.16 nats from their own Gaussian fit; eight stages with 800 points leave a third of it.
    assert!(error < 0.05 && (0.0..0.6).contains(&kl), "{kl} ± {error}");
    assert_eq!(metric(&run, "density_valid").0, 1.0);
    assert!(metric(&run, "optimality_gap").0.abs() < 1e-3);
    let (samples, reference, back) = (place.path("s.csv"), place.path("y.csv"), place.path("x.csv"));
    place.train(&["sample", text(&run), "--count", "500", "--out", text(&samples), "-q"]).succeeds();
    let there =
        ["transport", text(&run), "--in", text(&samples), "--out", text(&reference), "--inverse", "--json", "-q"];
    let said = place.train(&there).succeeds().json();
    assert_eq!((&said["count"], &said["from"], &said["to"]), (&500.into(), &"data".into(), &"reference".into()));
    place.train(&["transport", text(&run), "--in", text(&reference), "--out", text(&back), "-q"]).succeeds();
    let (x, again, y) = (numbers(&samples), numbers(&back), numbers(&reference));
    // Five hundred draws of the standard normal, each within single precision of where it came from.
    assert!(x.iter().flatten().zip(again.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-4));
    let square = y.iter().flatten().map(|y| y * y).sum::<f64>() / 1000.0;
    assert!((square - 1.0).abs() < 5.0 * (2.0f64 / 1000.0).sqrt(), "{square}");
    let density = place.path("q.csv");
    place.train(&["density", text(&run), "--in", text(&samples), "--out", text(&density), "-q"]).succeeds();
    assert!(numbers(&density).iter().all(|row| row[0].is_finite() && row[1] == 0.0));
    let looked = ["localize", text(&run), "--snr", "1", "--times", "0.5", "--draws", "200", "--json", "-q"];
    assert_eq!(place.train(&looked).succeeds().json()["examined"], "draws");
    place.train(&["sample", text(&run), "--count", "5", "--steps", "3", "--out", text(&back)]).fails(2);
}

#[test]
fn the_map_of_a_gaussian_is_compared_with_the_known_one() {
    let place = Workplace::new();
    place.smoke(GAUSSIAN, "run", &["-q"]).succeeds();
    let (uvp, error) = metric(&place.run("run"), "l2_uvp");
    // Six stages with 2000 draws each; the linear map of the standardisation alone leaves 20 %.
    assert!(error < 0.5 && uvp < 3.0, "{uvp} ± {error}");
    place.smoke(CONFIG, "moons", &["-q", "--set", "output.figures=false"]).succeeds();
    let moons = place.run("moons");
    let asked = ["evaluate", text(&moons), "--only", "l2_uvp"];
    place.train(&asked).fails(2).says("takes a Brenier map that is known");
    place.smoke("mixture_two_moons.json", "mixture", &["-q", "--set", "output.figures=false"]).succeeds();
    let mixture = place.run("mixture");
    place.train(&["evaluate", text(&mixture), "--only", "optimality_gap"]).fails(2).says("is given by no map");
    let (points, out) = (place.write("p.csv", "0.5,1\n"), place.path("o.csv"));
    let asked = ["transport", text(&mixture), "--in", text(&points), "--out", text(&out)];
    place.train(&asked).fails(2).says("is given by no map");
}

#[test]
fn a_map_of_a_file_of_points_says_where_it_has_a_density() {
    let place = Workplace::new();
    let rows: String = (0..300).map(|i| format!("{:?},{}\n", f64::from(i).sin(), f64::from(i * i).cos())).collect();
    let file = place.write("points.csv", &rows);
    let target = format!("target={{\"dataset\":{{\"path\":{:?}}}}}", text(&file));
    place.smoke(CONFIG, "run", &["-q", "--set", &target]).succeeds();
    let run = place.run("run");
    assert_eq!(metric(&run, "density_valid").0, 1.0);
    assert!(metric(&run, "nll").0.is_finite() && run.join("figures/density.png").exists());
    place.train(&["evaluate", text(&run), "--only", "density_valid", "-q"]).succeeds();
    place.train(&["evaluate", text(&run), "--only", "kl_forward", "-q"]).fails(2).says("density");
}

#[test]
fn what_cannot_be_carried_is_refused_and_nothing_is_written() {
    let place = Workplace::new();
    place.smoke(CONFIG, "run", &["-q", "--set", "output.figures=false"]).succeeds();
    let (run, out) = (place.run("run"), place.path("o.csv"));
    let points = place.write("p.csv", "1.5,2,3\n4,5,6\n");
    let carry = ["transport", text(&run), "--in", text(&points), "--out", text(&out)];
    place.train(&carry).fails(2).says("dimension");
    place.train(&[&carry[..], &["--inverse"]].concat()).fails(2).says("dimension");
    assert!(!out.exists());
    let check = |more: &[&str]| {
        let config = smoke(CONFIG);
        let arguments = [&["check", text(&config)], more].concat();
        place.train(&arguments).fails(2)
    };
    check(&["--set", "method.monge_ampere_logistic.ridges.floor=0"]).says("above 0");
    check(&["--set", "method.monge_ampere_logistic.reference=standard"]).says("standard_normal");
    check(&["--set", "evaluation.steps=18"]).says("this key belongs to `denoising_score_matching`");
    let one = place.write("one.csv", &"1.5,2\n".repeat(50));
    let column = place.write("column.csv", &(0..50).map(|i| format!("{i},2\n")).collect::<String>());
    for (file, name) in [(&one, "one point"), (&column, "a constant column")] {
        let target = format!("target={{\"dataset\":{{\"path\":{:?}}}}}", text(file));
        let outcome = check(&["--set", &target]);
        assert!(outcome.stderr.contains("does not vary"), "{name}: {}", outcome.stderr);
    }
    let many = ["--set", "method.monge_ampere_logistic.ridges.directions=3000"];
    check(&many).says("coefficients").says("lower `ridges.directions`");
    let line = r#"method.monge_ampere_logistic.reference={"gaussian_mixture":{"weights":[1],"means":[[0]],"covariances":[[[1]]]}}"#;
    check(&["--set", line]).says("the reference has dimension 1, and the points of the data have 2");
    let explicit = r#"method.monge_ampere_logistic.step_size={"constant":{"value":1e9}}"#;
    let explicit = ["-q", "--set", explicit, "--set", "method.monge_ampere_logistic.step=\"logistic\""];
    place.smoke(CONFIG, "explicit", &explicit).fails(3).says("no step could be taken at stage");
    let far = r#"{"gaussian_mixture":{"weights":[1],"means":[[1e200,0]],"covariances":[[[1,0],[0,1]]]}}"#;
    let far = format!("method.monge_ampere_logistic.reference={far}");
    place.smoke(CONFIG, "far", &["-q", "--set", &far]).fails(3).says("semi-dual");
}

#[test]
fn a_finished_map_is_prolonged_and_nothing_else_of_it_changes() {
    let place = Workplace::new();
    place.smoke(CONFIG, "run", &["-q", "--set", "output.figures=false"]).succeeds();
    let run = place.run("run");
    let config = smoke(CONFIG);
    let again = |set: &str| {
        let arguments = ["run", text(&config), "--run-dir", text(&run), "--resume", "-q"];
        place.train(&[&arguments[..], &["--set", "output.figures=false", "--set", set]].concat())
    };
    again("method.monge_ampere_logistic.stages=11").succeeds();
    assert!(run.join("checkpoint-00000011").exists());
    again("method.monge_ampere_logistic.step=\"logistic\"").fails(2).says("step");
    again("method.monge_ampere_logistic.iterate=\"last\"").fails(2).says("iterate");
}

#[test]
fn init_makes_a_map_for_a_file() {
    let place = Workplace::new();
    let rows: String = (0..200).map(|i| format!("{:?},{}\n", f64::from(i).sin(), f64::from(i * i).cos())).collect();
    let file = place.write("points.csv", &rows);
    let config = place.train(&["init", text(&file), "--method", "monge_ampere_logistic"]).succeeds().stdout;
    let config = place.write("config.json", &config);
    place.train(&["check", text(&config)]).succeeds();
    assert!(workspace().join("configs/monge_ampere/ring.json").exists());
}

/// `train run` on a config of the theory with few stages and nodes.
fn theory(place: &Workplace, target: &str, name: &str, more: &[&str]) -> crate::train::Outcome {
    let config = workspace().join(format!("configs/monge_ampere/theory_{target}.json"));
    let run = place.run(name);
    let mut arguments = vec!["run", text(&config), "--run-dir", text(&run), "-q", "--set", "evaluation.count=200"];
    arguments.extend(more);
    place.train(&arguments)
}

const FEW_NODES: [&str; 4] =
    ["--set", "method.monge_ampere_logistic.expectations.nodes=40", "--set", "output.checkpoint_every=3"];

#[test]
fn composed_stages_tell_of_the_theory_and_are_a_map() {
    let place = Workplace::new();
    let stages = ["--set", "method.monge_ampere_logistic.stages=30"];
    theory(&place, "gaussian", "run", &[&FEW_NODES[..], &stages].concat()).succeeds();
    let run = place.run("run");
    for figure in ["map", "density", "samples", "loss", "convergence"] {
        assert!(run.join(format!("figures/{figure}.png")).exists(), "no {figure}");
    }
    let (uvp, _) = metric(&run, "l2_uvp");
    // Forty nodes an axis know the regression to about 1e-3.
    assert!(uvp < 0.01, "{uvp} % of the known map");
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<_> = lines.iter().filter(|line| line["kl_before"].is_number()).collect();
    let number = |line: &serde_json::Value, name: &str| line[name].as_f64().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(lines.len(), 30);
    for line in &lines {
        assert!(number(line, "inequality_left") <= number(line, "inequality_right") + 1e-9, "{line}");
        assert!(number(line, "kl_mean") <= number(line, "kl_mean_bound") + 1e-9, "{line}");
    }
    // Its samples and their way back.
    let (samples, reference, back) = (place.path("s.csv"), place.path("y.csv"), place.path("x.csv"));
    place.train(&["sample", text(&run), "--count", "100", "--out", text(&samples), "-q"]).succeeds();
    place
        .train(&["transport", text(&run), "--in", text(&samples), "--out", text(&reference), "--inverse", "-q"])
        .succeeds();
    place.train(&["transport", text(&run), "--in", text(&reference), "--out", text(&back), "-q"]).succeeds();
    let (x, again) = (numbers(&samples), numbers(&back));
    assert!(x.iter().flatten().zip(again.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn composed_stages_that_are_killed_end_with_the_same_bits() {
    let place = Workplace::new();
    let mlp = r#"method.monge_ampere_logistic.discriminator={"mlp":{"width":8,"depth":2,"steps":5}}"#;
    let keys = ["--set", mlp, "--set", "method.monge_ampere_logistic.coordinates=primal"];
    let more = [
        "--set",
        "method.monge_ampere_logistic.step=logistic",
        "--set",
        "method.monge_ampere_logistic.stages=7",
        "--set",
        "method.monge_ampere_logistic.rebase.tolerance=1",
        "--set",
        "output.checkpoint_every=2",
        "-q",
    ];
    let long = [&keys[..], &more].concat();
    place.smoke(CONFIG, "whole", &[&long[..], &["--threads", "1"]].concat()).succeeds();
    place.smoke(CONFIG, "stopped", &[&long[..], &["--max-steps", "3"]].concat()).fails(75);
    let stopped = place.run("stopped");
    place.train(&["resume", text(&stopped), "-q"]).succeeds();
    let (stopped, whole) = (crate::train::results(&stopped), crate::train::results(&place.run("whole")));
    // The stop itself left a checkpoint.
    assert!(whole.iter().all(|(name, bytes)| stopped.get(name) == Some(bytes)));
}

#[test]
fn a_step_that_folds_the_map_is_refused_and_the_map_before_it_is_kept() {
    let place = Workplace::new();
    let step = r#"method.monge_ampere_logistic.step_size={"constant":{"value":3}}"#;
    let outcome = theory(&place, "gaussian", "run", &[&FEW_NODES[..], &["--set", step]].concat()).fails(3);
    outcome.says("the potential of stage 1 would not be convex").says("least eigenvalue");
    let (run, samples) = (place.run("run"), place.path("s.csv"));
    place.train(&["sample", text(&run), "--count", "10", "--out", text(&samples), "-q"]).succeeds();
}

#[test]
fn choices_of_the_two_forms_that_do_not_go_together_are_refused() {
    let place = Workplace::new();
    let check = |config: &std::path::Path, sets: &[&str]| {
        let mut arguments = vec!["check", text(config)];
        let sets: Vec<String> = sets.iter().map(|set| format!("method.monge_ampere_logistic.{set}")).collect();
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        place.train(&arguments).fails(2)
    };
    let additive = smoke(CONFIG);
    check(&additive, &[r#"expectations={"nodes":40}"#]).says("learnt from `samples`");
    check(&additive, &[r#"discriminator={"mlp":{}}"#]).says("dual coordinates take `features` and `quadratic`");
    check(&additive, &["coordinates=primal"]).says("take `logistic`");
    let composed = workspace().join("configs/monge_ampere/theory_gaussian.json");
    check(&composed, &["iterate=average"]).says("take `best` or `last`");
    check(&composed, &["rebase.every=5"]).says("rebase.every");
    check(&composed, &["step=newton"]).says("take `logistic`");
    check(&composed, &[r#"discriminator={"mlp":{}}"#]).says("a perceptron is learnt from `samples`");
}

#[test]
fn choices_of_a_polish_that_do_not_go_together_are_refused() {
    let place = Workplace::new();
    let check = |config: &str, sets: &[&str]| {
        let config = smoke(config);
        let mut arguments = vec!["check", text(&config)];
        let sets: Vec<String> = sets.iter().map(|set| format!("method.monge_ampere_logistic.{set}")).collect();
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        place.train(&arguments).fails(2)
    };
    let (pieces, ridges) = ("monge_ampere_log_sum_exp.json", "monge_ampere_polish.json");
    check(pieces, &["polish=null"]).says("learnt by the polish");
    check(pieces, &["stages=3"]).says("semi-discrete transport");
    check(pieces, &["polish.by=fisher"]).says("linear in their coefficients");
    check(pieces, &["polish.folds=2"]).says("folds of its own");
    check(pieces, &[r#"polish.refit={}"#]).says("a `fitted_mixture` is refitted");
    check(pieces, &[r#"polish.smoothing={"stack":{"mixtures":[],"kernels":[],"local":[]}}"#]).says("one part");
    check(ridges, &["coordinates=primal", "step=logistic"]).says("leave it out");
    check(ridges, &["polish.folds=2"]).says("the mean of potentials");
    check(ridges, &["reference=standard_normal", "polish.refit=null", "polish.folds=2"]).says("stages have seen");
    check(CONFIG, &["stages=0"]).says("at least one stage");
    let fresh = ["target={\"ring\":{}}"];
    let config = smoke(ridges);
    place.train(&["check", text(&config), "--set", fresh[0]]).fails(2);
}
