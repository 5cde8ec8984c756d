//! Runs that are killed at every file operation, damaged at every byte, and starved of disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use tempfile::TempDir;

use super::{
    atomic::fuse::{self, Failure},
    *,
};

const CONFIG_JSON: &str = r#"{"name": "test", "seed": 0}"#;

/// The state of the run at a step; the second file makes sums and lengths differ.
fn weights(step: u64) -> Vec<u8> {
    format!("weights at {step}").into_bytes()
}

/// A held-out loss that is lowest at step 2.
fn loss(step: u64) -> f64 {
    (step as f64 - 2.2).powi(2)
}

/// A new folder, in memory where the system has such a place: the tests sync thousands of times.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The name under which the test program runs one of these tests alone.
fn own_name(test: &str) -> String {
    let (_, module) = module_path!().split_once("::").unwrap();
    format!("{module}::{test}")
}

/// The files of a directory and their bytes.
fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// What equal runs have in common: everything but the lock.
fn result(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let relative = |(file, bytes): (PathBuf, Vec<u8>)| (file.strip_prefix(path).unwrap().to_path_buf(), bytes);
    contents(path).into_iter().map(relative).filter(|(file, _)| file != Path::new("lock")).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            let _ = fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Trains from wherever the directory stands to `last`, as a loop of one step a checkpoint would.
fn train(path: &Path, last: u64) -> Result<(), RunDirectoryError> {
    let mut run = RunDirectory::open_or_create(path, CONFIG_JSON)?;
    let start = match run.resume()? {
        Some(checkpoint) => {
            assert_eq!(checkpoint.files["weights"], weights(checkpoint.step));
            checkpoint.step + 1
        }
        None => 0,
    };
    for step in start..=last {
        run.append_metrics(&json!({"step": step, "loss": loss(step)}))?;
        write(&mut run, step)?;
    }
    Ok(())
}

fn write(run: &mut LockedRunDirectory, step: u64) -> Result<(), RunDirectoryError> {
    run.write_checkpoint(step, &[("weights", &weights(step)), ("state", b"s")], Some(loss(step)), 2)
}

/// A run that stands at `last`.
fn trained(last: u64) -> (TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join("run");
    train(&path, last).unwrap();
    (folder, path)
}

#[test]
fn the_last_checkpoints_and_the_best_are_kept() {
    let (_folder, path) = trained(6);
    let run = RunDirectory::open(&path).unwrap();
    assert_eq!(run.steps().unwrap(), [2, 5, 6]);
    for (selector, step) in
        [(CheckpointSelector::Latest, 6), (CheckpointSelector::Best, 2), (CheckpointSelector::Step(5), 5)]
    {
        let checkpoint = run.load(selector).unwrap();
        assert_eq!((checkpoint.step, &checkpoint.warnings), (step, &vec![]));
        assert_eq!(checkpoint.value, Some(loss(step)));
        assert_eq!(checkpoint.files["weights"], weights(step));
    }
    assert_eq!(fs::read_to_string(path.join("latest")).unwrap().split(' ').next(), Some("6"));
    assert_eq!(run.metrics().unwrap().len(), 7);
    assert_eq!(run.config().unwrap(), CONFIG_JSON);
}

#[test]
fn a_writer_killed_at_any_operation_resumes_to_the_run_never_stopped() {
    let (folder, whole) = trained(4);
    let expected = result(&whole);
    // From nothing, from a run with little behind it, from one where an old checkpoint retires, and
    // from one whose newest checkpoint is damaged.
    for (trial, (start, damaged)) in
        [(None, false), (Some(0), false), (Some(3), false), (Some(3), true)].iter().enumerate()
    {
        let origin = folder.path().join(format!("origin-{trial}"));
        if let Some(step) = *start {
            train(&origin, step).unwrap();
        }
        if *damaged {
            fs::write(origin.join("checkpoint-00000003/weights"), "").unwrap();
        }
        let sound = start.map(|step| step - u64::from(*damaged));
        let stop = start.map_or(0, |step| step + 1);
        for operations in 0.. {
            let path = folder.path().join(format!("{trial}-{operations}"));
            if origin.exists() {
                copy(&origin, &path);
            }
            fuse::light(operations, Failure::Kill);
            let _ = train(&path, stop);
            let killed = fuse::put_out();
            if let Some(sound) = sound {
                // A reader needs no repair, and never loses what was there.
                let seen = RunDirectory::open(&path).unwrap().load(CheckpointSelector::Latest).unwrap();
                assert!((sound..=stop).contains(&seen.step), "{operations}: {seen:?}");
                assert_eq!(seen.files["weights"], weights(seen.step));
            }
            train(&path, 4).unwrap_or_else(|error| panic!("killed after {operations} operations: {error}"));
            let aside = path.join("checkpoint-00000003.aside");
            if aside.exists() {
                assert!(damaged);
                fs::remove_dir_all(aside).unwrap();
            }
            assert!(result(&path) == expected, "trial {trial}: killed after {operations} operations");
            if !killed {
                assert!(operations > 15, "only {operations} operations were counted");
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_at_any_operation_loses_nothing_and_the_write_can_be_repeated() {
    let (folder, origin) = trained(3);
    let expected = {
        let path = folder.path().join("expected");
        copy(&origin, &path);
        train(&path, 4).unwrap();
        result(&path)
    };
    for operations in 0.. {
        let path = folder.path().join(operations.to_string());
        copy(&origin, &path);
        let mut run = RunDirectory::open_locked(&path).unwrap();
        run.resume().unwrap();
        fuse::light(operations, Failure::Once(std::io::ErrorKind::StorageFull));
        let line = json!({"step": 4, "loss": loss(4)});
        let appended = run.append_metrics(&line);
        let written = write(&mut run, 4);
        let burnt = fuse::put_out();
        for error in [appended.as_ref().err(), written.as_ref().err()].into_iter().flatten() {
            assert!(matches!(error, RunDirectoryError::Full { .. }), "{error}");
            assert!(error.to_string().contains("free some space"), "{error}");
            assert!(!error.is_input());
        }
        let seen = RunDirectory::open(&path).unwrap().load(CheckpointSelector::Latest).unwrap();
        assert_eq!(seen.files["weights"], weights(seen.step));
        // The same process tries again.
        if appended.is_err() {
            run.append_metrics(&line).unwrap();
        }
        write(&mut run, 4).unwrap();
        drop(run);
        drop(RunDirectory::open_locked(&path).unwrap());
        assert!(result(&path) == expected, "full at operation {operations}");
        if !burnt {
            break;
        }
    }
}

#[test]
fn a_checkpoint_of_the_same_step_is_kept_or_replaced_but_never_lost() {
    let (folder, origin) = trained(3);
    let again = |path: &Path, weights: &[u8], value| {
        let mut run = RunDirectory::open_locked(path)?;
        run.resume()?;
        run.write_checkpoint(3, &[("weights", weights), ("state", b"s")], value, 1)
    };
    let before = result(&origin);
    again(&origin, &weights(3), None).unwrap();
    let kept: Vec<_> = before.into_iter().filter(|(file, _)| !file.starts_with("checkpoint-00000001")).collect();
    assert!(result(&origin) == kept, "the same files and no new judgement leave the checkpoint as it is");

    for operations in 0.. {
        let path = folder.path().join(operations.to_string());
        copy(&origin, &path);
        fuse::light(operations, Failure::Kill);
        let _ = again(&path, b"other weights", Some(0.001));
        let killed = fuse::put_out();
        let mut run = RunDirectory::open_locked(&path).unwrap();
        let latest = run.resume().unwrap().unwrap();
        assert_eq!(latest.step, 3);
        let best = run.load(CheckpointSelector::Best).unwrap();
        assert_eq!(best.warnings, Vec::<String>::new());
        match latest.files["weights"].as_slice() {
            b"weights at 3" => assert_eq!(best.step, 2),
            b"other weights" => assert_eq!((best.step, best.value), (3, Some(0.001))),
            other => panic!("{other:?}"),
        }
        if !killed {
            assert_eq!(best.step, 3);
            break;
        }
    }
}

#[test]
fn every_changed_or_missing_byte_of_a_checkpoint_is_detected() {
    let (_folder, path) = trained(1);
    let run = RunDirectory::open(&path).unwrap();
    let checkpoint = path.join("checkpoint-00000001");
    let detect = |what: &str| {
        let error = run.load(CheckpointSelector::Step(1)).expect_err(what);
        assert!(matches!(&error, RunDirectoryError::Step { available, .. } if available == &[0]), "{what}: {error}");
        error.to_string()
    };
    let fall_back = |what: &str| {
        for selector in [CheckpointSelector::Latest, CheckpointSelector::Best] {
            let loaded = run.load(selector).unwrap();
            assert_eq!(loaded.step, 0, "{what}");
            assert!(loaded.warnings[0].ends_with("checkpoint-00000000 is used"), "{what}: {:?}", loaded.warnings);
        }
    };
    for (file, bytes) in contents(&checkpoint) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                fs::write(&file, &flipped).unwrap();
                assert!(detect(&format!("bit {bit} of byte {place} of {name}")).contains(&name));
            }
            fs::write(&file, &bytes[..place]).unwrap();
            detect(&format!("{name} cut to {place} bytes"));
        }
        fall_back(&name);
        fs::write(&file, [&bytes[..], b"\n"].concat()).unwrap();
        detect(&format!("{name} with a byte more"));
        fs::remove_file(&file).unwrap();
        assert!(detect(&name).contains(&format!("`{name}` is missing")));
        fall_back(&name);
        fs::create_dir(&file).unwrap();
        detect(&format!("{name} a directory"));
        fs::remove_dir(&file).unwrap();
        fs::write(&file, &bytes).unwrap();
    }
    assert_eq!(run.load(CheckpointSelector::Step(1)).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn every_changed_byte_of_a_pointer_is_detected_and_passed_over() {
    let (_folder, path) = trained(3);
    let run = RunDirectory::open(&path).unwrap();
    for (file, selector, step) in [("latest", CheckpointSelector::Latest, 3), ("best", CheckpointSelector::Best, 2)] {
        let pointer = path.join(file);
        let bytes = fs::read(&pointer).unwrap();
        let judge = |what: &str| {
            let loaded = run.load(selector).unwrap();
            assert_eq!(loaded.step, step, "{what}");
            assert_eq!(loaded.warnings.len(), 1, "{what}: {:?}", loaded.warnings);
        };
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                fs::write(&pointer, &flipped).unwrap();
                judge(&format!("{file}: bit {bit} of byte {place}"));
            }
            fs::write(&pointer, &bytes[..place]).unwrap();
            judge(&format!("{file} cut to {place}"));
        }
        fs::remove_file(&pointer).unwrap();
        judge(&format!("{file} missing"));
        fs::write(&pointer, &bytes).unwrap();
    }
}

#[test]
fn every_changed_byte_of_the_run_record_or_the_config_is_an_error() {
    let (_folder, path) = trained(0);
    for (file, expected) in [("run.json", "the run record"), ("config.json", "is not as this run stored it")] {
        let file = path.join(file);
        let bytes = fs::read(&file).unwrap();
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 4;
            for damaged in [&flipped[..], &bytes[..place]] {
                fs::write(&file, damaged).unwrap();
                let error = RunDirectory::open(&path).and_then(|run| run.config()).unwrap_err();
                assert!(error.to_string().contains(expected) && error.is_input(), "{error}");
            }
        }
        fs::write(&file, &bytes).unwrap();
    }
}

#[test]
fn damage_falls_back_in_order_and_the_run_goes_on_as_if_never_stopped() {
    let (folder, path) = trained(4);
    let expected = {
        let whole = folder.path().join("whole");
        train(&whole, 6).unwrap();
        result(&whole)
    };
    let flip = |step: u64| fs::write(path.join(checkpoint::name(step)).join("weights"), "other weights").unwrap();
    flip(4);
    let mut run = RunDirectory::open_locked(&path).unwrap();
    let resumed = run.resume().unwrap().unwrap();
    assert_eq!(resumed.step, 3);
    assert_eq!(
        resumed.warnings,
        ["checkpoint-00000004 is unusable: `weights` has 13 bytes, and 12 were written: checkpoint-00000003 is used"]
    );
    assert!(path.join("checkpoint-00000004.aside").is_dir());
    assert_eq!(run.metrics().unwrap().len(), 4, "the log is cut at the step that the run goes on from");
    drop(run);
    train(&path, 6).unwrap();
    fs::remove_dir_all(path.join("checkpoint-00000004.aside")).unwrap();
    assert!(result(&path) == expected);

    // Nothing sound: never a fresh start.
    for step in [2, 5, 6] {
        flip(step);
    }
    let before = contents(&path);
    let mut run = RunDirectory::open_locked(&path).unwrap();
    let error = run.resume().unwrap_err();
    assert!(matches!(&error, RunDirectoryError::NoCheckpoint { reasons, .. } if reasons.len() == 3), "{error}");
    assert!(error.to_string().contains("`--fresh`"), "{error}");
    let error = write(&mut run, 7).unwrap_err();
    assert!(error.to_string().contains("Resume it first"), "{error}");
    drop(run);
    let lock = path.join("lock");
    let same =
        |files: &[(PathBuf, Vec<u8>)]| files.iter().filter(|(file, _)| *file != lock).cloned().collect::<Vec<_>>();
    assert!(same(&contents(&path)) == same(&before));

    for step in [2, 5, 6] {
        fs::remove_dir_all(path.join(checkpoint::name(step))).unwrap();
    }
    for trace in ["latest", "best"] {
        assert!(
            RunDirectory::open_locked(&path).unwrap().resume().is_err(),
            "{trace} says that there was a checkpoint"
        );
        fs::remove_file(path.join(trace)).unwrap();
    }
    assert!(RunDirectory::open_locked(&path).unwrap().resume().is_err(), "metrics.jsonl says that there were steps");
}

#[test]
fn a_checkpoint_of_another_run_or_step_is_foreign() {
    let (folder, path) = trained(3);
    let other = folder.path().join("other");
    let mut run = RunDirectory::create(&other, r#"{"name": "test", "seed": 1}"#).unwrap();
    for step in [0, 7] {
        write(&mut run, step).unwrap();
    }
    copy(&other.join("checkpoint-00000007"), &path.join("checkpoint-00000007"));
    copy(&path.join("checkpoint-00000003"), &path.join("checkpoint-00000008"));
    let loaded = RunDirectory::open(&path).unwrap().load(CheckpointSelector::Latest).unwrap();
    assert_eq!(loaded.step, 3);
    let warning = &loaded.warnings[0];
    assert!(warning.contains("checkpoint-00000008 is unusable: its manifest says step 3"), "{warning}");
    assert!(warning.contains("checkpoint-00000007 is unusable: it belongs to another run"), "{warning}");
}

#[test]
fn a_file_that_no_manifest_lists_is_named_and_ignored() {
    let (_folder, path) = trained(0);
    for name in ["optimizer", ".DS_Store"] {
        fs::write(path.join("checkpoint-00000000").join(name), "x").unwrap();
    }
    let loaded = RunDirectory::open(&path).unwrap().load(CheckpointSelector::Latest).unwrap();
    assert_eq!(loaded.files.keys().collect::<Vec<_>>(), ["state", "weights"]);
    assert_eq!(
        loaded.warnings,
        ["checkpoint-00000000 holds files that its manifest does not list; they are ignored: optimizer"]
    );
}

#[test]
fn without_a_judgement_the_latest_stands_in_for_the_best_and_says_so() {
    let folder = folder();
    let mut run = RunDirectory::create(&folder.path().join("run"), CONFIG_JSON).unwrap();
    for step in [0, 1] {
        run.write_checkpoint(step, &[("weights", b"w")], Some(f64::NAN), 3).unwrap();
    }
    let loaded = run.load(CheckpointSelector::Best).unwrap();
    assert_eq!((loaded.step, loaded.value), (1, None));
    assert_eq!(
        loaded.warnings,
        ["no checkpoint has been judged yet, so none is the best: checkpoint-00000001 is used"]
    );
    assert_eq!(
        run.load(CheckpointSelector::Step(9)).unwrap_err().to_string(),
        format!(
            "the checkpoint at step 9 of `{}` cannot be used: `checkpoint-00000009` is missing. Steps with a \
             checkpoint: 0, 1; or ask for `latest` or `best`",
            run.path().display()
        )
    );
}

#[test]
fn a_second_writer_is_refused_and_readers_are_not() {
    let (_folder, path) = trained(1);
    let first = RunDirectory::open_locked(&path).unwrap();
    let refusals = [
        RunDirectory::open_locked(&path).map(drop),
        RunDirectory::open_or_create(&path, CONFIG_JSON).map(drop),
        RunDirectory::move_aside(&path).map(drop),
    ];
    for refusal in refusals {
        let error = refusal.unwrap_err();
        assert!(matches!(error, RunDirectoryError::Locked { .. }), "{error}");
        if cfg!(unix) {
            assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        }
    }
    RunDirectory::open(&path).unwrap().load(CheckpointSelector::Best).unwrap();
    drop(first);
    RunDirectory::open_locked(&path).unwrap();
}

#[test]
fn a_reader_beside_a_writer_always_finds_a_checkpoint() {
    let folder = folder();
    let path = folder.path().join("run");
    let mut writer = RunDirectory::create(&path, CONFIG_JSON).unwrap();
    writer.write_checkpoint(0, &[("weights", &weights(0))], Some(0.0), 1).unwrap();
    let reader = RunDirectory::open(&path).unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            for step in 1..60 {
                // Each is the best, and the one before it goes.
                writer.write_checkpoint(step, &[("weights", &weights(step))], Some(-(step as f64)), 1).unwrap();
            }
        });
        let mut last = 0;
        while !writing.is_finished() {
            for selector in [CheckpointSelector::Latest, CheckpointSelector::Best] {
                let loaded = reader.load(selector).unwrap();
                assert_eq!(loaded.files["weights"], weights(loaded.step));
                assert!(loaded.step + 1 >= last, "{} after {last}", loaded.step);
                last = loaded.step;
            }
        }
    });
}

