//! What a run and its verbs write and print.

use crate::train::{Workplace, text, workspace};

#[test]
fn a_run_writes_everything_that_the_readme_promises() {
    let place = Workplace::new();
    place.smoke("score_matching_digits.json", "run", &["-q", "--set", "output.tensorboard=true"]).succeeds();
    let run = place.run("run");
    for name in ["config.json", "metrics.jsonl", "latest", "best", "evaluation.json", "samples.npy", "log.txt"] {
        assert!(run.join(name).is_file(), "no {name}");
    }
    let figures = std::fs::read_dir(run.join("figures")).unwrap().count();
    assert!(figures >= 2, "{figures} figures");
    let events = std::fs::read_dir(&run)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("tfevents"));
    assert_eq!(events.count(), 1);
    let evaluation: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("evaluation.json")).unwrap()).unwrap();
    for metric in ["w2", "w2_squared", "w1", "sliced_w2", "energy_distance", "mmd", "mean_error", "covariance_error"] {
        let entry = &evaluation["metrics"][metric];
        for key in ["value", "std_error", "floor", "floor_sd", "z_score", "n"] {
            assert!(entry[key].is_number(), "{metric}.{key}: {entry}");
        }
        assert_eq!(entry["direction"], "lower_is_better");
    }
}

#[test]
fn the_held_out_loss_comes_with_its_distance_to_the_optimum() {
    let place = Workplace::new();
    let optima = |config: &str, name: &str, more: &[&str]| -> Vec<Option<f64>> {
        let run = place.run(config);
        place.smoke(config, config, &[&["-q", "--fresh"], more].concat()).succeeds();
        let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let lines = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let judged = lines.filter_map(|line| Some((line["held_out_surrogate_loss"].as_f64()?, line)));
        judged.map(|(loss, line)| Some(loss - line[name].as_f64().filter(|excess| *excess > 0.0)?)).collect()
    };
    let chain = "method.denoising_score_matching.loss={\"chain_step\": {\"eta\": 0.05, \"steps\": 20}}";
    for more in [&[][..], &["--set", chain]] {
        let optima = optima("score_matching_ring.json", "held_out_excess_loss", more);
        assert!(optima.len() >= 3, "{optima:?}");
        // One number for the whole run, that no step comes below.
        let first = optima[0].expect("a positive excess");
        assert!(
            optima.iter().all(|optimum| optimum.is_some_and(|optimum| (optimum - first).abs() < 1e-9 * first)),
            "{optima:?}"
        );
    }
    // Of a data set it is that of its points, and of a law that only has draws that of draws.
    let funnel: &[&str] = &["--set", "target={\"funnel\": {\"dim\": 2, \"sigma\": 1}}"];
    for (config, more, count) in
        [("score_matching_digits.json", &[][..], 1618), ("score_matching_two_moons.json", funnel, 2000)]
    {
        let optima = optima(config, "held_out_excess_bound", more);
        assert!(optima.len() >= 3 && optima.iter().all(|optimum| optimum.is_some_and(|o| o > 0.0)), "{optima:?}");
        let evaluation = std::fs::read(place.run(config).join("evaluation.json")).unwrap();
        let evaluation: serde_json::Value = serde_json::from_slice(&evaluation).unwrap();
        assert_eq!(evaluation["optimum"]["points"], count, "{config}");
        for level in evaluation["denoising_loss"].as_array().unwrap() {
            let [loss, optimal] = ["loss", "optimal"].map(|key| level[key].as_f64().unwrap());
            let excess = level["excess"]["value"].as_f64().unwrap();
            assert!(optimal >= 0.0 && (loss - optimal - excess).abs() < 1e-9 * loss, "{config}: {level}");
        }
    }
    // Points that are trained on bound nothing.
    let all = ["--set", "target.dataset.split={\"train\": 1, \"validation\": 0, \"test\": 0}"];
    let config = "score_matching_digits.json";
    assert!(optima(config, "held_out_excess_bound", &all).iter().all(Option::is_none));
    let evaluation = std::fs::read_to_string(place.run(config).join("evaluation.json")).unwrap();
    assert!(evaluation.contains("\"training_points\": 1797"), "{evaluation}");
}

