//! Noise levels from the localization curve of a run's data: on the way down and in training.

use std::path::Path;

use serde_json::Value;

use crate::train::{Mark, Workplace, assert_equal_results, smoke, text, workspace};

const CONFIG: &str = "score_matching_localized.json";

/// What `train sample` writes, with more arguments.
fn samples(place: &Workplace, run: &Path, more: &[&str]) -> Vec<u8> {
    let out = place.path("samples.npy");
    let mut arguments = vec!["sample", text(run), "--count", "64", "--out", text(&out), "-q"];
    arguments.extend(more);
    place.train(&arguments).succeeds();
    std::fs::read(out).unwrap()
}

fn curve(run: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(run.join("localization.json")).unwrap()).unwrap()
}

/// A run on a table of two clusters, and the table.
fn run_on_a_file(place: &Workplace) -> (std::path::PathBuf, std::path::PathBuf) {
    let rows: String = (0..300)
        .map(|i| format!("{},{}\n", f64::from(i % 2) * 4.0 + 0.1 * f64::from(i).sin(), 0.3 * f64::from(i * i).cos()))
        .collect();
    let table = place.write("points.csv", &format!("x,y\n{rows}"));
    let config = std::fs::read_to_string(smoke("score_matching_two_moons.json")).unwrap();
    let config = config.replacen("{\"two_moons\": {}}", &format!("{{\"dataset\": {{\"path\": {table:?}}}}}"), 1);
    let config = place.write("config.json", &config);
    let run = place.run("run");
    place.train(&["run", text(&config), "--run-dir", text(&run), "-q"]).succeeds();
    (run, table)
}

#[test]
fn any_run_samples_on_a_localized_grid_of_each_solver() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let run = place.run("run");
    let mut seen = Vec::new();
    for sampler in ["euler", "heun", "dpm_solver_2m", "euler_maruyama", "ancestral"] {
        let grid = |grid: &str, threads: &str| {
            samples(&place, &run, &["--sampler", sampler, "--grid", grid, "--steps", "5", "--threads", threads])
        };
        let localized = grid("localized", "2");
        assert!(localized == grid("localized", "1"), "{sampler}: the number of threads matters");
        assert!(localized != grid("karras", "2"), "{sampler}: the grid does not matter");
        assert!(!seen.contains(&localized), "{sampler}: the solver does not matter");
        seen.push(localized);
    }
    // Churn renews no noise where its share is zero: Heun's method, and so on Heun's grid.
    let still = r#"{"churn": {"s_churn": 0}}"#;
    assert!(samples(&place, &run, &["--sampler", still, "--grid", "localized", "--steps", "5"]) == seen[1]);
}

#[test]
fn a_refined_grid_is_computed_once_for_a_solver_and_a_number_of_steps() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let run = place.run("run");
    assert_eq!(curve(&run)["optimized"], serde_json::json!([]));
    let refined = ["--grid", "localized-optimized", "--steps", "4"];
    let (first, second) = (samples(&place, &run, &refined), samples(&place, &run, &refined));
    assert!(first == second && first != samples(&place, &run, &["--grid", "localized", "--steps", "4"]));
    samples(&place, &run, &["--grid", "localized_optimized", "--steps", "3", "--sampler", "dpm-solver-2m"]);
    let kept = curve(&run)["optimized"].clone();
    let entries: Vec<_> = kept.as_array().unwrap().iter().map(|kept| (&kept["solver"], &kept["steps"])).collect();
    let expected = [(&Value::from("heun"), &Value::from(4)), (&Value::from("dpm_solver_2m"), &Value::from(3))];
    assert_eq!(entries, expected);
    for entry in kept.as_array().unwrap() {
        let levels: Vec<f64> =
            entry["levels"].as_array().unwrap().iter().map(|level| level.as_f64().unwrap()).collect();
        assert_eq!(levels.len() as u64, entry["steps"].as_u64().unwrap() + 1);
        assert!(levels.windows(2).all(|pair| pair[0] > pair[1]) && levels.ends_with(&[0.0]), "{levels:?}");
    }
}

#[test]
fn the_curve_outlives_the_data_and_a_run_without_either_says_what_to_do() {
    let place = Workplace::new();
    let (run, table) = run_on_a_file(&place);
    let localized = ["--grid", "localized", "--steps", "5"];
    let before = samples(&place, &run, &localized);
    let file = run.join("localization.json");
    let (kept, rows) = (std::fs::read(&file).unwrap(), std::fs::read(&table).unwrap());

    // A run of an older program has no curve; one damaged byte is as good as none.
    std::fs::remove_file(&file).unwrap();
    assert!(before == samples(&place, &run, &localized));
    assert!(kept == std::fs::read(&file).unwrap(), "the curve was computed anew with other bits");
    let mut damaged = kept.clone();
    damaged[kept.len() / 2] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    assert!(before == samples(&place, &run, &localized));
    assert!(kept == std::fs::read(&file).unwrap());

    std::fs::remove_file(&table).unwrap();
    assert!(before == samples(&place, &run, &localized), "the stored curve is enough");
    std::fs::remove_file(&file).unwrap();
    let out = place.path("none.npy");
    let arguments = ["sample", text(&run), "--count", "5", "--grid", "localized", "--out", text(&out)];
    let refused = place.train(&arguments).fails(2);
    assert!(!out.exists());
    assert_eq!(
        refused.stderr.replace(text(&table), "points.csv").replace(text(&workspace()), "HERE"),
        "error: the run smoke_score_matching_two_moons does not hold what this localized grid takes, and its data are not there to \
         compute it from\n  \
         caused by: points.csv: there is no such file; check the path, which is relative to the working directory HERE\n\
         hint: put the data back where config.json names them and run the command once more, or choose another grid, such as `--grid karras`\n"
    );
    samples(&place, &run, &["--grid", "karras"]);
    std::fs::write(&table, rows).unwrap();
    assert!(before == samples(&place, &run, &localized));
}