#[test]
fn a_run_is_never_made_on_top_of_something() {
    let (folder, path) = trained(0);
    let before = contents(folder.path());
    assert_eq!(
        RunDirectory::create(&path, "{}").unwrap_err().to_string(),
        format!(
            "the run directory `{}` exists already, and nothing in it was touched. Go on with `--resume`, set it aside \
             and start again with `--fresh`, or choose another `name`",
            path.display()
        )
    );
    let thesis = folder.path().join("thesis");
    fs::create_dir(&thesis).unwrap();
    fs::write(thesis.join("config.json"), "mine").unwrap();
    let attempts = [
        RunDirectory::create(&thesis, "{}").map(drop),
        RunDirectory::open_or_create(&thesis, "{}").map(drop),
        RunDirectory::open_locked(&thesis).map(drop),
        RunDirectory::open(&thesis).map(drop),
        RunDirectory::move_aside(&thesis).map(drop),
        RunDirectory::open(&thesis.join("config.json")).map(drop),
        RunDirectory::open(&folder.path().join("nowhere")).map(drop),
    ];
    for attempt in attempts {
        assert!(attempt.unwrap_err().is_input());
    }
    assert_eq!(contents(&thesis), [(thesis.join("config.json"), b"mine".to_vec())]);
    fs::remove_dir_all(&thesis).unwrap();
    assert!(contents(folder.path()) == before);
    let error = RunDirectory::open(&path.join("checkpoint-00000000")).unwrap_err().to_string();
    assert!(error.ends_with(&format!("it lies inside one; give `{}`", path.display())), "{error}");
}