#[test]
fn samples_come_as_npy_csv_and_png() {
    let place = Workplace::new();
    place.smoke("score_matching_digits.json", "run", &["-q"]).succeeds();
    let run = place.run("run");
    for name in ["s.npy", "s.csv", "s.png"] {
        let out = place.path(name);
        let said = place.train(&[
            "sample",
            text(&run),
            "--count",
            "30",
            "--out",
            text(&out),
            "--sampler",
            "dpm_solver_2m",
            "--json",
        ]);
        assert_eq!(said.succeeds().json()["count"], 30);
        assert!(out.is_file());
    }
    let csv = std::fs::read_to_string(place.path("s.csv")).unwrap();
    assert_eq!(csv.lines().last().unwrap().split(',').count(), 64);
}

#[test]
fn parts_joined_are_the_whole_bit_for_bit() {
    let place = Workplace::new();
    for config in ["score_matching_two_moons.json", "monge_ampere_two_moons.json", "mixture_two_moons.json"] {
        let run = place.run(config);
        place.smoke(config, config, &["-q"]).succeeds();
        let draw = |name: &str, more: &[&str]| -> Vec<f64> {
            let out = place.path(name);
            let arguments = ["sample", text(&run), "--count", "1301", "--out", text(&out), "-q"];
            place.train(&[&arguments, more].concat()).succeeds();
            let csv = std::fs::read_to_string(out).unwrap();
            csv.lines().flat_map(|line| line.split(',')).map(|x| x.parse().unwrap()).collect()
        };
        let whole = draw("whole.csv", &[]);
        let parts = ["0/3", "1/3", "2/3"].map(|shard| draw("part.csv", &["--shard", shard]));
        assert_eq!(parts.iter().map(|part| part.len() / 2).collect::<Vec<_>>(), [433, 434, 434]);
        assert!(parts.concat() == whole, "{config}");
    }
    let run = place.run("mixture_two_moons.json");
    let out = place.path("s.npy");
    let sample = ["sample", text(&run), "--count", "3", "--out", text(&out)];
    for (shard, says) in [("3/3", "0/8"), ("1", "0/8"), ("0/5", "no more parts than samples")] {
        let outcome = place.train(&[&sample[..], &["--shard", shard]].concat()).fails(2);
        assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
    }
}

#[test]
fn every_sampler_draws() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let (run, out) = (place.run("run"), place.path("s.csv"));
    let draw = |sampler: &str, steps: &str| -> Vec<f64> {
        let arguments =
            ["sample", text(&run), "--count", "10", "--sampler", sampler, "--steps", steps, "--out", text(&out), "-q"];
        place.train(&arguments).succeeds();
        let table = std::fs::read_to_string(&out).unwrap();
        let numbers: Vec<f64> =
            table.lines().flat_map(|line| line.split(',').filter_map(|cell| cell.parse().ok())).collect();
        assert_eq!(numbers.len(), 20, "{sampler}: {table}");
        assert!(numbers.iter().all(|x| x.is_finite() && x.abs() < 100.0), "{sampler}: {table}");
        numbers
    };
    let samplers =
        ["euler", "heun", "dpm_solver_2m", "euler_maruyama", "ancestral", "churn", "transport_chain", "langevin_chain"];
    let drawn = samplers.map(|sampler| draw(sampler, "8"));
    for (i, points) in drawn.iter().enumerate() {
        assert!(!drawn[..i].contains(points), "{} draws what another sampler draws", samplers[i]);
    }
    // The solvers of the probability-flow ODE follow one flow from the same starts.
    let [euler, heun, dpm] = ["euler", "heun", "dpm_solver_2m"].map(|solver| draw(solver, "400"));
    let furthest = |other: &[f64]| heun.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(furthest(&dpm) < 0.01 && furthest(&euler) < 0.1, "{heun:?}\n{dpm:?}\n{euler:?}");
}

