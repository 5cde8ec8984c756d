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

#[test]
fn columns_are_matched_by_name_and_a_first_row_of_numbers_is_asked_for() {
    let place = Workplace::new();
    let rows = |swap: bool| -> String {
        let row = |k: i32| match (f64::from(k), f64::from(k * k % 11)) {
            (a, b) if swap => format!("{b},{a}\n"),
            (a, b) => format!("{a},{b}\n"),
        };
        (0..40).map(row).collect()
    };
    let a = place.write("a.csv", &format!("x,y\n{}", rows(false)));
    let b = place.write("b.csv", &format!("y,x\n{}", rows(true)));
    let other = place.write("other.csv", &format!("x,z\n{}", rows(false)));
    let numbered = place.write("numbered.csv", &format!("0,1\n{}", rows(false)));
    let commented = place.write("commented.csv", &format!("# x,y\n{}", rows(false)));
    let w2 = |more: &[&str]| {
        let answer = place.train(&[&["metrics", text(&a)], more, &["--only", "w2", "--json", "-q"]].concat());
        answer.succeeds().json()["w2"].as_f64().unwrap()
    };
    assert_eq!(w2(&[text(&b)]), 0.0);
    assert_eq!(w2(&[text(&commented)]), 0.0);
    for (header, count) in [("yes", 40), ("no", 41)] {
        let asked =
            ["metrics", text(&numbered), text(&numbered), "--header", header, "--only", "mean_error", "--json", "-q"];
        assert_eq!(place.train(&asked).succeeds().json()["count_a"], count);
    }
    let refused = place.train(&["metrics", text(&a), text(&other)]).fails(2);
    refused.says("the columns of").says("are x, y, those of").says("are x, z");
    place.train(&["chain", text(&a), "--start", text(&other), "-q"]).fails(2).says("are x, y, those of");
    let reversed = ["chain", text(&a), "--start", text(&b), "--no-bound", "--json", "-q"];
    let start = place.train(&reversed).succeeds().json();
    let straight = ["chain", text(&a), "--start", text(&a), "--no-bound", "--json", "-q"];
    assert_eq!(start["forward"], place.train(&straight).succeeds().json()["forward"]);
    for verb in [&["metrics", text(&a), text(&numbered)][..], &["init", text(&numbered)]] {
        place.train(verb).fails(2).says("`--header yes` or `--header no`");
    }
    let config = place.train(&["init", text(&numbered), "--header", "yes"]).succeeds().json();
    assert_eq!(config["target"]["dataset"]["columns"], serde_json::json!(["0", "1"]));
    assert_eq!(config["target"]["dataset"]["header"], true);
}

#[test]
fn a_config_for_a_file_says_what_it_leaves_out() {
    let place = Workplace::new();
    let rows: String = (0..40).map(|k| format!("{k},{k}.5,{}.25,a{}\n", k * k, k % 2)).collect();
    let frame = place.write("frame.csv", &format!(",x,y,kind\n{rows}"));
    let said = place.train(&["init", text(&frame)]).succeeds();
    assert_eq!(said.json()["target"]["dataset"]["columns"], serde_json::json!(["x", "y"]));
    said.says("column 1 without a name is left out: it is the index of a data frame")
        .says("column \"kind\" is taken for the labels: it holds text, such as \"a0\" in row 1 (line 2)");
}