#[test]
fn what_was_never_finished_is_made_again_and_what_lost_its_config_is_not() {
    let folder = folder();
    let path = folder.path().join("run");
    fs::create_dir(&path).unwrap();
    drop(RunDirectory::open_or_create(&path, CONFIG_JSON).unwrap());
    fs::remove_file(path.join("config.json")).unwrap();
    let error = RunDirectory::open_locked(&path).unwrap_err();
    assert!(matches!(error, RunDirectoryError::Unfinished { .. }), "{error}");
    train(&path, 1).unwrap();
    fs::remove_file(path.join("config.json")).unwrap();
    let error = RunDirectory::open_or_create(&path, CONFIG_JSON).unwrap_err();
    assert!(matches!(error, RunDirectoryError::NoConfig { .. }), "{error}");
}

#[test]
fn a_fresh_start_sets_the_old_run_aside_under_the_next_number() {
    let (folder, path) = trained(0);
    fs::create_dir(folder.path().join("run.old-7")).unwrap();
    let before = result(&path);
    let aside = RunDirectory::move_aside(&path).unwrap().unwrap();
    assert_eq!(aside, folder.path().join("run.old-8"));
    assert!(result(&aside) == before && !path.exists());
    assert_eq!(RunDirectory::move_aside(&path).unwrap(), None);
    train(&path, 0).unwrap();
}

