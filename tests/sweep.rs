//! `train sweep` and `train collect`: studies of many runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::train::{Workplace, smoke, text};

/// A sweep file over a smoke config.
fn sweep(place: &Workplace, config: &str, more: Value) -> String {
    let mut sweep = json!({"config": smoke(config), "directory": place.path("study")});
    sweep.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
    text(&place.write("study.json", &sweep.to_string())).to_owned()
}

const RATE: &str = "training.learning_rate.constant.rate";

#[test]
fn a_study_runs_side_by_side_and_one_table_tells_of_it() {
    let place = Workplace::new();
    let grid = json!({"seeds": [0, 1], "grid": {RATE: [1e-3, 1e30]}, "list": [{"training.batch": 32}]});
    let file = sweep(&place, "score_matching_two_moons.json", grid);
    // What diverges stops no other.
    let ended = place.train(&["sweep", &file, "--jobs", "2"]).fails(1);
    assert!(ended.stdout.contains("2 of 4 runs are finished, 2 failed"), "{}", ended.stdout);
    assert!(ended.stderr.contains("batch-32_rate-1e30_seed-0 failed: the loss"), "{}", ended.stderr);
    let study = place.path("study");
    let good = study.join("batch-32_rate-0.001_seed-1");
    let metrics = fs::read(good.join("metrics.jsonl")).unwrap();
    assert!(fs::read_to_string(study.join("logs/batch-32_rate-0.001_seed-1.txt")).unwrap().contains("sliced_w2"));
    // Once more: what is finished stays as it is, and more values leave it there.
    let grid = json!({"seeds": [0, 1, 2], "grid": {RATE: [1e-3]}, "list": [{"training.batch": 32}]});
    let file = sweep(&place, "score_matching_two_moons.json", grid);
    place.train(&["sweep", &file]).succeeds();
    assert!(fs::read(good.join("metrics.jsonl")).unwrap() == metrics);

    let csv = place.path("study.csv");
    let table =
        place.train(&["collect", text(&study), "--only", "w2,sliced_w2", "--out", text(&csv)]).succeeds().stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "| rate | runs | w2 | sliced_w2 |");
    assert!(lines[2].starts_with("| 0.001 | 3 | ") && lines[2].matches(" ± ").count() == 2, "{table}");
    assert!(lines[3].starts_with("| 1e+30 | 0 of 2 | - | - |"), "{table}");
    assert_eq!(fs::read_to_string(csv).unwrap().lines().count(), 6);
    // The mean is that of what the runs kept.
    let found: Value = serde_json::from_slice(&fs::read(good.join("evaluation.json")).unwrap()).unwrap();
    let all = place.train(&["collect", text(&study), "--json"]).succeeds().json();
    let run = all["runs"].as_array().unwrap().iter().find(|run| run["run"] == "batch-32_rate-0.001_seed-1").unwrap();
    assert_eq!(run["metrics"]["w2"]["value"], found["metrics"]["w2"]["value"]);
}

#[test]
fn a_mistake_is_found_before_the_first_run() {
    let place = Workplace::new();
    let config = "score_matching_two_moons.json";
    for (more, says) in [
        (json!({"grid": {"training.btach": [1, 2]}}), "training.btach"),
        (json!({"grid": {"training.batch": [64, "many"]}}), "training.batch=\"many\""),
        (json!({"list": [{"seed": 3}]}), "`seed` is what the sweep sets"),
        (json!({"grid": {"training.batch": []}}), "`grid.training.batch` has no values"),
        (json!({"grid": {"training.batch": [64]}, "list": [{"training.batch": 32}]}), "both in `grid` and in `list`"),
        (json!({"seeds": [1, 1]}), "comes twice"),
        (json!({"grid": {"training": [1]}, "list": [{"training.batch": 32}]}), "`training` holds `training.batch`"),
        (json!({"sedes": [1]}), "sedes"),
    ] {
        let file = sweep(&place, config, more);
        let outcome = place.train(&["sweep", &file]).fails(2);
        assert!(outcome.stderr.contains(says), "{says}: {}", outcome.stderr);
        assert!(!place.path("study").exists(), "{says}: something was begun");
    }
    let file = sweep(&place, "nowhere.json", json!({}));
    place.train(&["sweep", &file]).fails(2);
    place.train(&["sweep", text(&place.path("nothing.json"))]).fails(2);
    let empty = place.path("empty");
    fs::create_dir(&empty).unwrap();
    let outcome = place.train(&["collect", text(&empty)]).fails(2);
    assert!(outcome.stderr.contains("holds no run"), "{}", outcome.stderr);
}

#[cfg(unix)]
#[test]
fn a_signal_stops_every_run_and_the_same_command_goes_on() {
    let place = Workplace::new();
    let config = "score_matching_two_moons.json";
    let file = sweep(&place, config, json!({"seeds": [0, 1], "list": [{"training.steps": 100_000_000}]}));
    assert_eq!(place.interrupted(&["sweep", &file, "--jobs", "2"]), Some(75));
}

