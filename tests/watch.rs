//! What a run computes of itself while it trains.

use serde_json::Value;

use crate::train::{Workplace, assert_equal_results, results};

const SCALARS: [&str; 4] =
    ["watch_sliced_w2", "watch_sinkhorn_divergence", "watch_energy_distance", "watch_mmd_squared"];

fn lines(place: &Workplace, run: &str) -> Vec<Value> {
    let metrics = std::fs::read_to_string(place.run(run).join("metrics.jsonl")).unwrap();
    metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn distances_are_logged_where_the_config_asks_for_them() {
    let place = Workplace::new();
    let said = place.smoke("score_matching_ring.json", "run", &["--set", "output.tensorboard=true"]).succeeds();
    let lines = lines(&place, "run");
    for name in SCALARS {
        let steps: Vec<u64> =
            lines.iter().filter(|line| line[name].is_number()).map(|line| line["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [30, 60], "{name}");
        assert!(said.stderr.contains(name), "{}", said.stderr);
    }
    let mut files = std::fs::read_dir(place.run("run")).unwrap().map(|entry| entry.unwrap().path());
    let events = files.find(|path| path.to_string_lossy().contains("tfevents")).unwrap();
    let events = String::from_utf8_lossy(&std::fs::read(events).unwrap()).into_owned();
    assert!(SCALARS.iter().all(|name| events.contains(name)));
}

#[test]
fn watching_changes_nothing_and_resumes_and_threads_change_nothing_of_it() {
    let place = Workplace::new();
    let config = "score_matching_ring.json";
    place.smoke(config, "one", &["-q", "--threads", "1"]).succeeds();
    place.smoke(config, "two", &["-q", "--threads", "2"]).succeeds();
    assert_equal_results(&place.run("one"), &place.run("two"));

    place.smoke(config, "blind", &["-q", "--set", "evaluation.watch=null"]).succeeds();
    let weights_and_samples = |run: &str| {
        let mut files = results(&place.run(run));
        files.retain(|name, _| name.ends_with(".bpk") || name.ends_with(".npy"));
        files
    };
    let (seeing, blind) = (weights_and_samples("one"), weights_and_samples("blind"));
    assert!(seeing.len() > 4 && seeing == blind, "watching changed the run");

    // Interrupted between two looks, then resumed.
    place.smoke(config, "stopped", &["-q", "--max-steps", "37"]).fails(75);
    place.smoke(config, "stopped", &["-q", "--resume"]).succeeds();
    let metrics = |run: &str| results(&place.run(run)).remove("metrics.jsonl").unwrap();
    assert!(metrics("one") == metrics("stopped"));
}