#[test]
fn a_config_is_replaced_whole_and_the_run_stays_the_same() {
    let (folder, origin) = trained(1);
    for operations in 0.. {
        let path = folder.path().join(operations.to_string());
        copy(&origin, &path);
        let mut run = RunDirectory::open_locked(&path).unwrap();
        fuse::light(operations, Failure::Kill);
        let _ = run.replace_config("{}");
        let killed = fuse::put_out();
        assert!([CONFIG_JSON, "{}"].contains(&run.config().unwrap().as_str()));
        run.replace_config("{}").unwrap();
        assert_eq!(run.config().unwrap(), "{}");
        assert_eq!(run.resume().unwrap().unwrap().warnings, Vec::<String>::new());
        if !killed {
            assert!(operations > 10);
            break;
        }
    }
}

#[test]
fn the_log_is_cut_byte_for_byte() {
    let (_folder, path) = trained(3);
    let log = path.join("metrics.jsonl");
    // Any spelling stays as it is; a damaged line between good ones stays; the torn end goes.
    let kept = b"{\"step\":0, \"a\": 1e-3}\n{\"a\":null,\"step\":3}\n\xff{torn\n{ \"step\" : 3 }\n".to_vec();
    let dropped = b"{\"step\":4}\n\0\0\0\n{\"step\":5}\n{\"step\":3";
    fs::write(&log, [&kept[..], dropped].concat()).unwrap();
    let mut run = RunDirectory::open_locked(&path).unwrap();
    let resumed = run.resume().unwrap().unwrap();
    assert_eq!(resumed.warnings, ["`metrics.jsonl` has a damaged line; it stays in it"]);
    assert_eq!(fs::read(&log).unwrap(), kept);
    assert_eq!(run.metrics().unwrap().len(), 3);
    assert!(run.append_metrics(&json!({"loss": 1.0})).is_err());
    assert!(run.append_metrics(&json!({"step": 1.5})).is_err());
    run.append_metrics(&json!({"step": 4, "loss": f64::INFINITY})).unwrap();
    assert_eq!(fs::read(&log).unwrap(), [&kept[..], b"{\"loss\":null,\"step\":4}\n"].concat());
}

