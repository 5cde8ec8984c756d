//! `train metrics`: two files, or a file and a target, in numbers that cannot flatter.

use std::path::{Path, PathBuf};

use brenier_measure::data::write::write_points;
use brenier_measure::{Gaussian, Points, Purpose, Sample, Stream, targets};
use serde_json::Value;

use crate::train::{Outcome, Workplace, text, workspace};

impl Workplace {
    /// Writes points to .npy or .csv with all their digits.
    fn points(&self, name: &str, points: &Points) -> PathBuf {
        let path = self.path(name);
        write_points(&path, points, None).unwrap();
        path
    }

    fn metrics(&self, a: &Path, b: &Path, more: &[&str]) -> Outcome {
        let arguments = [&["metrics", text(a), text(b), "-q"], more].concat();
        let outcome = self.train(&arguments);
        let folder = self.path("");
        Outcome { stderr: outcome.stderr.replace(text(&folder), ""), ..outcome }
    }
}

/// Draws of the ring that the program itself never makes.
fn ring(n: u64, seed: u64) -> Points {
    targets::ring().sample(&Stream::new(seed, Purpose::Reference), 0, 0..n)
}

/// A point set of the fixture that an independent implementation answered for.
fn fixture(name: &str) -> (Value, Points) {
    let path = workspace().join("crates/transport/tests/metrics.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let rows = file[name].as_array().unwrap();
    let points = Points::from_shape_fn((rows.len(), 3), |(i, j)| rows[i][j].as_f64().unwrap());
    (file, points)
}

#[track_caller]
fn close(ours: &Value, theirs: &Value, tolerance: f64) {
    let (ours, theirs) = (ours.as_f64().unwrap_or(f64::NAN), theirs.as_f64().unwrap());
    assert!((ours - theirs).abs() <= tolerance * theirs.abs().max(1.0), "{ours} against {theirs}");
}

#[test]
fn two_files_give_the_numbers_of_an_independent_implementation() {
    let place = Workplace::new();
    let ((file, x), (_, y), (_, z)) = (fixture("X"), fixture("Y"), fixture("Z"));
    let (x, y, z) = (place.points("x.csv", &x), place.points("y.npy", &y), place.points("z.npy", &z));
    let outcome = place.metrics(&x, &y, &["--json", "--epsilon", "0.5"]).succeeds();
    assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stdout);
    let answer = outcome.json();
    close(&answer["w2"], &file["W2_XY"], 1e-12);
    close(&answer["w1"], &file["W1_XY"], 1e-12);
    close(&answer["w2_squared"], &(file["W2_XY"].as_f64().unwrap().powi(2)).into(), 1e-12);
    assert!((0.0..1e-9).contains(&answer["w2_duality_gap"].as_f64().unwrap()), "{answer}");
    let row = file["sinkhorn"]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["pair"] == "XY" && row["cost"] == "sq" && row["eps"] == 0.5);
    close(&answer["sinkhorn_divergence"]["value"], &row.unwrap()["divergence"], 1e-5);
    assert_eq!(answer["sinkhorn_divergence"]["epsilon"], 0.5);
    assert_eq!(answer["sinkhorn_divergence"]["converged"], true);
    close(&answer["kl_knn"]["value"], &file["knn_kl"]["KL_X_Y"], 1e-9);
    assert_eq!((&answer["kl_knn"]["k"], &answer["kl_knn"]["reliable"]), (&5.into(), &true.into()));
    // 50 points against 50 leave no two parts of A's size.
    assert_eq!(answer["w2_floor"], Value::Null);
    let unequal = place.metrics(&x, &z, &["--json", "--only", "w2,kl_knn"]).succeeds().json();
    close(&unequal["w2"], &file["W2_XZ_lp"], 1e-12);
    close(&unequal["kl_knn"]["value"], &file["knn_kl"]["KL_X_Z"], 1e-9);
    assert_eq!((&unequal["count_a"], &unequal["count_b"], &unequal["dim"]), (&50.into(), &37.into(), &3.into()));
}

