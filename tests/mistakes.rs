//! Bad input: one clear message with a cure, exit code 2, nothing overwritten.

use crate::train::{Outcome, Workplace, text};

/// The two moons of configs/smoke with one text put in place of another, through `train run`.
fn run_with(place: &Workplace, old: &str, new: &str) -> Outcome {
    let config = std::fs::read_to_string(crate::train::smoke("score_matching_two_moons.json")).unwrap();
    assert!(config.contains(old), "no {old:?} in the config");
    let config = place.write("config.json", &config.replacen(old, new, 1));
    let run = place.run("run");
    let outcome = place.train(&["run", text(&config), "--run-dir", text(&run)]);
    assert!(!run.exists(), "a refused run left a directory");
    Outcome { stderr: outcome.stderr.replace(text(&config), "config.json"), ..outcome }
}

/// A config on a data file, through `train check`.
fn check_data(place: &Workplace, path: &str) -> Outcome {
    let config = std::fs::read_to_string(crate::train::smoke("score_matching_two_moons.json")).unwrap();
    let config = config.replacen("{\"two_moons\": {}}", &format!("{{\"dataset\": {{\"path\": {path:?}}}}}"), 1);
    let config = place.write("config.json", &config);
    let outcome = place.train(&["check", text(&config)]).fails(2);
    Outcome { stderr: outcome.stderr.replace(path, "FILE"), ..outcome }
}

#[cfg(unix)]
#[test]
fn a_signal_is_heard_in_one_long_log_density_and_before_a_config_comes() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q", "--set", "output.figures=false"]).succeeds();
    let (run, points, out) = (place.run("run"), place.write("one.csv", "0.1,0.2\n"), place.path("out.npy"));
    let long = ["density", text(&run), "--in", text(&points), "--steps", "1000000", "--out", text(&out)];
    let pipe = place.path("pipe.json");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for arguments in [&long[..], &["check", text(&pipe)], &["localize", text(&pipe)]] {
        let mut child = place.command(arguments).stderr(std::process::Stdio::null()).spawn().unwrap();
        // Long enough to have come to the work; it would take hours.
        std::thread::sleep(std::time::Duration::from_secs(2));
        assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{arguments:?}");
    }
    assert!(!out.exists());
}

#[cfg(unix)]
#[test]
fn a_config_that_never_ends_is_no_config() {
    Workplace::new().train(&["check", "/dev/zero"]).fails(2).says("is no text");
}

#[test]
fn a_config_in_utf_16_is_named_so() {
    let place = Workplace::new();
    let text_16 = "\u{feff}{\"name\": \"a\"}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let config = place.path("config.json");
    std::fs::write(&config, text_16).unwrap();
    place.train(&["check", text(&config)]).fails(2).says("UTF-16").says("save it as UTF-8");
}

#[test]
fn an_existing_run_directory_is_not_touched() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let before = crate::train::results(&place.run("run"));
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).fails(2).says("--resume");
    assert!(before == crate::train::results(&place.run("run")));
}

#[test]
fn a_misspelt_target_names_the_nearest() {
    let place = Workplace::new();
    run_with(&place, "two_moons\": {}", "two_mons\": {}").fails(2).says("did you mean `two_moons`?");
}

#[test]
fn counts_of_zero_are_refused() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let (run, out) = (place.run("run"), place.path("out.npy"));
    place.train(&["sample", text(&run), "--count", "0", "--out", text(&out)]).fails(2).says("0");
    place.train(&["sample", text(&run), "--count", "5", "--steps", "0", "--out", text(&out)]).fails(2).says("0");
    assert!(!out.exists());
}

#[test]
fn an_unknown_extension_lists_the_known_ones() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let (run, out) = (place.run("run"), place.path("out.parquet"));
    place.train(&["sample", text(&run), "--count", "5", "--out", text(&out)]).fails(2).says(".npy").says(".csv");
    assert!(!out.exists());
}

#[test]
fn an_unknown_sampler_is_named() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let (run, out) = (place.run("run"), place.path("out.npy"));
    place
        .train(&["sample", text(&run), "--count", "5", "--sampler", "huen", "--out", text(&out)])
        .fails(2)
        .says("--sampler huen");
}

#[test]
fn bad_data_files_are_named_with_the_place_of_the_fault() {
    let place = Workplace::new();
    for (name, content, fault) in [
        ("nan.csv", "x,y\n1,2\nnan,4\n", "\"x\""),
        ("ragged.csv", "x,y\n1,2\n3\n4,5\n", "line 3"),
        ("empty.csv", "", "empty"),
        ("header.csv", "x,y\n", "no"),
        ("text.csv", "x,y\n1,2\n3,hello\n", "hello"),
        ("image.bmp", "BM", ".npy"),
    ] {
        let path = place.write(name, content);
        let outcome = check_data(&place, text(&path)).says("FILE").says(fault);
        assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
    }
    check_data(&place, text(&place.path("absent.csv"))).says("FILE");
}