#[test]
fn no_flipped_bit_of_the_log_drops_a_line_in_silence() {
    let (_folder, path) = trained(3);
    let log = path.join("metrics.jsonl");
    let bytes = fs::read(&log).unwrap();
    let steps = |bytes: &[u8]| -> Vec<u64> {
        let step = |line| serde_json::from_slice::<serde_json::Value>(line).ok()?["step"].as_u64();
        bytes.split(|&byte| byte == b'\n').filter_map(step).collect()
    };
    assert_eq!(steps(&bytes), [0, 1, 2, 3]);
    for (place, bit) in (0..bytes.len()).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << bit;
        fs::write(&log, &flipped).unwrap();
        let resumed = RunDirectory::open_locked(&path).unwrap().resume().unwrap().unwrap();
        // A last line whose step has become a later one is as good as one that the checkpoint does not know.
        let is_later = steps(&flipped).last() > Some(&3);
        let whole = steps(&fs::read(&log).unwrap()).len() == 4;
        assert!(whole || is_later || resumed.warnings.len() == 1, "bit {bit} of byte {place}");
    }
}

#[test]
fn a_best_checkpoint_that_is_damaged_is_told_of_and_stays() {
    let (_folder, path) = trained(6);
    let weights = path.join("checkpoint-00000002/weights");
    let mut bytes = fs::read(&weights).unwrap();
    bytes[0] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let best = fs::read(path.join("best")).unwrap();
    let resumed = RunDirectory::open_locked(&path).unwrap().resume().unwrap().unwrap();
    assert!(resumed.warnings[0].starts_with("the best, checkpoint-00000002, is unusable"), "{:?}", resumed.warnings);
    assert_eq!(fs::read(path.join("best")).unwrap(), best);
    let loaded = RunDirectory::open(&path).unwrap().load(CheckpointSelector::Best).unwrap();
    assert_eq!((loaded.step, loaded.warnings.len()), (6, 1));
}

