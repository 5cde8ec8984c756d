//! What a config says when it is wrong, word for word, and that the shipped ones are right.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::difference::difference;
use super::load::{load, load_target, parse, schema};
use super::set::Override;
use super::{Config, ConfigError};

/// A config of the smallest kind: one key a line, so that a line number in a message is easy to check.
const TEXT: &str = r#"{
  "name": "ring",
  "target": {"ring": {}},
  "method": {"denoising_score_matching": {
    "network": {"residual_mlp": {"width": 32, "depth": 2, "activation": "silu", "embedding": 16}},
    "preconditioning": "edm",
    "noise_levels": {"log_normal": {"mean": -1.2, "sd": 1.2}},
    "loss": {"all_scales": {"weighting": "edm"}}
  }},
  "training": {
    "steps": 100,
    "batch": 64,
    "learning_rate": {"constant": {"rate": 1e-3}},
    "ema": [{"half_life": 20}]
  },
  "evaluation": {
    "count": 100,
    "sigma_min": 0.002,
    "sigma_max": 80
  }
}"#;

fn with_sets(text: &str, sets: &[&str]) -> Result<Config, ConfigError> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    parse(Path::new("ring.json"), text, &sets, &[])
}

/// The message for the text with one passage changed.
fn message(old: &str, new: &str) -> String {
    assert!(TEXT.contains(old), "{old} is not in the text");
    with_sets(&TEXT.replacen(old, new, 1), &[]).unwrap_err().to_string()
}

fn set_message(set: &str) -> String {
    with_sets(TEXT, &[set]).unwrap_err().to_string()
}

