//! Files: never written over by what is computed from them, and kept with all their digits.

use std::path::PathBuf;

use crate::train::{Workplace, text};

/// A mixture that is fitted to 60 points of a csv file in a folder of its own: the config, the data and the run.
struct Project {
    place: Workplace,
    data: PathBuf,
    run: PathBuf,
}

impl Project {
    /// The points (k, sin k) shifted by `shift`, and a finished run of `method` on them.
    fn new(shift: f64) -> Self {
        let place = Workplace::new();
        let rows: String = (0..60).map(|k| format!("{:?},{}\n", shift + f64::from(k), f64::from(k).sin())).collect();
        let data = place.write("points.csv", &format!("a,b\n{rows}"));
        let config = format!(
            r#"{{"name": "project", "target": {{"dataset": {{"path": {data:?}}}}},
                "method": {{"gaussian_mixture": {{"components": 2, "iterations": 20}}}},
                "evaluation": {{"count": 50}}, "output": {{"figures": false, "checkpoint_every": 10}}}}"#
        );
        let config = place.write("config.json", &config);
        let run = place.run("run");
        place.train(&["run", text(&config), "--run-dir", text(&run), "-q"]).succeeds();
        Self { place, data, run }
    }
}

#[test]
fn no_verb_writes_over_what_it_reads_or_what_lies_behind_it() {
    let Project { place, data, run } = Project::new(0.0);
    let link = place.path("link.csv");
    let hard = place.path("hard.csv");
    let around = place.path("run/../points.csv");
    std::fs::hard_link(&data, &hard).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&data, &link).unwrap();
    #[cfg(not(unix))]
    std::fs::hard_link(&data, &link).unwrap();
    let other = place.write("other.csv", "a,b\n1,2\n3,4\n");
    let config = place.path("config.json");
    let [samples, checkpoint] = ["samples.npy", "checkpoint-00000000/x.csv"].map(|name| run.join(name));
    let before = [&data, &samples].map(|file| std::fs::read(file).unwrap());
    std::fs::create_dir_all(checkpoint.parent().unwrap()).unwrap();
    for out in [&data, &link, &hard, &around, &samples, &checkpoint] {
        let (run, out, other, config) = (text(&run), text(out), text(&other), text(&config));
        for arguments in [
            &["sample", run, "--count", "50", "--out", out][..],
            &["density", run, "--in", other, "--out", out],
            &["localize", run, "--at-data", other, "--out", out],
        ] {
            place.train(arguments).fails(2).says("give another file to write to");
        }
        if !out.starts_with(run) || out.contains("..") {
            place.train(&["localize", config, "--at-data", other, "--out", out]).fails(2).says("would be replaced");
        }
    }
    assert!(before == [&data, &samples].map(|file| std::fs::read(file).unwrap()));
    assert!(std::fs::symlink_metadata(&link).unwrap().len() < 1000 && hard.exists());
    // A file of the user's own may lie in the run, and be replaced.
    let own = run.join("more.npy");
    for count in ["3", "5"] {
        place.train(&["sample", text(&run), "--count", count, "--out", text(&own), "-q"]).succeeds();
    }
    // What the run is made of is not moved away with an older run.
    let inside = run.join("points.csv");
    std::fs::copy(&data, &inside).unwrap();
    let moved = format!("target.dataset.path={inside:?}");
    let fresh = ["run", text(&config), "--run-dir", text(&run), "--fresh", "--set", &moved, "-q"];
    place.train(&fresh).fails(2).says("would move");
    assert!(inside.exists());
    place.train(&["resume", text(&run), "-q"]).succeeds();
}

#[test]
fn samples_of_a_run_are_those_that_sample_writes_with_all_digits() {
    // Seconds since 1970: a float32 has steps of 128 there.
    let Project { place, data, run } = Project::new(1.7e9);
    let out = place.path("samples.npy");
    place.train(&["sample", text(&run), "--count", "50", "--out", text(&out), "-q"]).succeeds();
    let kept = run.join("samples.npy");
    assert!(std::fs::read(out).unwrap() == std::fs::read(&kept).unwrap());
    let metrics = ["metrics", text(&kept), text(&data), "--only", "w2", "--json"];
    let answer = place.train(&metrics).succeeds().json();
    let w2 = answer["w2"].as_f64().unwrap();
    assert!(w2 < 10.0, "{w2}");
}