#[test]
fn the_curve_of_another_run_is_not_taken() {
    let place = Workplace::new();
    let config = "score_matching_gaussian_mixture.json";
    let small = ["-q", "--set", "output.figures=false", "--set", "training.steps=20"];
    place.smoke(config, "one", &small).succeeds();
    // One mean moved by 50: name and version of the target, and the seed, stay.
    let moved = std::fs::read_to_string(smoke(config)).unwrap().replacen("[[-2.0, ", "[[48.0, ", 1);
    let (moved, other) = (place.write("moved.json", &moved), place.run("other"));
    place.train(&[&["run", text(&moved), "--run-dir", text(&other)][..], &small].concat()).succeeds();
    let one = place.run("one");
    let before = samples(&place, &one, &["--grid", "localized"]);
    let kept = std::fs::read(one.join("localization.json")).unwrap();
    samples(&place, &other, &["--grid", "localized"]);
    std::fs::copy(other.join("localization.json"), one.join("localization.json")).unwrap();
    assert!(kept != std::fs::read(one.join("localization.json")).unwrap());
    let out = place.path("samples.npy");
    let again = ["sample", text(&one), "--count", "64", "--grid", "localized", "--out", text(&out)];
    place.train(&again).succeeds().says("that of another run");
    assert!(before == std::fs::read(&out).unwrap() && kept == std::fs::read(one.join("localization.json")).unwrap());
}

#[test]
fn a_chain_has_no_localized_grid() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let (run, out) = (place.run("run"), place.path("none.npy"));
    let arguments = ["--count", "5", "--grid", "localized", "--sampler", "transport_chain", "--out", text(&out)];
    let refused = place.train(&[&["sample", text(&run)][..], &arguments].concat()).fails(2);
    assert_eq!(
        refused.stderr,
        "error: the grid `localized` places the steps of a solver, and those of `transport_chain` are equal in time\n\
         hint: choose another grid with `--grid`, or another sampler with `--sampler`\n"
    );
    let ranged = ["sample", text(&run), "--count", "5", "--grid", "localized", "--sigma-max", "9", "--out", text(&out)];
    assert_eq!(
        place.train(&ranged).fails(2).stderr,
        "error: the grid `localized` has a range of noise levels of its own, from the data of the run\n\
         hint: leave `--sigma-min` and `--sigma-max` out, or choose another grid\n"
    );
    assert!(!out.exists());
    let other =
        ["sample", text(&run), "--count", "5", "--sigma-max", "9", "--sigma-min", "0.1", "--out", text(&out), "--json"];
    let said = place.train(&other).succeeds().json();
    assert_eq!((said["sigma_max"].as_f64(), said["sigma_min"].as_f64()), (Some(9.0), Some(0.1)));
}

#[test]
fn an_evaluation_says_its_grid_and_a_flag_does_not_change_that_of_the_run() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let run = place.run("run");
    let before = std::fs::read(run.join("evaluation.json")).unwrap();
    let arguments = ["evaluate", text(&run), "--grid", "localized", "--steps", "5", "--only", "w2", "--json"];
    let report = place.train(&arguments).succeeds().json();
    assert_eq!((report["grid"].as_str(), report["steps"].as_u64()), (Some("localized"), Some(5)));
    assert!(report["metrics"]["w2"]["value"].is_f64());
    assert!(before == std::fs::read(run.join("evaluation.json")).unwrap());
}

#[test]
fn a_run_with_localized_levels_does_not_depend_on_threads_or_kills() {
    let place = Workplace::new();
    let settings = ["--set", "training.steps=400", "--set", "output.checkpoint_every=50", "-q"];
    place.smoke(CONFIG, "whole", &[&settings[..], &["--threads", "1"]].concat()).succeeds();
    let (config, run) = (smoke(CONFIG), place.run("killed"));
    let arguments = [&["run", text(&config), "--run-dir", text(&run), "--resume"][..], &settings].concat();
    let marks = [Mark::File("config.json"), Mark::File("localization.json"), Mark::Line(40), Mark::Checkpoint(200)];
    place.train_through_kills(&arguments, &run, &marks);
    assert_equal_results(&place.run("whole"), &run);
}

#[test]
fn a_resumed_run_draws_from_the_kept_curve() {
    let place = Workplace::new();
    let settings = ["--set", "training.steps=300", "-q"];
    place.smoke(CONFIG, "whole", &settings).succeeds();
    place.smoke(CONFIG, "stopped", &[&settings[..], &["--max-steps", "123"]].concat()).fails(75);
    let run = place.run("stopped");
    place.train(&["resume", text(&run), "-q"]).succeeds();
    let (stopped, whole) = (crate::train::results(&run), crate::train::results(&place.run("whole")));
    for (name, bytes) in &whole {
        assert!(bytes == &stopped[name], "{name} differs");
    }
    // Other noise levels are another run.
    let given = "method.denoising_score_matching.noise_levels={\"log_normal\":{\"mean\":-1.2,\"sd\":1.2}}";
    place.smoke(CONFIG, "given", &[&settings[..], &["--set", given]].concat()).succeeds();
    let losses = |run: &str| std::fs::read(place.run(run).join("samples.npy")).unwrap();
    assert_ne!(losses("whole"), losses("given"));
    let changed = [&settings[..], &["--resume", "--set", given]].concat();
    place.smoke(CONFIG, "whole", &changed).fails(2).says("noise_levels");
}