fn config() -> Config {
    with_sets(TEXT, &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_likeliest_mistakes_speak_word_for_word() {
    assert_eq!(
        message(r#""batch": 64"#, r#""batch_size": 64"#),
        "2 mistakes in the config ring.json\n  \
         ring.json:12:5: `training.batch_size`: unknown key; did you mean `batch`?\n  \
         ring.json:10:15: `training.batch`: this key is missing, a whole number of at least 1 and at most 16777216"
    );
    assert_eq!(
        message(r#""target": {"ring": {}}"#, r#""target": {"rign": {}}"#),
        "ring.json:3:14: `target`: expected one of `ring`, `drawn`, `pinwheel`, `rosenbrock`, `spike_in_slab`, \
         `gaussian_mixture`, `bayesian_logistic_regression`, `funnel`, `rotated`, `spirals`, `gaussian`, `many_well`, \
         `expression`, `swiss_roll`, `student_t_mixture`, `uniform_box`, `checkerboard`, `dataset`, `s_curve`, `two_moons`, found `rign`; did you mean `ring`?"
    );
    assert_eq!(
        message(r#""steps": 100"#, r#""steps": "many""#),
        "ring.json:11:14: `training.steps`: expected a whole number of at least 1, found \"many\""
    );
    assert_eq!(
        message(r#""rate": 1e-3"#, r#""rate": -0.001"#),
        "ring.json:13:44: `training.learning_rate.constant.rate`: expected a number above 0, found -0.001"
    );
    assert_eq!(
        message(r#""sigma_min": 0.002"#, r#""sigma_min": 80"#),
        "ring.json:19:18: `evaluation.sigma_max`: expected a number above `sigma_min`, 80, found 80"
    );
    assert_eq!(
        message(r#"{"ring": {}}"#, r#"{"dataset": {"path": "no/such/digits.npz"}}"#),
        "ring.json:3:34: `target.dataset.path`: there is no file no/such/digits.npz; \
         a path is relative to the folder in which `train` is started"
    );
    assert_eq!(
        message(r#""name": "ring""#, r#""name": """#),
        "ring.json:2:11: `name`: expected a folder's name (letters, digits, `.`, `_`, `-`; at most 100, a letter or digit \
         first), found \"\""
    );
    assert_eq!(
        message(r#""count": 100"#, r#""count": 0"#),
        "ring.json:17:14: `evaluation.count`: expected a whole number of at least 1 and at most 10000000, found 0"
    );
    assert_eq!(message(r#""steps": 100,"#, r#""steps": 100"#), "ring.json:11:17: expected a comma");
    assert_eq!(
        set_message("training.setps=5"),
        "`--set training.setps=5`: `training.setps`: unknown key; did you mean `steps`?"
    );
}

#[test]
fn less_likely_mistakes_speak_too() {
    assert_eq!(
        message(r#""steps": 100"#, r#""steps": 0.5"#),
        "ring.json:11:14: `training.steps`: expected a whole number of at least 1, found 0.5"
    );
    assert_eq!(
        message(r#"{"ring": {}}"#, r#""ring""#),
        "ring.json:3:13: `target`: `ring` takes settings: write {\"ring\": {}}, found \"ring\""
    );
    assert_eq!(
        message(r#""preconditioning": "edm""#, r#""preconditioning": {"edm": {}}"#),
        "ring.json:6:25: `method.denoising_score_matching.preconditioning`: `edm` takes no settings: write \"edm\""
    );
    assert_eq!(
        message(r#"{"ring": {}}"#, r#"{"ring": {}, "two_moons": {}}"#).split(", found ").nth(1),
        Some("`ring` and `two_moons`")
    );
    assert_eq!(
        message(r#""name": "ring","#, r#""name": "ring", "steps": 5,"#),
        "ring.json:2:19: `steps`: unknown key here; did you mean `training.steps` or `evaluation.steps`?"
            .replace("`training.steps` or `evaluation.steps`", &homes_of_steps())
    );
    assert_eq!(
        message(r#""batch": 64,"#, "\"batch\": 64,\n    \"batch\": 65,"),
        "ring.json:13:5: `training.batch`: this key was already given on line 12; keep one"
    );
    assert_eq!(
        message(r#"[{"half_life": 20}]"#, "[]"),
        "ring.json:14:12: `training.ema`: expected a list of at least 1, found an empty list"
    );
    assert_eq!(
        message(r#"{"half_life": 20}"#, r#"{"half_life": 20}, {"power": 0.5}"#),
        "ring.json:14:42: `training.ema.1.power`: expected a number of at least 0.001 and at most 0.28, found 0.5"
    );
    assert_eq!(
        message(r#""batch": 64,"#, r#""batch": 64, "micro_batch": 5,"#),
        "ring.json:12:33: `training.micro_batch`: expected a divisor of `training.batch`, 64, found 5"
    );
    assert_eq!(
        message(r#"{"rate": 1e-3}"#, r#"{"rate": 1e-3, "warmup": 101}"#),
        "ring.json:13:60: `training.learning_rate.constant.warmup`: expected at most `training.steps`, 100, found 101"
    );
    assert_eq!(
        message(r#""sigma_max": 80"#, r#""sigma_max": 1e999"#),
        "ring.json:19:18: the number 1e999 is too large"
    );
    assert_eq!(
        message(r#""sigma_max": 80"#, r#""sigma_max": 80, "grid": "localized", "sampler": "langevin_chain""#),
        "ring.json:19:30: `evaluation.grid`: the grid `localized` places the steps of a solver, and those of `langevin_chain` are \
         equal in time; choose another grid or another sampler"
    );
    assert_eq!(
        message(r#"{"log_normal": {"mean": -1.2, "sd": 1.2}}"#, r#"{"localized": {"shares": 0.5}}"#),
        "ring.json:7:36: `method.denoising_score_matching.noise_levels.localized.shares`: unknown key; did you mean `share`?"
    );
    assert_eq!(
        message(r#"{"log_normal": {"mean": -1.2, "sd": 1.2}}"#, r#""localized""#),
        "ring.json:7:21: `method.denoising_score_matching.noise_levels`: `localized` takes settings: write {\"localized\": {}}, \
         found \"localized\""
    );
    assert_eq!(
        message(r#"{"log_normal": {"mean": -1.2, "sd": 1.2}}"#, r#"{"tabulated": {"sigma": [0.1, 0.2, 0.15]}}"#),
        "ring.json:7:56: `method.denoising_score_matching.noise_levels.tabulated.sigma.2`: expected positive numbers, none below \
         the one before, found 0.15"
    );
    assert_eq!(message(r#""name": "ring""#, r#""name": "../ring""#).split(", found ").nth(1), Some("\"../ring\""));
    assert_eq!(message("\"evaluation\": {", "\"evaluation\": 5, \"x\": {").lines().count(), 3);
}

/// The places of `steps`, as the schema orders them.
fn homes_of_steps() -> String {
    "`evaluation.log_density.steps` or `evaluation.steps` or `method.annealed_particles.moves.hmc.steps` or \
     `method.annealed_particles.moves.mala.steps` or `method.denoising_score_matching.loss.chain_step.steps` or \
     `method.monge_ampere_logistic.discriminator.mlp.steps` or `method.monge_ampere_logistic.polish.steps` or \
     `method.monge_ampere_logistic.rebase.steps` or \
     `method.monge_ampere_score.form.composed.field.perceptron.steps` or \
     `method.monge_ampere_score.reference.particles.annealing.moves.hmc.steps` or \
     `method.monge_ampere_score.reference.particles.annealing.moves.mala.steps` or `training.steps`"
        .to_owned()
}

#[test]
fn a_value_from_the_command_line_wins_over_the_file_and_names_its_flag() {
    let config = with_sets(
        TEXT,
        &["training.steps=2e3", "training.ema.0.half_life=30", "name=2024", "training.ema.1={\"power\":0.1}"],
    );
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let training = config.training.as_ref().unwrap();
    assert_eq!((training.steps, training.ema.len(), config.name.as_str()), (2000, 2, "2024"));
    assert_eq!(config.to_value().pointer("/training/ema/0/half_life"), Some(&Value::from(30.0)));

    let flags = [Override::flag("--seed", "seed", 7)];
    let flagged = parse(Path::new("ring.json"), TEXT, &["seed=6".to_owned()], &flags).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(flagged.seed, 7);

    // Another choice takes the place of the one in the file.
    let cosine = ["training.learning_rate.cosine.peak=2e-3", "training.learning_rate.cosine.warmup=10"];
    let value = with_sets(TEXT, &cosine).unwrap_or_else(|error| panic!("{error}")).to_value();
    assert_eq!(value.pointer("/training/learning_rate/cosine/warmup"), Some(&Value::from(10)));

    for (set, expected) in [
        (
            "training.steps",
            "`--set training.steps`: expected KEY=VALUE with a dotted key, as in `--set training.steps=1000`",
        ),
        ("=5", "`--set =5`: expected KEY=VALUE with a dotted key, as in `--set training.steps=1000`"),
        (
            "training.steps=",
            "`--set training.steps=`: `training.steps`: expected a whole number of at least 1, found \"\"",
        ),
        (
            "training.steps=NaN",
            "`--set training.steps=NaN`: `training.steps`: expected a whole number of at least 1, found \"NaN\"",
        ),
        ("traning.steps=5", "`--set traning.steps=5`: `traning`: unknown key; did you mean `training`?"),
        (
            "training.steps.x=5",
            "`--set training.steps.x=5`: `training.steps.x`: no such key: `training.steps` is 100, which has no keys",
        ),
        (
            "training.ema.7={}",
            "`--set training.ema.7={}`: `training.ema.7`: expected a place in a list of 1: 0 to 0 or, to append, 1",
        ),
        (
            "evaluation.sigma_max=0.001",
            "`--set evaluation.sigma_max=0.001`: `evaluation.sigma_max`: expected a number above `sigma_min`, 0.002, found 0.001",
        ),
    ] {
        assert_eq!(set_message(set), expected);
    }
}

#[test]
fn every_mistake_is_listed_at_once() {
    let text = TEXT
        .replace("\"steps\": 100", "\"steps\": -1")
        .replace("\"batch\": 64", "\"batch\": true")
        .replace("\"rate\"", "\"rat\"");
    let ConfigError::Invalid { problems, .. } = with_sets(&text, &["seed=-1"]).unwrap_err() else {
        panic!("another error")
    };
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "training.steps",
            "training.batch",
            "training.learning_rate.constant.rat",
            "training.learning_rate.constant.rate",
            "seed"
        ]
    );
}

#[test]
fn a_file_that_is_no_config_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.json");
    assert!(matches!(load(&missing, &[], &[]), Err(ConfigError::Unreadable { .. })));
    let data = folder.path().join("data.npy");
    std::fs::write(&data, [0x93, b'N', 0xff]).unwrap();
    let error = load(&data, &[], &[]).unwrap_err();
    assert_eq!(error.to_string(), format!("{} is no text, so it is no config", data.display()));
}

#[test]
fn localized_noise_levels_and_grids_read_back_as_they_were_written() {
    let levels = r#"{"localized": {"share": 0.3, "floor": {"log_uniform": {"sigma_min": 0.01, "sigma_max": 9.0}}}}"#;
    let text = TEXT.replace(r#"{"log_normal": {"mean": -1.2, "sd": 1.2}}"#, levels);
    let config = with_sets(&text, &["evaluation.grid=localized_optimized"]).unwrap_or_else(|error| panic!("{error}"));
    let value = config.to_value();
    let kept = value.pointer("/method/denoising_score_matching/noise_levels").unwrap();
    assert_eq!(*kept, serde_json::from_str::<Value>(levels).unwrap());
    assert_eq!(value.pointer("/evaluation/grid"), Some(&Value::from("localized_optimized")));
    assert_eq!(with_sets(&value.to_string(), &[]).unwrap_or_else(|error| panic!("{error}")), config);
    // Without settings it is half and half with the distribution of Karras et al.
    let text = text.replace(levels, r#"{"localized": {}}"#);
    let value = with_sets(&text, &[]).unwrap_or_else(|error| panic!("{error}")).to_value();
    let edm = serde_json::json!({"localized": {"share": 0.5, "floor": {"log_normal": {"mean": -1.2, "sd": 1.2}}}});
    assert_eq!(value.pointer("/method/denoising_score_matching/noise_levels"), Some(&edm));
}

#[test]
fn paths_are_stored_absolute_and_a_stored_config_reads_back() {
    let config = config();
    assert!(config.output.directory.is_absolute());
    assert_eq!(config.run_directory(), config.output.directory.join("ring"));
    let text = serde_json::to_string_pretty(&config).unwrap();
    assert_eq!(with_sets(&text, &[]).unwrap_or_else(|error| panic!("{error}")), config);
}

#[test]
fn a_resume_may_change_where_it_runs_and_what_it_writes_but_not_what_it_learns() {
    let old = config();
    let differences = |sets: &[&str]| {
        difference(&old, &with_sets(TEXT, sets).unwrap_or_else(|error| panic!("{error}")))
            .into_iter()
            .map(|difference| (difference.to_string(), difference.allowed))
            .collect::<Vec<_>>()
    };
    assert_eq!(differences(&[]), []);
    assert_eq!(
        differences(&["device=wgpu", "output.log_every=7", "training.steps=200"]),
        [
            ("`device`: was \"cpu\", now \"wgpu\"".to_owned(), true),
            ("`output.log_every`: was 100, now 7".to_owned(), true),
            ("`training.steps`: was 100, now 200".to_owned(), true),
        ]
    );
    assert_eq!(
        differences(&["seed=1", "target.two_moons={}"]),
        [
            ("`seed`: was 0, now 1".to_owned(), false),
            ("`target`: was {\"ring\":{}}, now {\"two_moons\":{}}".to_owned(), false),
        ]
    );
    // A cosine ends where the run ends: more steps would be another curve from the first step on.
    let cosine = |steps: &str| {
        with_sets(TEXT, &["training.learning_rate.cosine.peak=1e-3", steps]).unwrap_or_else(|e| panic!("{e}"))
    };
    let prolonged = difference(&cosine("training.steps=100"), &cosine("training.steps=200"));
    assert_eq!(prolonged.iter().map(|difference| difference.allowed).collect::<Vec<_>>(), [false]);
}

#[test]
fn every_shipped_config_loads_and_names_its_schema() {
    let root = workspace();
    let mut found = 0;
    for folder in ["configs/score_matching", "configs/smoke"] {
        for file in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = file.unwrap().path();
            // A path in a config is relative to where `train` is started; tests are started elsewhere.
            let text =
                std::fs::read_to_string(&path).unwrap().replace("datasets/", &format!("{}/datasets/", root.display()));
            let config = parse(&path, &text, &[], &[]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(config.schema.as_deref(), Some("../schema.json"));
            let stem = path.file_stem().unwrap().to_string_lossy();
            let name =
                if folder.ends_with("smoke") { format!("smoke_{stem}") } else { format!("score_matching_{stem}") };
            assert_eq!(config.name, name);
            found += 1;
        }
    }
    assert!(found >= 8, "{found} configs");
}

#[test]
fn every_shipped_target_loads() {
    let mut names = Vec::new();
    for file in std::fs::read_dir(workspace().join("configs/localization")).unwrap() {
        let path = file.unwrap().path();
        let target = load_target(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(target.build_exact().unwrap().unwrap().dim(), 1, "{}", path.display());
        names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    let examples = ["four_component_mixture", "gaussian", "point_mass", "spike_and_gaussian", "two_points", "uniform"];
    assert_eq!(names, examples);
}

#[test]
fn the_committed_schema_is_the_one_of_the_types() {
    let path = workspace().join("configs/schema.json");
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(committed == schema(), "the config types have changed: run `train schema > configs/schema.json`");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_config_panics(start in 0usize..TEXT.len(), length in 0usize..40, replacement in "[-0-9a-z\"\\[\\]{},:.\u{e9} ]{0,12}") {
        let mut text = TEXT.to_owned();
        text.replace_range(start..(start + length).min(TEXT.len()), &replacement);
        if let Err(error) = with_sets(&text, &[]) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_argument_panics(set in "[a-z0-9_.=]{0,30}", key in prop::sample::select(vec!["training", "training.ema", "target.ring", "evaluation.grid"]), value in "[-0-9a-z\"\\[\\]{}:.]{0,10}") {
        let _ = with_sets(TEXT, &[&set, &format!("{key}.{set}={value}"), &format!("{key}={value}")]);
    }
}
