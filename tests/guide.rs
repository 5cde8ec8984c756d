//! The guide in crates/cli/guide: every command on its pages is run, in the order in which it stands.

use std::fs;
use std::path::{Path, PathBuf};

use crate::train::workspace;

fn guide() -> PathBuf {
    workspace().join("crates/cli/guide")
}

fn page(name: &str) -> String {
    fs::read_to_string(guide().join(name)).unwrap()
}

/// The blocks of a page in one language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(&fence as &str).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// What stands in for the commands of a page.
#[cfg(unix)]
fn stand_ins(folder: &Path) {
    use crate::sweep::stand_in;
    let binary = Path::new(env!("CARGO_BIN_EXE_train"));
    let examples = binary.parent().unwrap().join("examples");
    // The binary itself; networks and maps are trained for some steps and judged by some samples, which is what makes a page slow.
    let train = format!(
        "arguments=()\n\
         for argument in \"$@\"; do\n\
         \x20 case \"$argument\" in training.steps=*) argument=training.steps=40 ;; esac\n\
         \x20 arguments+=(\"$argument\")\n\
         done\n\
         if [ \"$1\" = run ] && grep -q denoising_score_matching \"$2\"; then\n\
         \x20 arguments+=(--set evaluation.count=300 --set training.learning_rate.cosine.warmup=5 --set evaluation.log_density.points=50)\n\
         fi\n\
         if [ \"$1\" = run ] && grep -q monge_ampere_logistic \"$2\"; then\n\
         \x20 arguments+=(--set method.monge_ampere_logistic.polish.steps=100)\n\
         fi\n\
         exec {} \"${{arguments[@]}}\"",
        binary.display()
    );
    stand_in(folder, "train", &train);
    // An example, which the tests have built, in few steps.
    stand_in(folder, "cargo", &format!("exec {}/\"$4\" 20", examples.display()));
    stand_in(folder, "srun", crate::sweep::SRUN);
    let array = "last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' \"$1\")\n\
                 for task in $(seq 0 \"$last\"); do SLURM_ARRAY_JOB_ID=1 SLURM_ARRAY_TASK_ID=$task bash \"$1\" || exit; done";
    stand_in(folder, "sbatch", array);
    stand_in(folder, "kubectl", "[ \"$1 $2\" = 'apply -f' ] && grep -q '\"kind\": \"Job\"' \"$3\"");
}

/// Runs the commands of a page in a folder of its own, from which the configs and data sets are in reach.
#[cfg(unix)]
fn follow(name: &str) {
    let place = crate::train::Workplace::new();
    let tools = place.path("tools");
    fs::create_dir(&tools).unwrap();
    stand_ins(&tools);
    for folder in ["configs", "datasets"] {
        std::os::unix::fs::symlink(workspace().join(folder), place.path(folder)).unwrap();
    }
    let page = page(name);
    let script = format!("set -euo pipefail\nset -x\n{}\n", blocks(&page, "sh").join("\n"));
    let commands = script.lines().filter(|line| line.starts_with("train ") || line.starts_with("cargo ")).count();
    assert!(commands >= 4, "{commands} commands on {name}");
    let run = std::process::Command::new("bash")
        .arg(place.write("page.sh", &script))
        .current_dir(place.path(""))
        .env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()))
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let [said, log] = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(run.status.success(), "{name}: {:?}\n{said}\n{log}", run.status.code());
}

#[cfg(unix)]
#[test]
fn from_my_data_to_a_sampler() {
    follow("data.md");
}

#[cfg(unix)]
#[test]
fn from_my_posterior_to_a_sampler() {
    follow("posterior.md");
}

#[cfg(unix)]
#[test]
fn reading_the_diagnostics() {
    follow("diagnostics.md");
}

#[cfg(unix)]
#[test]
fn ones_own_target_network_and_method() {
    follow("extending.md");
}

#[cfg(unix)]
#[test]
fn on_a_cluster() {
    follow("cluster.md");
}

#[test]
fn the_code_on_a_page_is_that_of_an_example() {
    let page = page("extending.md");
    assert_eq!(blocks(&page, "rust").len(), 2);
    for (block, example) in blocks(&page, "rust").into_iter().zip(["own_target", "own_network"]) {
        let path = workspace().join(format!("crates/cli/examples/{example}.rs"));
        assert_eq!(block, fs::read_to_string(path).unwrap().trim_end(), "{example}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    for entry in fs::read_dir(guide()).unwrap() {
        let path = entry.unwrap().path();
        let page = fs::read_to_string(&path).unwrap();
        let inline = page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        let defined = page.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ")).map(|(_, to)| to);
        for link in inline.chain(defined).filter(|link| !link.starts_with("http")) {
            assert!(guide().join(link).exists(), "{}: {link}", path.display());
        }
    }
}
