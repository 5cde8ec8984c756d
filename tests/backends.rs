//! The same run on every device that this machine has.

use serde_json::Value;

use crate::train::{Workplace, text};

/// The devices of the default build; None with a printed reason where this machine lacks one.
fn is_available(place: &Workplace, name: &str) -> bool {
    let devices = place.train(&["devices", "--json"]).succeeds().json();
    let report = devices.as_array().unwrap().iter().find(|report| report["name"] == name).cloned().unwrap();
    if report["available"] != true {
        eprintln!("skipped: {name} is not usable here: {}", report["reason"]);
    }
    report["available"] == true
}

/// The named scalars of a run's metrics, in the order of its lines.
fn scalars(place: &Workplace, run: &str, name: &str) -> Vec<f64> {
    let metrics = std::fs::read_to_string(place.run(run).join("metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line.get(name)?.as_f64()).collect()
}

#[test]
fn every_device_trains_and_samples_and_one_step_agrees_with_the_cpu() {
    let place = Workplace::new();
    let settings = [
        "training.steps=1",
        "training.learning_rate.cosine.warmup=0",
        "output.log_every=1",
        "output.figures=false",
        r#"evaluation.watch={"metrics":["sliced_w2","sinkhorn_divergence","energy_distance","mmd_squared"],"count":150}"#,
    ];
    let mut one_step: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    one_step.push("-q");
    place.smoke("score_matching_digits.json", "cpu", &one_step).succeeds();
    for device in ["ndarray", "wgpu"] {
        if !is_available(&place, device) {
            continue;
        }
        let arguments = [&one_step[..], &["--device", device]].concat();
        place.smoke("score_matching_digits.json", device, &arguments).succeeds();
        let training = ["surrogate_loss", "gradient_norm", "held_out_surrogate_loss"].map(|name| (name, 1e-5));
        let watched = ["sliced_w2", "sinkhorn_divergence", "energy_distance", "mmd_squared"];
        let watched = watched.map(|name| (["watch_", name].concat(), 1e-4));
        let watched = watched.iter().map(|(name, tolerance)| (name.as_str(), *tolerance));
        for (name, tolerance) in training.into_iter().chain(watched) {
            let (cpu, other) = (scalars(&place, "cpu", name)[0], scalars(&place, device, name)[0]);
            assert!((cpu - other).abs() < tolerance * cpu.abs(), "{name}: {cpu} on cpu, {other} on {device}");
        }
        let (run, out) = (place.run(device), place.path(&format!("{device}.npy")));
        let arguments =
            ["sample", text(&run), "--count", "20", "--steps", "3", "--device", device, "--out", text(&out), "-q"];
        place.train(&arguments).succeeds();
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error_with_a_reason() {
    let place = Workplace::new();
    let absent = place.smoke("score_matching_digits.json", "run", &["--device", "wgpu:77"]).fails(2);
    assert!(absent.stderr.contains("wgpu:77"), "{}", absent.stderr);
    place.smoke("score_matching_digits.json", "run", &["--device", "cuda"]).fails(2).says("cuda");
    assert!(!place.run("run").exists());
}
