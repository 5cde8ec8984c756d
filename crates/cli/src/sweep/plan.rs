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
use crate::device::DeviceName;
use crate::error::{Error, Exit};
use crate::shell;

/// How long before its end a run is warned, in seconds.
const WARNING: u64 = 300;

/// The least time of a run: a warning at its start would be none.
const SHORTEST: Duration = Duration::from_secs(2 * WARNING);

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
    /// The threads of a run, where they are given.
    pub threads: Option<u16>,
    /// The device of a run, where one is given.
    pub device: Option<&'a DeviceName>,
}

impl Place<'_> {
    /// What every command gets.
    fn flags(&self) -> Vec<String> {
        let of = |flag: &str, value: Option<String>| value.map(|value| [flag.to_owned(), value]);
        let device = self.device.map(ToString::to_string);
        of("--threads", self.threads.map(|threads| threads.to_string()))
            .into_iter()
            .chain(of("--device", device))
            .flatten()
            .collect()
    }
}

/// The longest argument of a command that Linux takes, with room for the rest of it.
const LONGEST_ARGUMENT: usize = 120_000;

/// One line a task, by the number in a variable of the environment.
fn cases(sweep: &Sweep, place: &Place, variable: &str) -> String {
    let flags = place.flags();
    let lines: Vec<String> = sweep
        .tasks
        .iter()
        .enumerate()
        .map(|(k, task)| {
            let words = [place.binary].into_iter().chain(task.arguments.iter().chain(&flags).map(String::as_str));
            format!("{k}) set -- {} ;;\n", shell::command(words))
        })
        .collect();
    format!("case \"${variable}\" in\n{}esac\n", lines.concat())
}

/// A script for `sbatch`.
pub fn slurm(sweep: &Sweep, place: &Place) -> String {
    let minutes = place.time.max(SHORTEST).as_secs().div_ceil(60);
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
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
         #SBATCH --cpus-per-task={cpus}\n\
         # Partition, account, memory and GPUs are yours to add.\n\
         \n\
         cd -- {folder} || exit 2\n\
         {cases}\
         srun --ntasks=1 --cpus-per-task=\"${{SLURM_CPUS_PER_TASK:-1}}\" \"$@\"\n\
         code=$?\n\
         # A run that was warned has a checkpoint, and goes on when its turn comes again.\n\
         if [ \"$code\" -eq {interrupted} ]; then\n\
         \x20 scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}\"\n\
         fi\n\
         exit \"$code\"\n",
        name = identifier(&sweep.name),
        jobs = place.jobs,
        cpus = place.threads.unwrap_or(1),
        folder = shell::quoted(&place.folder.display().to_string()),
        cases = cases(sweep, place, "SLURM_ARRAY_TASK_ID"),
    )
}

/// A Job for `kubectl apply`, whose runs lie on a volume that is mounted where the commands are given.
///
/// # Errors
///
/// More runs than the command of a container holds.
pub fn kubernetes(sweep: &Sweep, place: &Place, image: &str, claim: &str) -> Result<Value, Error> {
    let cases = cases(sweep, place, "JOB_COMPLETION_INDEX");
    let script = format!("{cases}exec \"$@\" --max-time {}s\n", place.time.max(SHORTEST).as_secs());
    if script.len() > LONGEST_ARGUMENT {
        let count = sweep.tasks.len();
        return Err(Error::bad_input(format!("{count} runs are more than the command of one container holds"))
            .hint("split the sweep into several, of some hundreds of runs each"));
    }
    let folder = place.folder.display().to_string();
    Ok(json!({
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
                    "resources": {"requests": {"cpu": place.threads.unwrap_or(1).to_string()}},
                    "volumeMounts": [{"name": "runs", "mountPath": folder}]
                }],
                "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": claim}}]
            }}
        }
    }))
}

/// A name that both schedulers take: lower-case letters, digits and hyphens.
fn identifier(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(50).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "sweep".to_owned() } else { plain.to_owned() }
}