#[test]
fn a_header_that_promises_a_trillion_rows_allocates_nothing() {
    let place = Workplace::new();
    let path = place.path("huge.npy");
    let dictionary = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 8), }";
    let padded = format!("{dictionary:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((padded.len() as u16).to_le_bytes());
    bytes.extend(padded.as_bytes());
    bytes.extend([0; 64]);
    std::fs::write(&path, bytes).unwrap();
    check_data(&place, text(&path)).says("1000000000000");
    let path = place.path("huge.idx");
    std::fs::write(&path, [&[0u8, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255][..], &[0; 16]].concat()).unwrap();
    check_data(&place, text(&path)).says("FILE");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let (run, out) = (place.run("run"), place.path("no/such/folder/out.npy"));
    place.train(&["sample", text(&run), "--count", "5", "--out", text(&out)]).fails(2).says("no folder");
}

#[test]
fn weights_of_another_network_are_refused_before_anything_is_written() {
    let place = Workplace::new();
    place.smoke("score_matching_digits.json", "digits", &["-q"]).succeeds();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let before = crate::train::results(&place.run("run"));
    let start = format!("training.start_from={}", text(&place.run("digits")));
    let arguments = ["-q", "--fresh", "--set", &start];
    place.smoke("score_matching_two_moons.json", "run", &arguments).fails(2).says("training.start_from");
    assert!(before == crate::train::results(&place.run("run")));
    assert!(!place.run("run.old-1").exists());
}

#[test]
fn a_resume_cannot_undo_steps() {
    let place = Workplace::new();
    let constant = ["-q", "--set", "training.learning_rate.constant.rate=1e-3"];
    place.smoke("score_matching_two_moons.json", "run", &constant).succeeds();
    let fewer = [&constant[..], &["--resume", "--set", "training.steps=20"]].concat();
    place.smoke("score_matching_two_moons.json", "run", &fewer).fails(2).says("at step 60");
    let more = [&constant[..], &["--resume", "--set", "training.steps=80"]].concat();
    place.smoke("score_matching_two_moons.json", "run", &more).succeeds();
    assert!(place.run("run").join("checkpoint-00000080").exists());
}

#[test]
fn an_evaluation_under_other_settings_is_answered_and_not_kept() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let (run, kept) = (place.run("run"), place.run("run").join("evaluation.json"));
    let before = std::fs::read(&kept).unwrap();
    let other = place.train(&["evaluate", text(&run), "--count", "50", "--json"]).succeeds();
    assert_eq!((other.json()["count"].as_u64(), other.stdout.lines().count()), (Some(50), 1));
    assert!(before == std::fs::read(&kept).unwrap());
    place.train(&["evaluate", text(&run)]).succeeds();
    assert!(before == std::fs::read(&kept).unwrap(), "the same evaluation has other bits");
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Workplace::new();
    for verb in [&["schema"][..], &["devices"], &["completions", "zsh"]] {
        let mut child = place.command(verb).stdout(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{verb:?}");
    }
}

#[test]
fn a_learning_rate_that_diverges_exits_with_3_and_keeps_the_last_good_checkpoint() {
    let place = Workplace::new();
    let wild = ["-q", "--set", "training.learning_rate.constant.rate=1e30", "--set", "training.clip_norm=null"];
    place.smoke("score_matching_two_moons.json", "run", &wild).fails(3).says("training.learning_rate");
    let (run, out) = (place.run("run"), place.path("out.npy"));
    place.train(&["sample", text(&run), "--count", "4", "--out", text(&out), "-q"]).succeeds();
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_unicode_text_is_no_panic() {
    use std::os::unix::ffi::OsStrExt;
    let strange = std::ffi::OsStr::from_bytes(b"\xe9t\xe9/config.json");
    let place = Workplace::new();
    for verb in [&[][..], &["check"]] {
        let output = place.command(verb).arg(strange).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains("error:"), "{said}");
    }
}

#[test]
fn noise_levels_that_cannot_be_sampled_name_those_that_can() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q", "--set", "output.figures=false"]).succeeds();
    let (run, out) = (place.run("run"), place.path("out.npy"));
    for flag in [["--sigma-min", "1e-300"], ["--sigma-max", "1e300"], ["--sigma-min", "100"], ["--sigma-max", "0.001"]]
    {
        let sample = ["sample", text(&run), "--count", "5", "--out", text(&out), flag[0], flag[1]];
        place.train(&sample).fails(2).says("between 1e-6 and 1e6").says("those of the run are 0.002 and 80");
    }
    assert!(!out.exists());
}

#[test]
fn a_validation_part_of_one_row_is_used_and_a_test_part_of_one_row_is_told_of() {
    let place = Workplace::new();
    let rows: String = (0..20).map(|k| format!("{k}.5,{}\n", f64::from(k).sin())).collect();
    let data = place.write("points.csv", &format!("a,b\n{rows}"));
    let config = format!(
        r#"{{"name": "few", "target": {{"dataset": {{"path": {data:?}, "split": {{"train": 18, "validation": 1, "test": 1}}}}}},
            "method": {{"gaussian_mixture": {{"components": 1, "iterations": 5}}}}, "output": {{"figures": false}}}}"#
    );
    let config = place.write("config.json", &config);
    let said = place.train(&["check", text(&config)]).succeeds();
    assert!(!said.stderr.contains("no validation part"), "{}", said.stderr);
    said.says("the test part is one row");
}