/// What stands in for srun: its flags are passed over.
#[cfg(unix)]
pub const SRUN: &str = "while [ \"${1#--}\" != \"$1\" ]; do shift; done; exec \"$@\"";

/// A program of this name, as far as a script that runs here needs it.
#[cfg(unix)]
pub fn stand_in(folder: &Path, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a script with stand-ins for the programs of a cluster.
#[cfg(unix)]
fn run_script(place: &Workplace, script: &str, variable: &str, task: usize) -> Option<i32> {
    let tools = place.path("tools");
    fs::create_dir_all(&tools).unwrap();
    stand_in(&tools, "srun", SRUN);
    stand_in(&tools, "scontrol", &format!("echo \"$@\" >> {}", text(&place.path("requeued"))));
    stand_in(&tools, "train", &format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_train")));
    let path = format!("{}:{}", text(&tools), std::env::var("PATH").unwrap());
    let script = place.write("script.sh", script);
    Command::new("bash")
        .arg(script)
        .env("PATH", path)
        .env(variable, task.to_string())
        .env("SLURM_ARRAY_JOB_ID", "77")
        .output()
        .unwrap()
        .status
        .code()
}

#[cfg(unix)]
#[test]
fn a_plan_runs_the_task_of_its_number() {
    let place = Workplace::new();
    let more = json!({"seeds": [5, 6, 7], "list": [{"name of": 1}]});
    let file = sweep(&place, "monge_ampere_gaussian_2d.json", more);
    place.train(&["sweep", &file, "--plan", "slurm"]).fails(2);

    let file = sweep(&place, "monge_ampere_gaussian_2d.json", json!({"seeds": [5, 6, 7]}));
    let plan = ["sweep", &file, "--plan", "slurm", "--jobs", "2", "--time-limit", "90m"];
    let script = place.train(&plan).succeeds().stdout;
    for said in
        ["#SBATCH --array=0-2%2\n", "#SBATCH --time=0-01:30:00\n", "#SBATCH --signal=USR1@300\n", "#SBATCH --requeue\n"]
    {
        assert!(script.contains(said), "no {said} in {script}");
    }
    assert!(!place.path("study").exists());
    let odd = ["sweep", &file, "--plan", "slurm", "--time-limit", "3599s", "--threads", "3", "--devices", "cpu"];
    let odd = place.train(&odd).succeeds().stdout;
    for said in
        ["#SBATCH --time=0-01:00:00\n", "#SBATCH --cpus-per-task=3\n", " --resume --threads 3 --device cpu ;;\n"]
    {
        assert!(odd.contains(said), "no {said} in {odd}");
    }
    place.train(&["sweep", &file, "--plan", "slurm", "--devices", "cpu,ndarray"]).fails(2);
    assert_eq!(run_script(&place, &script, "SLURM_ARRAY_TASK_ID", 1), Some(0));
    assert!(place.path("study/seed-6/evaluation.json").is_file() && !place.path("study/seed-5").exists());
    // What is stopped by the warning is requeued.
    let stopped = script.replace(" --resume", " --resume --max-steps 2");
    assert_eq!(run_script(&place, &stopped, "SLURM_ARRAY_TASK_ID", 0), Some(75));
    assert_eq!(fs::read_to_string(place.path("requeued")).unwrap(), "requeue 77_0\n");

    let many: Vec<u64> = (0..2000).collect();
    let large = sweep(&place, "monge_ampere_gaussian_2d.json", json!({"seeds": many}));
    let refused = place.train(&["sweep", &large, "--plan", "kubernetes"]).fails(2);
    assert!(refused.stderr.contains("split the sweep"), "{}", refused.stderr);
    let warned = place.train(&["sweep", &large, "--plan", "slurm"]).succeeds();
    assert!(warned.stderr.contains("MaxArraySize"), "{}", warned.stderr);

    let file = sweep(&place, "monge_ampere_gaussian_2d.json", json!({"seeds": [5, 6, 7]}));
    let job = place.train(&["sweep", &file, "--plan", "kubernetes", "--image", "registry/brenier:1"]).succeeds().json();
    let spec = &job["spec"];
    assert_eq!((&spec["completions"], &spec["completionMode"]), (&json!(3), &json!("Indexed")));
    assert_eq!(spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"], json!([75]));
    let container = &spec["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry/brenier:1");
    let script = container["command"][2].as_str().unwrap();
    let script = format!("cd {}\n{script}", container["workingDir"].as_str().unwrap());
    assert_eq!(run_script(&place, &script, "JOB_COMPLETION_INDEX", 2), Some(0));
    assert!(place.path("study/seed-7/evaluation.json").is_file());
}
