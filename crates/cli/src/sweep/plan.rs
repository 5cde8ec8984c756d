//! A sweep for the scheduler of a cluster: an array script for Slurm, an indexed Job for Kubernetes.
//!
//! # Design
//!
//! A cluster has a scheduler, which knows its machines, queues and quotas; what it needs of a study is one command a task, a warning before the
//! time is over, and what exit code 75 means: the run has a checkpoint and wants to go on.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Sweep;
use crate::error::Exit;
use crate::shell;

/// How long before its end a run is warned, in seconds.
const WARNING: u64 = 300;

/// What a plan depends on beside the sweep.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The binary.
    pub binary: &'a str,
    /// The folder in which the commands are given.
    pub folder: &'a Path,
    /// Runs side by side, at most.
    pub jobs: usize,
    /// The longest time of one run before it is requeued.
    pub time: Duration,
}

/// One line a task, by the number in a variable of the environment.
fn cases(sweep: &Sweep, binary: &str, variable: &str) -> String {
    let lines: Vec<String> = sweep
        .tasks
        .iter()
        .enumerate()
        .map(|(k, task)| {
            let words = [binary].into_iter().chain(task.arguments.iter().map(String::as_str));
            format!("{k}) set -- {} ;;\n", shell::command(words))
        })
        .collect();
    format!("case \"${variable}\" in\n{}esac\n", lines.concat())
}

/// A script for `sbatch`.
pub fn slurm(sweep: &Sweep, place: &Place) -> String {
    let seconds = place.time.as_secs().max(2 * WARNING);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds.div_ceil(60) % 60);
    let interrupted = Exit::Interrupted as u8;
    let last = sweep.tasks.len() - 1;
    format!(
        "#!/bin/bash\n\
         #SBATCH --job-name={name}\n\
         #SBATCH --array=0-{last}%{jobs}\n\
         #SBATCH --time={days}-{hours:02}:{minutes:02}:00\n\
         #SBATCH --signal=USR1@{WARNING}\n\
         #SBATCH --requeue\n\
         #SBATCH --open-mode=append\n\
         #SBATCH --output={name}-%a.txt\n\
         # Partition, account, memory and GPUs are yours to add.\n\
         \n\
         cd -- {folder} || exit 2\n\
         {cases}\
         srun --ntasks=1 \"$@\"\n\
         code=$?\n\
         # A run that was warned has a checkpoint, and goes on when its turn comes again.\n\
         if [ \"$code\" -eq {interrupted} ]; then\n\
         \x20 scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}\"\n\
         fi\n\
         exit \"$code\"\n",
        name = identifier(&sweep.name),
        jobs = place.jobs,
        folder = shell::quoted(&place.folder.display().to_string()),
        cases = cases(sweep, place.binary, "SLURM_ARRAY_TASK_ID"),
    )
}

/// A Job for `kubectl apply`, whose runs lie on a volume that is mounted where the commands are given.
pub fn kubernetes(sweep: &Sweep, place: &Place, image: &str, claim: &str) -> Value {
    let script = format!("{}exec \"$@\"\n", cases(sweep, place.binary, "JOB_COMPLETION_INDEX"));
    let folder = place.folder.display().to_string();
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": identifier(&sweep.name)},
        "spec": {
            "completionMode": "Indexed",
            "completions": sweep.tasks.len(),
            "parallelism": place.jobs.min(sweep.tasks.len()),
            // A run that fails is tried again by hand: the others go on.
            "backoffLimitPerIndex": 0,
            "maxFailedIndexes": sweep.tasks.len(),
            "podFailurePolicy": {"rules": [
                // A run that was stopped has a checkpoint; its pod is made again.
                {"action": "Ignore", "onExitCodes": {"containerName": "train", "operator": "In", "values": [Exit::Interrupted as u8]}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
            ]},
            "template": {"spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": WARNING,
                "containers": [{
                    "name": "train",
                    "image": image,
                    "workingDir": folder,
                    "command": ["/bin/sh", "-c", script],
                    "volumeMounts": [{"name": "runs", "mountPath": folder}]
                }],
                "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": claim}}]
            }}
        }
    })
}

/// A name that both schedulers take: lower-case letters, digits and hyphens.
fn identifier(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(50).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "sweep".to_owned() } else { plain.to_owned() }
}