#[cfg(unix)]
#[test]
fn a_record_that_never_ends_is_damage() {
    for file in ["run.json", "config.json", "latest", "best", "checkpoint-00000003/manifest.json", "metrics.jsonl"] {
        let (_folder, path) = trained(3);
        let place = path.join(file);
        fs::remove_file(&place).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &place).unwrap();
        let opened = RunDirectory::open(&path).and_then(|run| run.config().map(|_| run));
        let told = match opened {
            Err(_) => true,
            Ok(run) => {
                run.metrics().is_err() || {
                    let loaded = [CheckpointSelector::Latest, CheckpointSelector::Best].map(|which| run.load(which));
                    loaded.iter().any(|loaded| loaded.as_ref().is_ok_and(|loaded| !loaded.warnings.is_empty()))
                }
            }
        };
        assert!(told, "{file}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_log_is_cut_without_a_panic_and_twice_is_once(bytes in "(\\{\"step\":[0-9]\\}\n|[\\PC]{0,6}\n?){0,12}", last in 0u64..10) {
        let folder = folder();
        let log = folder.path().join("metrics.jsonl");
        fs::write(&log, &bytes).unwrap();
        metrics_log::cut(folder.path(), Some(last)).unwrap();
        let once = fs::read(&log).unwrap();
        metrics_log::cut(folder.path(), Some(last)).unwrap();
        proptest::prop_assert_eq!(&once, &fs::read(&log).unwrap());
        proptest::prop_assert!(once.is_empty() || once.ends_with(b"\n"));
        let steps = |bytes: &[u8]| {
            fs::write(&log, bytes).unwrap();
            let lines = metrics_log::read(folder.path()).unwrap().0;
            lines.iter().filter_map(|line| line.get("step")?.as_u64()).filter(|&step| step <= last).count()
        };
        proptest::prop_assert!(steps(&once) >= steps(bytes.as_bytes()).saturating_sub(usize::from(!bytes.ends_with('\n'))));
    }

    /// Garbage anywhere in the directory is an error or a fall-back, never a panic.
    #[test]
    fn garbage_in_any_file_never_panics(file in 0usize..6, garbage in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
        let (_folder, path) = trained(1);
        let files = ["run.json", "config.json", "latest", "best", "checkpoint-00000001/manifest.json", "metrics.jsonl"];
        fs::write(path.join(files[file]), &garbage).unwrap();
        for selector in [CheckpointSelector::Best, CheckpointSelector::Latest, CheckpointSelector::Step(1)] {
            let loaded = RunDirectory::open(&path).and_then(|run| run.load(selector));
            if let Ok(loaded) = loaded {
                proptest::prop_assert_eq!(&loaded.files["weights"], &weights(loaded.step));
            }
        }
        let _ = RunDirectory::open_locked(&path).and_then(|mut run| run.resume());
    }
}

#[test]
fn a_file_of_the_run_is_written_where_it_belongs_and_nowhere_else() {
    let (folder, path) = trained(0);
    let run = RunDirectory::open(&path).unwrap();
    for name in ["evaluation.json", "figures/samples.png"] {
        for bytes in [b"first".as_slice(), b"second"] {
            run.write_file(name, bytes).unwrap();
            assert_eq!(fs::read(path.join(name)).unwrap(), bytes);
        }
    }
    let absolute = folder.path().join("x");
    let before = contents(folder.path());
    for name in [
        "",
        "../x",
        "figures/../../x",
        "config.json",
        "latest",
        "lock",
        "checkpoint-00000000/weights",
        ".tmp-x",
        absolute.to_str().unwrap(),
    ] {
        let error = run.write_file(name, b"x").unwrap_err();
        assert!(matches!(error, RunDirectoryError::Refused { .. }), "{name}: {error}");
    }
    assert!(contents(folder.path()) == before);
}

#[test]
fn every_changed_byte_of_a_record_is_detected() {
    let (_folder, path) = trained(0);
    let run = RunDirectory::open(&path).unwrap();
    let read = || run.read_record::<Value>("record.json", "test", 3);
    assert!(matches!(read(), Ok(None)));
    let record = json!({"format": "test", "format_version": 3, "levels": [0.1 + 0.2, 1e-300]});
    run.write_record("record.json", &record).unwrap();
    assert_eq!(read().unwrap(), Some(record));
    let old = run.read_record::<Value>("record.json", "test", 2);
    assert!(matches!(old, Err(CheckpointDamage::Version { found: 3, supported: 2, .. })), "{old:?}");
    let file = path.join("record.json");
    let bytes = fs::read(&file).unwrap();
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        fs::write(&file, damaged).unwrap();
        assert!(read().is_err(), "byte {place}");
    }
}

#[test]
fn names_and_orders_that_would_break_a_checkpoint_are_refused() {
    let (_folder, path) = trained(3);
    let mut run = RunDirectory::open_locked(&path).unwrap();
    run.resume().unwrap();
    let before = result(&path);
    for files in [&[("../weights", &b""[..])][..], &[("manifest.json", b"")], &[("a", b""), ("a", b"")]] {
        assert!(matches!(run.write_checkpoint(4, files, None, 2), Err(RunDirectoryError::Refused { .. })));
    }
    assert!(write(&mut run, 2).unwrap_err().to_string().contains("step 3 has a checkpoint"));
    assert!(result(&path) == before);
}

#[test]
fn an_unwritable_place_is_named_and_nothing_changes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = RunDirectory::create(&file.path().join("runs").join("run"), "{}").unwrap_err();
    assert!(matches!(&error, RunDirectoryError::Io { path, .. } if path.ends_with("runs")), "{error}");

    let (_folder, path) = trained(1);
    let mut run = RunDirectory::open_locked(&path).unwrap();
    run.resume().unwrap();
    let before = contents(&path);
    fuse::light(0, Failure::Once(std::io::ErrorKind::ReadOnlyFilesystem));
    let error = write(&mut run, 2).unwrap_err();
    fuse::put_out();
    assert!(matches!(error, RunDirectoryError::ReadOnly { .. }), "{error}");
    assert!(error.to_string().contains("make the directory writable"), "{error}");
    assert!(contents(&path) == before);
}

