//! What a schema cannot say of a config: keys that must fit one another, names and files.

use brenier_measure::TargetConfig;
use brenier_measure::data::SplitConfig;

use super::mistakes::Mistakes;
use super::{Config, EvaluationConfig};
use crate::methods::wiring::Wiring;

/// Reports every mistake.
pub fn check(config: &Config, method: &dyn Wiring, mistakes: &mut Mistakes) {
    name(&config.name, mistakes);
    target(&config.target, mistakes);
    if config.output.directory.is_file() {
        let found = config.output.directory.display();
        mistakes.report("output.directory", format!("expected a folder, found the file {found}"));
    }
    if let TargetConfig::Dataset(data) = &config.target
        && data.weight.is_some()
        && !method.takes_weights()
    {
        let message = "counts every point alike; leave it out, or resample the data by their weights first";
        mistakes.report("target.dataset.weight", format!("`{}` {message}", method.name()));
    }
    if !method.has_score_network() {
        refuse_network(method.name(), config, mistakes);
    }
    method.check(config, mistakes);
}

/// A run's name is a folder's name, on every system.
fn name(name: &str, mistakes: &mut Mistakes) {
    const LONGEST: usize = 100;
    let safe = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) || !name.chars().all(safe) || name.len() > LONGEST
    {
        mistakes.report(
            "name",
            format!(
                "expected a folder's name (letters, digits, `.`, `_`, `-`; at most {LONGEST}, a letter or digit first), \
                 found {name:?}"
            ),
        );
    }
}

fn target(target: &TargetConfig, mistakes: &mut Mistakes) {
    if let TargetConfig::Dataset(data) = target {
        mistakes.file("target.dataset.path", &data.path);
        split("target.dataset.split", &data.split, mistakes);
    } else if let Err(error) = target.build_exact() {
        mistakes.report("target", error.to_string());
    }
    if let TargetConfig::Drawn(drawn) = target {
        split("target.drawn.split", &drawn.split, mistakes);
        if drawn.split.test > 0.0 {
            let message = format!("expected 0, found {}: test points are fresh draws", drawn.split.test);
            mistakes.report("target.drawn.split.test", message);
        }
    }
}

/// Sizes that add up to more than all rows of any file; what depends on the file is asked when it is read.
fn split(path: &str, split: &SplitConfig, mistakes: &mut Mistakes) {
    let SplitConfig { train, validation, test } = *split;
    let sum = train + validation + test;
    let are_counts = [train, validation, test].iter().all(|size| size.fract() == 0.0);
    // 0.7 + 0.2 + 0.1 exceeds 1 by a rounding error.
    if sum > 1.0 + 1e-9 && !are_counts {
        let message = "expected three fractions with a sum of at most 1, or three counts";
        mistakes.report(path, format!("{message}, found {train}, {validation} and {test}"));
    }
}

/// Reports every key that speaks of a score network to a method that has none.
fn refuse_network(method: &str, config: &Config, mistakes: &mut Mistakes) {
    let EvaluationConfig { sampler, grid, sigma_min, sigma_max, steps, log_density, .. } = &config.evaluation;
    let given = [
        ("training", config.training.is_some()),
        ("evaluation.sampler", sampler.is_some()),
        ("evaluation.grid", grid.is_some()),
        ("evaluation.sigma_min", sigma_min.is_some()),
        ("evaluation.sigma_max", sigma_max.is_some()),
        ("evaluation.steps", steps.is_some()),
        ("evaluation.log_density.steps", log_density.is_some_and(|log_density| log_density.steps.is_some())),
    ];
    for (key, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
        mistakes.report(
            key,
            format!("this key belongs to `denoising_score_matching`, and `{method}` does not read it; leave it out"),
        );
    }
}