#[test]
fn a_project_that_moves_is_found_and_data_that_moved_alone_can_be_pointed_to() {
    let place = Workplace::new();
    let folder = |name: &str| {
        let path = place.path(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (old, elsewhere) = (folder("old"), folder("elsewhere"));
    let rows: String = (0..60).map(|k| format!("{k}.5,{}\n", f64::from(k).sin())).collect();
    std::fs::write(old.join("points.csv"), format!("a,b\n{rows}")).unwrap();
    let config = r#"{"name": "project", "target": {"dataset": {"path": "points.csv"}},
        "method": {"gaussian_mixture": {"components": 2, "iterations": 20}},
        "evaluation": {"count": 50}, "output": {"directory": ".", "figures": false, "checkpoint_every": 10}}"#;
    std::fs::write(old.join("config.json"), config).unwrap();
    let within = |folder: &std::path::Path, arguments: &[&str]| {
        let output = place.command(&[arguments, &["-q", "--threads", "1"]].concat()).current_dir(folder).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let [inside, outside] = [old.join("run"), elsewhere.join("run")];
    for run in [&inside, &outside] {
        assert_eq!(within(&old, &["run", "config.json", "--run-dir", text(run)]).0, Some(0));
    }
    let evaluated = within(&old, &["evaluate", "run", "--only", "w2", "--json"]);
    assert_eq!(evaluated.0, Some(0));

    // The whole project moves: the run in it finds its data, the one elsewhere must be told.
    let new = place.path("new");
    std::fs::rename(&old, &new).unwrap();
    let again = within(&new, &["evaluate", "run", "--only", "w2", "--json"]);
    assert_eq!(again, evaluated);
    for verb in [&["resume", "run"][..], &["run", "config.json", "--run-dir", "run", "--resume"]] {
        let (code, _, said) = within(&new, verb);
        assert_eq!(code, Some(0), "{said}");
    }
    let (run, data) = (text(&outside), new.join("points.csv"));
    for verb in [&["evaluate", run, "--only", "w2"][..], &["resume", run]] {
        let (code, _, said) = within(&new, verb);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("--data PATH"), "{said}");
        let (code, _, said) = within(&new, &[verb, &["--data", "points.csv"]].concat());
        assert_eq!(code, Some(0), "{said}");
    }
    // A resume keeps the new place; so does a run of the moved config.
    let (code, _, said) = within(&new, &["evaluate", run, "--only", "w2"]);
    assert_eq!(code, Some(0), "{said}");
    let aside = place.path("aside.csv");
    std::fs::rename(&data, &aside).unwrap();
    assert_eq!(within(&new, &["evaluate", run, "--only", "w2"]).0, Some(2));
    let going_on = ["run", "config.json", "--run-dir", run, "--resume"];
    let (code, _, said) = within(&new, &[&going_on[..], &["--data", text(&aside)]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(within(&new, &["evaluate", run, "--only", "w2"]).0, Some(0));

    // Other data are refused wherever they lie, and a file that changed gives way to the one that did not.
    std::fs::write(&data, "a,b\n1.5,2\n3,4\n").unwrap();
    for verb in [&["evaluate", run][..], &["localize", run], &["resume", run]] {
        let (code, _, said) = within(&new, &[verb, &["--data", "points.csv"]].concat());
        assert_eq!(code, Some(2), "{verb:?}");
        assert!(said.contains("the data of the run has changed"), "{verb:?}: {said}");
    }
    // The run alone still samples.
    let alone = place.path("alone");
    std::fs::rename(new.join("run"), &alone).unwrap();
    std::fs::remove_file(&aside).unwrap();
    let (code, _, said) = within(&elsewhere, &["sample", text(&alone), "--count", "9", "--out", "s.csv"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_run_reads_what_it_writes_and_its_labels_wherever_it_is_asked_from() {
    let place = Workplace::new();
    let rows: String = (0..60).map(|k| format!("{k}.5,{}\n", f64::from(k).sin())).collect();
    let data = place.write("years.csv", &format!("2020,2021\n{rows}"));
    let mixture = r#""method": {"gaussian_mixture": {"components": 1, "iterations": 5}},
        "evaluation": {"count": 50}, "output": {"figures": false, "checkpoint_every": 10}"#;
    let target = format!(r#"{{"dataset": {{"path": {data:?}, "header": true}}}}"#);
    let config = place.write("years.json", &format!(r#"{{"name": "years", "target": {target}, {mixture}}}"#));
    let run = place.run("run");
    place.train(&["run", text(&config), "--run-dir", text(&run), "-q"]).succeeds();
    let samples = place.path("samples.csv");
    place.train(&["sample", text(&run), "--count", "20", "--out", text(&samples), "-q"]).succeeds();
    let count = |arguments: &[&str], key: &str| place.train(arguments).succeeds().json()[key].as_u64();
    let (points, out) = (text(&samples), place.path("out.csv"));
    assert_eq!(count(&["metrics", points, points, "--only", "mean_error", "--json", "-q"], "count_a"), Some(20));
    for (file, rows) in [(&samples, 20), (&data, 60)] {
        let density =
            ["density", text(&run), "--in", text(file), "--out", text(&out), "--json", "-q", "--header", "yes"];
        assert_eq!(count(&density, "count"), Some(rows), "{file:?}");
    }

    // Labels in a file of their own, named from the working directory.
    let folder = place.path("project");
    std::fs::create_dir_all(folder.join("labels")).unwrap();
    let [points, labels, out] = ["points.npy", "labels/kinds.npy", "labels/out.npy"].map(|name| folder.join(name));
    for (path, columns) in [(&points, 2), (&labels, 1)] {
        let rows = ndarray::Array2::from_shape_fn((60, columns), |(i, j)| (i * (j + 1) % 7) as f64);
        brenier_measure::data::write::write_points(path, &rows, None).unwrap();
    }
    let target = r#"{"dataset": {"path": "points.npy", "label": "../project/labels/kinds.npy"}}"#;
    std::fs::write(folder.join("c.json"), format!(r#"{{"name": "l", "target": {target}, {mixture}}}"#)).unwrap();
    let run = folder.join("run");
    let trained = place.command(&["run", "c.json", "--run-dir", "run", "-q"]).current_dir(&folder).status().unwrap();
    assert!(trained.success());
    place.train(&["evaluate", text(&run), "--only", "w2", "-q"]).succeeds();
    let over = ["sample", text(&run), "--count", "3", "--out", text(&labels)];
    place.train(&over).fails(2).says("would be replaced");
    place.train(&["sample", text(&run), "--count", "3", "--out", text(&out), "-q"]).succeeds();
    // They move with the data.
    let moved = place.path("moved");
    std::fs::rename(&folder, &moved).unwrap();
    place.train(&["evaluate", text(&moved.join("run")), "--only", "w2", "-q"]).succeeds();
}

#[test]
fn a_copy_of_a_project_is_a_project_of_its_own() {
    let Project { place, run, data } = Project::new(0.0);
    let copy = place.path("copy");
    std::fs::create_dir(&copy).unwrap();
    let copied = std::process::Command::new("cp").arg("-r").args([&run, &data]).arg(&copy).status().unwrap();
    assert!(copied.success());
    let run = copy.join("run");
    place.train(&["resume", text(&run), "-q"]).succeeds();
    std::fs::write(&data, "a,b\n1.5,2\n2,3\n").unwrap();
    place.train(&["evaluate", text(&run), "--only", "w2", "-q"]).succeeds();
    std::fs::remove_file(&data).unwrap();
    place.train(&["evaluate", text(&run), "--only", "w2", "-q"]).succeeds();
}

#[test]
fn a_column_of_weights_counts_in_mixtures_maps_and_metrics_and_nowhere_in_silence() {
    let place = Workplace::new();
    // Two clusters of 300 points each at ∓2, of which the left one weighs three times as much: the mean is -1.
    let rows: String = (0..600)
        .map(|k| {
            let (side, jitter) = (f64::from(k % 2), f64::from(k));
            let [a, b] = [(jitter * 1.7).sin(), (jitter * 0.9).cos()];
            format!("{},{},{}\n", 4.0 * side - 2.0 + 0.5 * a, 0.5 * b, 3.0 - 2.0 * side)
        })
        .collect();
    let data = place.write("points.csv", &format!("x,y,w\n{rows}"));
    let target = format!(r#"{{"dataset": {{"path": {data:?}, "weight": "w"}}}}"#);
    let of = |name: &str, method: &str| {
        let output = r#""output": {"figures": false, "checkpoint_every": 10}"#;
        place.write(name, &format!(r#"{{"name": "w", "target": {target}, "method": {method}, {output}}}"#))
    };
    let mixture = of("mixture.json", r#"{"gaussian_mixture": {"components": 2}}"#);
    let map = of("map.json", r#"{"monge_ampere_logistic": {"stages": 10}}"#);
    for config in [&mixture, &map] {
        let (run, out) = (config.with_extension("run"), config.with_extension("csv"));
        place.train(&["run", text(config), "--run-dir", text(&run), "-q"]).succeeds();
        let report: serde_json::Value =
            serde_json::from_slice(&std::fs::read(run.join("evaluation.json")).unwrap()).unwrap();
        let w2 = &report["metrics"]["w2"];
        assert!(w2["note"].as_str().unwrap().contains("drawn by their weights"), "{w2}");
        assert!(w2["z_score"].as_f64() < Some(5.0), "{w2}");
        place.train(&["sample", text(&run), "--count", "4000", "--out", text(&out), "-q"]).succeeds();
        let samples = brenier_measure::data::read_points(&out, None, None).unwrap().points;
        // sd 1.8 over 4000 samples: five standard errors are .14.
        let mean = samples.column(0).mean().unwrap();
        assert!((mean + 1.0).abs() < 0.14, "{}: {mean}", config.display());
        let metrics = ["metrics", text(&out), text(config), "--only", "mean_error", "--json"];
        let said = place.train(&metrics).succeeds();
        // 600 rows of these weights are worth 480.
        assert_eq!(said.json()["count_b"], 480);
        assert!(said.json()["mean_error"].as_f64() < Some(0.45), "{}", said.stdout);
        said.says("drawn by their weights");
        place.train(&["localize", text(config), "-q"]).fails(2).says("weighs its points");
    }
    let init = place.train(&["init", text(&data)]).succeeds().stdout;
    let network = place.write("network.json", &init);
    let weighed =
        ["check", text(&network), "--set", "target.dataset.weight=w", "--set", "target.dataset.columns=[\"x\",\"y\"]"];
    place.train(&weighed).fails(2).says("target.dataset.weight").says("counts every point alike");
}