#[test]
fn a_density_is_written_for_every_point() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let points = place.write("points.csv", "x,y\n0.1,0.2\n-0.5,0.3\n1.0,1.0\n");
    let (run, out) = (place.run("run"), place.path("density.csv"));
    let said =
        place.train(&["density", text(&run), "--in", text(&points), "--out", text(&out), "--json"]).succeeds().json();
    assert_eq!(said["count"], 3);
    let lines = std::fs::read_to_string(&out).unwrap();
    assert_eq!(lines.lines().next(), Some("log_density,std_error"));
    let values: Vec<f64> = lines.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(values.len(), 3);
    let nll = -values.iter().sum::<f64>() / 3.0;
    assert!((said["nll"].as_f64().unwrap() - nll).abs() < 1e-5);
}

#[test]
fn init_prints_a_config_that_check_accepts() {
    let place = Workplace::new();
    let digits = workspace().join("datasets/digits.npz");
    let config = place.train(&["init", text(&digits)]).succeeds().stdout;
    let config = place.write("config.json", &config);
    place.train(&["check", text(&config)]).succeeds();
}

#[test]
fn schema_version_and_completions_are_printed() {
    let place = Workplace::new();
    let committed = std::fs::read_to_string(workspace().join("configs/schema.json")).unwrap();
    assert_eq!(place.train(&["schema"]).succeeds().stdout, committed);
    let version = place.train(&["--version"]).succeeds().stdout;
    for part in ["train 0.1.0", "commit", "cpu"] {
        assert!(version.contains(part), "{version}");
    }
    assert!(place.train(&["completions", "bash"]).succeeds().stdout.contains("train"));
}

#[test]
fn every_committed_config_passes_check() {
    let place = Workplace::new();
    for folder in ["configs/score_matching", "configs/mixture", "configs/smoke"] {
        for entry in std::fs::read_dir(workspace().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            place.train(&["check", text(&path)]).succeeds();
        }
    }
}

#[test]
fn progress_is_plain_lines_where_there_is_no_terminal() {
    let place = Workplace::new();
    let said = place.smoke("score_matching_two_moons.json", "run", &[]).succeeds();
    assert!(!said.stderr.contains('\r') && !said.stderr.contains('\u{1b}'), "{:?}", said.stderr);
    assert!(said.stderr.contains("60/60"), "{}", said.stderr);
}

#[test]
#[ignore = "trains the whole digits config, one to two minutes on two cores"]
fn the_digits_of_the_main_job_are_of_all_ten_kinds() {
    let place = Workplace::new();
    let (config, run) = (workspace().join("configs/score_matching/digits.json"), place.run("digits"));
    place.train(&["run", text(&config), "--run-dir", text(&run), "-q"]).succeeds();
    let evaluation: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("evaluation.json")).unwrap()).unwrap();
    let classes = &evaluation["classes"];
    for digit in 0..10 {
        // 18 of 180 are expected of a class: seven is three standard deviations below.
        let count = classes["counts"][digit.to_string()]["samples"].as_u64().unwrap();
        assert!(count > 7, "{count} samples look like a {digit}");
    }
    let value = |name: &str, key: &str| classes["metrics"][name][key].as_f64().unwrap();
    assert!(value("purity", "value") > 0.85, "{classes}");
    // Copies of training images would lie far below the distance between real digits.
    let distance = "nearest_training_distance";
    assert!(value(distance, "value") > value(distance, "floor") - 5.0 * value(distance, "floor_sd"), "{classes}");
    assert!(evaluation["metrics"]["sliced_w2"]["z_score"].as_f64().unwrap() < 3.0);
}