#[test]
#[cfg(unix)]
fn a_read_only_directory_is_said_to_be_one() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = trained(1);
    let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    let before = contents(&path);
    set(0o555);
    if fs::write(path.join("probe"), "").is_ok() {
        fs::remove_file(path.join("probe")).unwrap();
        set(0o755);
        println!("skipped: permission bits do not bind this user");
        return;
    }
    let error = RunDirectory::open_locked(&path).unwrap().resume().map(drop);
    let written = RunDirectory::open(&path).unwrap().write_file("evaluation.json", b"");
    set(0o755);
    error.unwrap();
    assert!(matches!(written, Err(RunDirectoryError::ReadOnly { .. })), "{written:?}");
    assert!(contents(&path).len() == before.len());
}

/// Runs this test again in a process that trains until it is killed.
#[test]
fn a_killed_process_leaves_its_run_to_the_next() {
    const CHILD: &str = "BRENIER_TEST_ENDLESS_RUN";
    if let Some(path) = std::env::var_os(CHILD) {
        return train(Path::new(&path), 20_000).unwrap();
    }
    let folder = folder();
    let path = folder.path().join("run");
    let name = own_name("a_killed_process_leaves_its_run_to_the_next");
    let mut last = 0;
    for _ in 0..5 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name])
            .env(CHILD, &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let started = std::time::Instant::now();
        let newest =
            || RunDirectory::open(&path).and_then(|run| run.steps()).ok().and_then(|steps| steps.last().copied());
        while newest().is_none_or(|step| step <= last) {
            assert!(
                started.elapsed().as_secs() < 60 && child.try_wait().unwrap().is_none(),
                "the child does not train"
            );
            std::thread::yield_now();
        }
        let error = RunDirectory::open_locked(&path).unwrap_err();
        if cfg!(unix) {
            assert!(error.to_string().contains(&format!("another process (process {})", child.id())), "{error}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut run = RunDirectory::open_locked(&path).unwrap();
        let resumed = run.resume().unwrap().unwrap();
        assert!(resumed.step > last);
        last = resumed.step;
    }
    train(&path, last + 1).unwrap();
    let whole = folder.path().join("whole");
    train(&whole, last + 1).unwrap();
    assert!(result(&path) == result(&whole));
}

/// Runs this test again in a process whose files may have no more than a few kilobytes: a real
/// refusal of the system in the middle of a write.
#[test]
#[cfg(unix)]
fn a_file_size_limit_stops_a_checkpoint_and_loses_nothing() {
    const CHILD: &str = "BRENIER_TEST_LIMITED_RUN";
    if let Some(path) = std::env::var_os(CHILD) {
        let path = PathBuf::from(path);
        let mut run = RunDirectory::open_locked(&path).unwrap();
        run.resume().unwrap();
        let error = run.write_checkpoint(2, &[("weights", &[7; 1 << 20])], None, 2).unwrap_err();
        assert!(matches!(&error, RunDirectoryError::Full { .. }), "{error}");
        return;
    }
    let (_folder, path) = trained(1);
    let before = result(&path);
    let name = own_name("a_file_size_limit_stops_a_checkpoint_and_loses_nothing");
    // The signal of this limit would end the process before the system call returns.
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ && ulimit -f 64 && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(CHILD, &path)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return println!("skipped: no shell to set a limit ({error})"),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(result(&path) == before);
    assert_eq!(RunDirectory::open(&path).unwrap().load(CheckpointSelector::Latest).unwrap().step, 1);
}