#[test]
fn every_promised_key_is_there_and_what_was_not_asked_for_is_null() {
    let place = Workplace::new();
    let (a, b) = (place.points("a.npy", &ring(60, 1)), place.points("b.npy", &ring(150, 2)));
    let all = place.metrics(&a, &b, &["--json"]).succeeds().json();
    let plain = ["w2", "w2_squared", "w1", "sliced_w2", "energy_distance", "mean_error", "covariance_error"];
    for key in [&plain[..], &["dim", "count_a", "count_b", "w2_duality_gap", "w2_floor", "seed"]].concat() {
        assert!(all[key].is_number(), "{key}: {}", all[key]);
    }
    for key in plain {
        assert!(all["std_errors"][key].is_number(), "{key}: {}", all["std_errors"]);
        assert_eq!(all["metrics"][key]["value"], all[key], "{key}");
    }
    for (key, parts) in [
        ("sinkhorn_divergence", &["value", "epsilon", "converged", "marginal_error"][..]),
        ("kl_knn", &["value", "k", "reliable"]),
    ] {
        for part in parts {
            assert!(!all[key][part].is_null(), "{key}.{part}: {}", all[key]);
        }
    }
    let one = place.metrics(&a, &b, &["--json", "--only", "w1"]).succeeds().json();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&one), keys(&all));
    assert_eq!(one["w1"], all["w1"]);
    assert_eq!((&one["w2"], &one["w2_floor"], &one["kl_knn"]["value"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(keys(&one["metrics"]), ["w1"]);
}

#[test]
fn a_perfect_sampler_is_at_the_floor_and_a_collapsed_one_far_above() {
    let place = Workplace::new();
    let target = place.write("ring.json", "{\"ring\": {}}");
    let perfect = place.points("perfect.npy", &ring(300, 3));
    let answer = place.metrics(&perfect, &target, &["--json"]).succeeds().json();
    let metrics = answer["metrics"].as_object().unwrap();
    assert!(metrics.len() >= 10, "{answer}");
    for (name, report) in metrics {
        if let Some(z) = report["z_score"].as_f64() {
            assert!(z.abs() < 4.0, "{name}: {report}");
        }
    }
    assert_eq!(answer["w2_floor"], metrics["w2"]["floor"]);
    // All samples in one of the eight modes.
    let centre = ndarray::array![2f64.sqrt(), 0.0];
    let collapsed = ring(2400, 4);
    let near: Vec<usize> = (0..2400).filter(|&i| (&collapsed.row(i) - &centre).mapv(|x| x * x).sum() < 0.3).collect();
    let collapsed = place.points("collapsed.npy", &collapsed.select(ndarray::Axis(0), &near[..250]));
    let answer = place.metrics(&collapsed, &target, &["--json"]).succeeds().json();
    for name in ["w2", "w1", "sliced_w2", "energy_distance", "mmd", "sinkhorn_divergence", "mean_error"] {
        assert!(answer["metrics"][name]["z_score"].as_f64().unwrap() > 10.0, "{name}: {}", answer["metrics"][name]);
    }
}

#[test]
fn a_larger_file_gives_its_own_floor() {
    let place = Workplace::new();
    let (a, b) = (place.points("a.npy", &ring(100, 5)), place.points("b.npy", &ring(500, 6)));
    let answer = place.metrics(&a, &b, &["--json", "--only", "w2", "--repeats", "6"]).succeeds().json();
    let (report, floor) = (&answer["metrics"]["w2"], answer["w2_floor"].as_f64().unwrap());
    // 100 against 100 are farther apart than 100 against 400.
    assert!(floor > report["floor"].as_f64().unwrap(), "{answer}");
    assert!(report["z_score"].as_f64().unwrap().abs() < 4.0, "{answer}");
    assert_eq!(report["details"]["floor_repeats"], 6);
}

#[test]
fn the_density_of_a_target_judges_samples_too() {
    let place = Workplace::new();
    let target = place.write("ring.json", "{\"ring\": {}}");
    let samples = place.points("samples.npy", &ring(1500, 7));
    let answer = place.metrics(&samples, &target, &["--json", "--only", "cross_entropy,kl_reverse"]).succeeds().json();
    let found = &answer["metrics"]["cross_entropy"];
    // The entropy of the ring is 0.3122 nats.
    let (value, error) = (found["value"].as_f64().unwrap(), found["std_error"].as_f64().unwrap());
    assert!(error < 0.05 && (value - 0.3122).abs() < 5.0 * error, "{found}");
    let kl = &answer["metrics"]["kl_reverse"];
    assert!(kl["value"].as_f64().unwrap().abs() < 0.2 && kl["z_score"].as_f64().unwrap().abs() < 4.0, "{kl}");
    let config = workspace().join("configs/smoke/score_matching_ring.json");
    let through_config = place.metrics(&samples, &config, &["--json", "--only", "cross_entropy"]).succeeds().json();
    assert_eq!(through_config["metrics"]["cross_entropy"], *found);
}

#[test]
fn answers_are_a_function_of_the_seed_and_not_of_the_threads() {
    let place = Workplace::new();
    let target = place.write("ring.json", "{\"ring\": {}}");
    let samples = place.points("samples.npy", &ring(120, 8));
    let on = |more: &[&str]| place.metrics(&samples, &target, &[&["--json"], more].concat()).succeeds().stdout;
    assert_eq!(on(&["--threads", "1"]), on(&["--threads", "3"]));
    assert_ne!(on(&["--seed", "1", "--only", "w2"]), on(&["--seed", "2", "--only", "w2"]));
}

#[test]
fn degenerate_points_have_the_right_answer_or_none() {
    let place = Workplace::new();
    let one = |x: f64, y: f64| ndarray::array![[x, y]];
    let ask = |a: &Points, b: &Points| {
        let (a, b) = (place.points("a.npy", a), place.points("b.npy", b));
        place.metrics(&a, &b, &["--json"]).succeeds().json()
    };
    // A single point on each side: a distance, and no spread.
    let single = ask(&one(0.0, 0.0), &one(3.0, 4.0));
    for name in ["w2", "w1", "mean_error"] {
        close(&single[name], &5.0.into(), 1e-12);
        assert_eq!(single["std_errors"][name], Value::Null, "{name}");
    }
    assert!(single["sliced_w2"].is_number());
    for name in ["covariance_error", "w2_floor", "mmd"] {
        assert_eq!(single[name], Value::Null, "{name}");
    }
    assert_eq!(single["kl_knn"]["value"], Value::Null);
    // All points equal, on both sides.
    let equal = ask(&Points::from_elem((20, 2), 1.5), &Points::from_elem((20, 2), 1.5));
    for name in ["w2", "w1", "sliced_w2", "mean_error", "covariance_error", "energy_distance"] {
        close(&equal[name], &0.0.into(), 1e-12);
    }
    // Ties on a grid: the grid and the grid moved by one step.
    let grid = Points::from_shape_fn((144, 2), |(i, j)| if j == 0 { (i % 6) as f64 } else { (i / 6 % 6) as f64 });
    let moved = &grid + &ndarray::array![[1.0, 0.0]];
    let ties = ask(&moved, &grid);
    close(&ties["w2"], &1.0.into(), 1e-9);
    close(&ties["w1"], &1.0.into(), 1e-9);
    // The same points in another order.
    let points = ring(80, 9);
    let backwards = points.slice(ndarray::s![..;-1, ..]).to_owned();
    close(&ask(&points, &backwards)["w2"], &0.0.into(), 1e-7);
    // A million away: the distance of the means rules, and keeps its digits.
    let far = ask(&(&points + &ndarray::array![[1e6, 0.0]]), &points);
    close(&far["w2"], &1e6.into(), 1e-9);
    close(&far["w1"], &1e6.into(), 1e-9);
}

#[test]
fn mistakes_are_told_word_for_word() {
    let place = Workplace::new();
    let (a, b) = (place.points("a.npy", &ring(20, 1)), place.points("b.npy", &ring(20, 2)));
    let flat = place.points("flat.npy", &Points::zeros((20, 3)));
    let target = place.write("ring.json", "{\"ring\": {}}");
    let said = |outcome: Outcome| outcome.fails(2).stderr;
    assert_eq!(
        said(place.metrics(&a, &flat, &[])),
        "error: the points of a.npy have dimension 2, those of flat.npy have 3\n\
         hint: both must live in one space: give files with the same columns\n"
    );
    let unknown = said(place.metrics(&a, &b, &["--only", "w2,sliced_w3"]));
    assert!(
        unknown.starts_with(
            "error: `--only` names the metric \"sliced_w3\", which is not there (did you mean `sliced_w2`?)\n\
             hint: the metrics are w2, w1, sliced_w2, "
        ),
        "{unknown}"
    );
    assert_eq!(
        said(place.metrics(&a, &b, &["--only", "cross_entropy"])),
        "error: `cross_entropy` takes the density of a target, and the points of b.npy has none\n\
         hint: compare with a target that has one, in a JSON file: {\"gaussian_mixture\": {…}}; or leave the metric out\n"
    );
    assert_eq!(
        said(place.metrics(&a, &b, &["--count", "10"])),
        "error: `--count` is the number of fresh draws of a target, and b.npy holds points\n\
         hint: leave it out: every row of a file counts\n"
    );
    let broken = place.write("nan.csv", "1.5,2\n3,4\nnan,6\n");
    assert_eq!(
        said(place.metrics(&broken, &b, &[])),
        "error: nan.csv: row 3 (line 3), column 1: nan is not finite; fill in the value, or remove the row\n"
    );
    let mistyped = place.write("mistyped.json", "{\"rng\": {}}");
    let mistyped = said(place.metrics(&a, &mistyped, &[]));
    assert!(mistyped.contains("mistyped.json:1:") && mistyped.contains("did you mean `ring`?"), "{mistyped}");
    assert!(said(place.metrics(&place.path("absent.npy"), &b, &[])).contains("absent.npy: there is no such file"));
    assert!(said(place.metrics(&a, &place.write("empty.csv", ""), &[])).contains("empty"));
    assert!(said(place.metrics(&flat, &target, &[])).contains("dimension 3"));
    place.metrics(&a, &b, &["--epsilon", "0"]).fails(2);
    place.metrics(&a, &b, &["--epsilon", "1", "--relative-epsilon", "1"]).fails(2);
}

#[test]
fn the_table_has_a_line_a_metric_and_its_notes_below() {
    let place = Workplace::new();
    let (a, b) = (place.points("a.npy", &ring(40, 1)), place.points("b.npy", &ring(40, 2)));
    let table = place.metrics(&a, &b, &["--only", "w2,mean_error"]).succeeds().stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[1].starts_with("metric") && lines[1].ends_with("good is"), "{table}");
    assert!(lines[2].starts_with("mean_error") && lines[3].starts_with("w2 "), "{table}");
    let column = |line: &str| line.chars().position(|c| c == '±');
    assert!(lines[1..4].iter().all(|line| column(line) == column(lines[1])), "{table}");
    assert_eq!(lines[4], "note: no floor: it takes 80 reference points, there are 40", "{table}");
}

#[cfg(unix)]
#[test]
fn long_work_ends_at_an_interrupt() {
    let place = Workplace::new();
    let many = |seed| targets::swiss_roll(0.1).sample(&Stream::new(seed, Purpose::Reference), 0, 0..20_000);
    let (a, b) = (place.points("a.npy", &many(1)), place.points("b.npy", &many(2)));
    assert_eq!(place.interrupted(&["metrics", text(&a), text(&b), "--repeats", "1000"]), Some(130));
}

#[test]
fn the_density_of_the_sampler_gives_log_z_and_bounds() {
    let place = Workplace::new();
    let target = place.write("normal.json", r#"{"gaussian": {"mean": [0.0], "covariance": [[1.0]]}}"#);
    let normal = Gaussian::standard(1).sample(&Stream::new(3, Purpose::Reference), 0, 0..4000);
    // q = N(1/2, 1): KL(q‖p) = 1/8, and w = p/q has E_q w = 1, E_q w² = e^(1/4).
    let shifted = normal.mapv(|x| x + 0.5);
    let log_q = normal.mapv(|x| -0.5 * x * x - 0.5 * std::f64::consts::TAU.ln());
    let (a, q) = (place.points("a.npy", &shifted), place.points("q.npy", &log_q));
    let only = "elbo,log_z,ess_reverse,pareto_k,kl_reverse";
    let answer = place.metrics(&a, &target, &["--json", "--only", only, "--log-density", text(&q)]).succeeds().json();
    for (name, exact) in [("elbo", -0.125), ("log_z", 0.0), ("ess_reverse", (-0.25f64).exp()), ("kl_reverse", 0.125)] {
        let report = &answer["metrics"][name];
        let (value, error) = (report["value"].as_f64().unwrap(), report["std_error"].as_f64().unwrap());
        assert!(error < 0.03, "too noisy to decide: {report}");
        assert!((value - exact).abs() < 5.0 * error, "{name}: {report} against {exact}");
    }
    assert!(answer["metrics"]["pareto_k"]["value"].as_f64().unwrap() < 0.5, "{answer}");
    let few = place.points("few.npy", &shifted.slice(ndarray::s![..10, ..]).to_owned());
    place.metrics(&few, &target, &["--log-density", text(&q)]).fails(2).says("4000 rows and 1 columns where 10");
    place.metrics(&a, &target, &["--only", "elbo"]).fails(2).says("--log-density FILE");
    let fewer_q = place.points("fewer_q.npy", &log_q.slice(ndarray::s![..10, ..]).to_owned());
    let refused = place
        .metrics(&few, &target, &["--json", "--only", "ess_reverse", "--log-density", text(&fewer_q)])
        .succeeds()
        .json();
    assert_eq!(refused["metrics"]["ess_reverse"]["value"], Value::Null, "an ESS of ten samples: {refused}");
}

#[test]
fn modes_that_samples_miss_are_counted() {
    let place = Workplace::new();
    let target = place.write("ring.json", "{\"ring\": {}}");
    let all = ring(800, 10);
    let upper: Vec<usize> = (0..800).filter(|&i| all[[i, 1]] > 0.5).collect();
    let half = place.points("half.npy", &all.select(ndarray::Axis(0), &upper));
    let answer = place.metrics(&half, &target, &["--json", "--only", "modes_hit,mode_entropy"]).succeeds().json();
    // Three of the eight centres √2 (cos, sin)(2πk/8) lie above ½.
    assert_eq!(answer["metrics"]["modes_hit"]["value"], 3.0, "{answer}");
    assert!(answer["metrics"]["mode_entropy"]["z_score"].as_f64().unwrap() < -10.0, "{answer}");
    let moons = place.write("moons.json", "{\"two_moons\": {}}");
    place.metrics(&half, &moons, &["--only", "modes_hit"]).fails(2).says("counts the modes of a Gaussian mixture");
}

#[test]
fn an_evaluation_holds_the_log_density_of_the_network() {
    let place = Workplace::new();
    let more = ["-q", "--set", "evaluation.log_density.points=1000", "--set", "evaluation.count=1000"];
    place.smoke("score_matching_gaussian_mixture.json", "run", &more).succeeds();
    let kept = std::fs::read(place.run("run").join("evaluation.json")).unwrap();
    let metrics = &serde_json::from_slice::<Value>(&kept).unwrap()["metrics"];
    let value = |name: &str| metrics[name]["value"].as_f64().unwrap_or_else(|| panic!("{name}: {}", metrics[name]));
    for name in ["w2", "w1", "kl_knn", "kl_classifier", "mmd", "modes_hit", "ess_reverse", "ess_forward", "log_z"] {
        value(name);
    }
    assert!((value("bits_per_dimension") - value("nll") / (2.0 * 2f64.ln())).abs() < 1e-12);
    // Both bounds hold log Z = 0 between them, and a hardly trained network is far from perfect.
    assert!(value("elbo") < 0.0 && value("eubo") > 0.0, "{metrics}");
    assert!((value("eubo") - value("kl_forward")).abs() < 1e-9 && (value("elbo") + value("kl_reverse")).abs() < 1e-9);
    assert!(metrics["nll"]["z_score"].as_f64().unwrap() > 3.0, "{}", metrics["nll"]);
    let run = place.run("run");
    let one = place.train(&["evaluate", text(&run), "--only", "nll", "--json", "-q"]).succeeds().json();
    assert_eq!(one["metrics"]["nll"], metrics["nll"]);
    assert_eq!(one["metrics"].as_object().unwrap().len(), 1);
    assert!(kept == std::fs::read(run.join("evaluation.json")).unwrap(), "a part took the place of the whole");
}

#[test]
fn a_log_density_of_many_dimensions_says_how_it_was_found() {
    let place = Workplace::new();
    place.smoke("score_matching_digits.json", "run", &["-q"]).succeeds();
    let run = place.run("run");
    let answer = place.train(&["evaluate", text(&run), "--only", "nll", "--json", "-q"]).succeeds().json();
    let report = &answer["metrics"]["nll"];
    assert!(report["value"].is_number() && report["note"].as_str().unwrap().contains("Hutchinson"), "{report}");
    place.train(&["evaluate", text(&run), "--only", "kl_forward"]).fails(2).says("takes the density of a target");
}

/// A run of the smallest network on a table of two correlated columns, scaled by `factor`.
fn run_on_table(place: &Workplace, name: &str, factor: f64, settings: &str) -> std::path::PathBuf {
    let normals = Gaussian::standard(2).sample(&Stream::new(4, Purpose::Reference), 0, 0..300);
    let rows = normals.rows().into_iter().map(|z| {
        let (wide, narrow) = (factor * (5.0 + 3.0 * z[0]), factor * (0.2 * z[0] + 0.1 * z[1]));
        format!("{narrow},-1,{wide}\n")
    });
    let table = place.write(&format!("{name}.csv"), &format!("narrow,unused,wide\n{}", rows.collect::<String>()));
    let config = std::fs::read_to_string(workspace().join("configs/smoke/score_matching_two_moons.json")).unwrap();
    let data = format!("{{\"dataset\": {{\"path\": {table:?}, \"columns\": [\"wide\", \"narrow\"], {settings}}}}}");
    let config = place.write(&format!("{name}.json"), &config.replacen("{\"two_moons\": {}}", &data, 1));
    let run = place.path(name);
    place.train(&["run", text(&config), "--run-dir", text(&run), "-q"]).succeeds();
    run
}

/// log q of a run at the rows of a table.
fn log_densities(place: &Workplace, run: &std::path::Path, rows: &str) -> Vec<f64> {
    let (points, out) = (place.write("at.csv", rows), place.path("q.csv"));
    place.train(&["density", text(run), "--in", text(&points), "--out", text(&out), "-q"]).succeeds();
    let table = std::fs::read_to_string(out).unwrap();
    table.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn the_log_density_of_data_is_in_their_own_coordinates() {
    let place = Workplace::new();
    for (name, settings) in [
        ("global", r#""standardize": "global""#),
        ("columns", r#""standardize": "per_column""#),
        ("whitened", r#""standardize": "global", "whiten": true"#),
    ] {
        let run = run_on_table(&place, name, 1.0, settings);
        let tenfold = run_on_table(&place, &format!("{name}_tenfold"), 10.0, settings);
        // The same points in a unit ten times smaller, with the columns in another order than that of the run.
        let one = log_densities(&place, &run, "narrow,wide\n0.1,5.5\n-0.2,3\n0,9\n");
        let other = log_densities(&place, &tenfold, "narrow,wide\n1,55\n-2,30\n0,90\n");
        for (one, other) in one.iter().zip(&other) {
            // Training on rounded numbers differs by roundings.
            assert!((one - other - 2.0 * 10f64.ln()).abs() < 1e-3, "{name}: {one} and {other}");
        }
        // And it is a density: it integrates to 1 where the data are wide 3 and narrow 0.2.
        let (n, wide, narrow) = (100, 36.0, 2.4);
        let cell = |i: usize, width: f64| ((i as f64 + 0.5) / n as f64 - 0.5) * width;
        let grid: String =
            (0..n * n).map(|k| format!("{},{}\n", 5.0 + cell(k / n, wide), cell(k % n, narrow))).collect();
        let values = log_densities(&place, &run, &format!("wide,narrow\n{grid}"));
        let mass = values.iter().map(|log_q| log_q.exp()).sum::<f64>() * wide * narrow / (n * n) as f64;
        assert!((mass - 1.0).abs() < 0.02, "{name}: a mass of {mass}");
    }
}
