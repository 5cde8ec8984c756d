//! Damaged runs: a clear error, or a fall-back that says so; never a silent fresh start.

use std::path::{Path, PathBuf};

use crate::train::{Workplace, text};

/// A finished run with several checkpoints, and its checkpoint folders in order.
fn finished(place: &Workplace) -> (PathBuf, Vec<PathBuf>) {
    let settings = ["-q", "--set", "output.checkpoint_every=20", "--set", "training.steps=60"];
    place.smoke("score_matching_two_moons.json", "run", &settings).succeeds();
    let run = place.run("run");
    let entries = std::fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().path());
    let mut checkpoints: Vec<_> =
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("checkpoint-")).collect();
    checkpoints.sort();
    (run, checkpoints)
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

/// Every verb that opens a checkpoint.
fn verbs<'a>(run: &'a str, out: &'a str, points: &'a str) -> [Vec<&'a str>; 4] {
    [
        vec!["sample", run, "--count", "4", "--steps", "2", "--out", out, "--checkpoint", "latest"],
        vec!["evaluate", run, "--count", "40", "--steps", "2", "--checkpoint", "latest"],
        vec!["density", run, "--in", points, "--out", out, "--steps", "2", "--checkpoint", "latest"],
        vec!["resume", run],
    ]
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so() {
    for damage in [flip, truncate, remove] {
        let place = Workplace::new();
        let (run, checkpoints) = finished(&place);
        damage(&checkpoints.last().unwrap().join("ema-0.bpk"));
        let (out, points) = (place.path("out.npy"), place.write("points.csv", "0.1,0.2\n"));
        for verb in verbs(text(&run), text(&out), text(&points)) {
            let said = place.train(&verb).succeeds();
            assert!(said.stderr.contains("checkpoint-00000060"), "{verb:?} does not name it: {}", said.stderr);
        }
    }
}

#[test]
fn a_run_without_a_sound_checkpoint_is_an_error_everywhere() {
    let place = Workplace::new();
    let (run, checkpoints) = finished(&place);
    for checkpoint in &checkpoints {
        flip(&checkpoint.join("manifest.json"));
    }
    let (out, points) = (place.path("out.npy"), place.write("points.csv", "0.1,0.2\n"));
    for verb in verbs(text(&run), text(&out), text(&points)) {
        place.train(&verb).fails(2).says("checkpoint");
    }
    assert!(!out.exists());
}

#[test]
fn a_checkpoint_of_another_run_is_foreign() {
    let place = Workplace::new();
    let (run, checkpoints) = finished(&place);
    place
        .smoke("score_matching_two_moons.json", "other", &["-q", "--seed", "9", "--set", "training.steps=60"])
        .succeeds();
    let last = checkpoints.last().unwrap();
    let foreign = place.run("other").join(last.file_name().unwrap());
    for file in std::fs::read_dir(&foreign).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&file, last.join(file.file_name().unwrap())).unwrap();
    }
    let out = place.path("out.npy");
    let step = ["sample", text(&run), "--count", "4", "--out", text(&out), "--checkpoint", "60"];
    place.train(&step).fails(2).says("another run");
    let latest = ["sample", text(&run), "--count", "4", "--out", text(&out), "--checkpoint", "latest"];
    place.train(&latest).succeeds().says("another run");
}

#[test]
fn what_is_no_run_directory_is_named() {
    let place = Workplace::new();
    let out = place.path("out.npy");
    for path in [place.path("nothing"), place.write("file.txt", "hello"), std::env::temp_dir()] {
        place.train(&["sample", text(&path), "--count", "4", "--out", text(&out)]).fails(2).says(text(&path));
        place.train(&["resume", text(&path)]).fails(2).says(text(&path));
    }
}
