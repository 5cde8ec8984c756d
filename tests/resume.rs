//! Killed, stopped and resumed runs end as uninterrupted ones do.

use std::process::Stdio;
use std::time::Duration;

use crate::train::{Mark, Workplace, assert_equal_results, smoke, text};

/// Steps that take a few seconds, a checkpoint every fifty.
const SETTINGS: &[&str] =
    &["--set", "training.steps=900", "--set", "output.checkpoint_every=50", "--set", "output.log_every=20", "-q"];

/// A run that was never disturbed.
fn undisturbed(place: &Workplace) -> std::path::PathBuf {
    place.smoke("score_matching_digits.json", "whole", SETTINGS).succeeds();
    place.run("whole")
}

#[test]
fn a_run_killed_at_any_moment_ends_with_the_same_bits() {
    let place = Workplace::new();
    let whole = undisturbed(&place);
    let run = place.run("killed");
    let config = smoke("score_matching_digits.json");
    let mut arguments = vec!["run", text(&config), "--run-dir", text(&run), "--resume"];
    arguments.extend(SETTINGS);
    // Before the first checkpoint, at and between checkpoints, and inside the final outputs.
    let marks = [
        Mark::File("config.json"),
        Mark::Checkpoint(0),
        Mark::Line(20),
        Mark::Checkpoint(50),
        Mark::Line(120),
        Mark::Checkpoint(350),
        Mark::Line(520),
        Mark::Checkpoint(800),
        Mark::Line(900),
        Mark::File("samples.npy"),
    ];
    place.train_through_kills(&arguments, &run, &marks);
    assert_equal_results(&whole, &run);
}

#[test]
fn a_checkpoint_that_a_kill_left_behind_is_removed_by_the_next_start() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let run = place.run("run");
    let checkpoints = || {
        let names = std::fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("checkpoint-")).collect();
        names.sort();
        names
    };
    let kept = checkpoints();
    let left = run.join("checkpoint-00000001");
    std::fs::create_dir(&left).unwrap();
    for entry in std::fs::read_dir(run.join(kept.last().unwrap())).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), left.join(entry.file_name())).unwrap();
    }
    place.smoke("score_matching_two_moons.json", "run", &["--resume", "-q"]).succeeds();
    // The smoke run keeps two, and the best.
    assert!(kept.len() <= 3 && checkpoints() == kept, "{:?} instead of {kept:?}", checkpoints());
}

#[test]
fn a_stopped_run_keeps_a_checkpoint_and_resumes_with_the_same_bits() {
    let place = Workplace::new();
    let whole = undisturbed(&place);
    place.smoke("score_matching_digits.json", "stopped", &[SETTINGS, &["--max-steps", "123"]].concat()).fails(75);
    let run = place.run("stopped");
    assert!(run.join("checkpoint-00000123").exists());
    place.train(&["resume", text(&run), "-q", "--max-steps", "200"]).fails(75);
    assert!(run.join("checkpoint-00000323").exists());
    // A limit at the end is none, and neither is one beyond it.
    place.train(&["resume", text(&run), "-q", "--max-steps", "577"]).succeeds();
    place.train(&["resume", text(&run), "-q", "--max-steps", "1"]).succeeds();
    let mut names = crate::train::results(&run);
    // The stop itself left a checkpoint between the regular ones; everything else is equal.
    let expected = crate::train::results(&whole);
    names.retain(|name, _| expected.contains_key(name));
    assert_eq!(names.len(), expected.len());
    for (name, bytes) in &expected {
        assert!(bytes == &names[name], "{name} differs");
    }
}

#[test]
fn a_run_that_may_take_no_time_stops_after_its_first_step() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q", "--max-time", "0s"]).fails(75);
    let run = place.run("run");
    assert!(run.join("checkpoint-00000001").exists());
    place.train(&["resume", text(&run), "-q"]).succeeds();
    place.smoke("score_matching_two_moons.json", "none", &["-q", "--max-steps", "0"]).fails(2).says("--max-steps");
}

#[cfg(unix)]
#[test]
fn sigterm_and_the_warning_of_a_scheduler_stop_in_good_order() {
    let place = Workplace::new();
    for signals in [&["TERM"][..], &["USR1"], &["USR1", "TERM"]] {
        let signal = signals.concat();
        let (config, run) = (smoke("score_matching_digits.json"), place.run(&signal));
        let arguments = ["run", text(&config), "--run-dir", text(&run), "--set", "training.steps=1000000", "-q"];
        let mut child = place.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let latest = run.join("latest");
        while !latest.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(300));
        for signal in signals {
            std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        }
        assert_eq!(child.wait().unwrap().code(), Some(75), "{signal}");
        // A checkpoint after the first, from which the run goes on.
        let step: u64 = std::fs::read_to_string(&latest).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(step > 0, "{signal}: {step}");
        place.train(&["resume", text(&run), "-q", "--max-steps", "1"]).fails(75);
    }
}

#[test]
fn a_finished_run_resumes_to_nothing_and_makes_missing_outputs_again() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let run = place.run("run");
    let before = crate::train::results(&run);
    std::fs::remove_file(run.join("samples.npy")).unwrap();
    std::fs::remove_file(run.join("evaluation.json")).unwrap();
    place.train(&["resume", text(&run), "-q"]).succeeds();
    assert!(before == crate::train::results(&run), "the outputs differ");
}

#[test]
fn a_resume_refuses_changes_of_meaning_and_lists_them() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let changed = ["--resume", "-q", "--set", "training.batch=32", "--set", "output.log_every=7"];
    place.smoke("score_matching_two_moons.json", "run", &changed).fails(2).says("training.batch");
    place.smoke("score_matching_two_moons.json", "run", &["--resume", "-q", "--set", "output.log_every=7"]).succeeds();
}

#[test]
fn a_second_process_is_refused() {
    let place = Workplace::new();
    let (config, run) = (smoke("score_matching_digits.json"), place.run("run"));
    let arguments = ["run", text(&config), "--run-dir", text(&run), "--set", "training.steps=1000000", "-q"];
    let mut child = place.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !run.join("latest").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = place.train(&["resume", text(&run)]);
    child.kill().unwrap();
    child.wait().unwrap();
    second.fails(2).says("another process");
}

#[test]
fn fresh_moves_the_old_run_aside() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    place.smoke("score_matching_two_moons.json", "run", &["-q", "--fresh"]).succeeds();
    assert!(place.run("run.old-1").join("config.json").exists());
}

#[test]
fn a_run_starts_from_the_weights_of_another() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "first", &["-q"]).succeeds();
    let start = format!("training.start_from={}", text(&place.run("first")));
    place.smoke("score_matching_two_moons.json", "second", &["-q", "--set", &start]).succeeds();
    let first_loss = |run: &str| {
        let metrics = std::fs::read_to_string(place.run(run).join("metrics.jsonl")).unwrap();
        let line: serde_json::Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
        line["surrogate_loss"].as_f64().unwrap()
    };
    assert!(first_loss("second") < first_loss("first"));
}
