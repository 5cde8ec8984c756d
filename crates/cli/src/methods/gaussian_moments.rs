//! The smallest method there is, for tests: the Gaussian with the moments of the training points.
//!
//! It speaks to the program through [`Wiring`], [`Method`] and [`TrainedSampler`] alone, and through them it runs, resumes and
//! answers every verb.

use brenier_measure::linear_algebra::semidefinite_factor;
use brenier_measure::{GaussianMixture, Measure, Points, Purpose, Sample, Stream, to_points, to_tensor};
use brenier_model::{Facts, LogDensity, SamplerError, TrainedSampler, TransportMap};
use brenier_training::run_directory::LockedRunDirectory;
use brenier_training::{Files, Flow, Method, Observe, Scalars, TrainingError};
use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::Config;
use crate::config::mistakes::Mistakes;
use crate::error::Error;
use crate::methods::wiring::{Flags, Length, ProgressPlot, Wiring};
use crate::run::training::go_on;
use crate::run::{Ending, RunContext, RunView};

const NAME: &str = "gaussian_moments";
const STATE: &str = "state.json";

/// The section of a config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaussianMomentsConfig {
    /// The steps, each of which reads an equal part of the points.
    pub parts: u64,
    /// Whether the law keeps its closed form to itself.
    #[serde(default)]
    pub hides_its_law: bool,
}

struct GaussianMoments {
    points: Points,
    held_out: Points,
    config: GaussianMomentsConfig,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Moments {
    step: u64,
    count: f64,
    sum: Vec<f64>,
    products: Vec<Vec<f64>>,
}

impl Moments {
    fn law(&self) -> GaussianMixture {
        let d = self.sum.len();
        if self.count < 2.0 {
            let unit = |i: usize| (0..d).map(|j| f64::from(u8::from(i == j))).collect();
            return GaussianMixture::new(vec![1.0], vec![vec![0.0; d]], vec![(0..d).map(unit).collect()]).unwrap();
        }
        let mean: Vec<f64> = self.sum.iter().map(|sum| sum / self.count).collect();
        let entry = |i: usize, j: usize| self.products[i][j] / self.count - mean[i] * mean[j];
        let covariance = (0..d).map(|i| (0..d).map(|j| entry(i, j)).collect()).collect();
        GaussianMixture::new(vec![1.0], vec![mean], vec![covariance]).unwrap()
    }
}

impl Method for GaussianMoments {
    type State = Moments;

    fn steps(&self) -> u64 {
        self.config.parts
    }

    fn start(&self) -> Result<Moments, TrainingError> {
        let d = self.points.ncols();
        Ok(Moments { sum: vec![0.0; d], products: vec![vec![0.0; d]; d], ..Moments::default() })
    }

    fn resume(&self, files: &Files) -> Result<Moments, TrainingError> {
        let bytes = files.get(STATE).ok_or_else(|| TrainingError::MissingFile { file: STATE.into() })?;
        Ok(serde_json::from_slice(bytes).unwrap())
    }

    fn files(&self, state: &Moments) -> Files {
        Files::from([(STATE.to_owned(), serde_json::to_vec(state).unwrap())])
    }

    fn step(&self, state: &Moments) -> u64 {
        state.step
    }

    fn train(&self, state: &mut Moments, observe: &mut Observe<Moments>) -> Result<(), TrainingError> {
        let parts = self.config.parts as usize;
        for part in state.step as usize..parts {
            let rows = [part, part + 1].map(|part| part * self.points.nrows() / parts);
            for x in self.points.slice(ndarray::s![rows[0]..rows[1], ..]).rows() {
                state.count += 1.0;
                state.sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
                for (products, a) in state.products.iter_mut().zip(x) {
                    products.iter_mut().zip(x).for_each(|(product, b)| *product += a * b);
                }
            }
            state.step += 1;
            let count = state.count;
            if observe(state, &[("count", count)])? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    fn means(&self, state: &mut Moments) -> Scalars {
        vec![("count", state.count)]
    }

    fn held_out(&self, state: &Moments) -> (&'static str, f64) {
        let log_q = densities(&state.law(), &self.held_out);
        ("held_out_nll", -log_q.iter().sum::<f64>() / log_q.len() as f64)
    }

    fn sampler(&self, state: &Moments) -> Box<dyn TrainedSampler> {
        Box::new(GaussianLaw { law: state.law(), is_hidden: self.config.hides_its_law })
    }
}

struct GaussianLaw {
    law: GaussianMixture,
    is_hidden: bool,
}

fn densities(law: &GaussianMixture, x: &Points) -> Vec<f64> {
    let values = law.log_density(to_tensor(x, DType::F64, &Device::flex()));
    values.into_data().convert::<f64>().try_to_vec().unwrap()
}

impl TrainedSampler for GaussianLaw {
    fn dim(&self) -> usize {
        self.law.dim()
    }

    fn sample(
        &self,
        seed: u64,
        indices: std::ops::Range<u64>,
        _: &(dyn Fn() -> bool + Sync),
    ) -> Result<Tensor<2>, SamplerError> {
        let drawn = self.law.sample(&Stream::new(seed, Purpose::Reference), 0, indices);
        Ok(to_tensor(&drawn, DType::F64, &Device::flex()))
    }

    fn log_density(
        &self,
        x: &Points,
        _: u64,
        _: u64,
        _: &(dyn Fn() -> bool + Sync),
    ) -> Result<LogDensity, SamplerError> {
        if self.is_hidden {
            return Err(SamplerError::NoLogDensity);
        }
        Ok(LogDensity::exact(densities(&self.law, x)))
    }

    fn closed_form(&self) -> Option<&GaussianMixture> {
        (!self.is_hidden).then_some(&self.law)
    }

    fn map(&self) -> Option<&dyn TransportMap> {
        (!self.is_hidden).then_some(self)
    }

    fn settings(&self) -> Facts {
        Facts(vec![("sampler", json!("exact"))])
    }
}

/// `T(y) = m + Fy`, F a factor of the covariance.
impl TransportMap for GaussianLaw {
    fn transport(&self, y: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        let component = &self.law.components()[0];
        let factor = semidefinite_factor(component.covariance());
        let image = y.dot(&factor.t()) + &Points::from_shape_vec((1, y.ncols()), component.mean().to_vec()).unwrap();
        // The factor of a plane is 2 × 2.
        let log_det = (factor[[0, 0]] * factor[[1, 1]] - factor[[0, 1]] * factor[[1, 0]]).abs().ln();
        Ok((image, vec![log_det; y.nrows()]))
    }

    fn inverse(&self, x: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        let component = &self.law.components()[0];
        let factor = semidefinite_factor(component.covariance());
        let det = factor[[0, 0]] * factor[[1, 1]] - factor[[0, 1]] * factor[[1, 0]];
        let centred = x - &Points::from_shape_vec((1, x.ncols()), component.mean().to_vec()).unwrap();
        let adjugate = ndarray::array![[factor[[1, 1]], -factor[[1, 0]]], [-factor[[0, 1]], factor[[0, 0]]]];
        Ok((centred.dot(&adjugate) / det, vec![-det.abs().ln(); x.nrows()]))
    }
}

impl GaussianMomentsConfig {
    fn method(&self, run: &RunView) -> Result<GaussianMoments, Error> {
        let problem = run.problem.expect("training has its data");
        let points = problem.training_points(2000, run.record.config.seed)?;
        Ok(GaussianMoments { points, held_out: problem.samples(NAME)?.held_out.clone(), config: self.clone() })
    }
}

impl Wiring for GaussianMomentsConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, _: &Config, _: &mut Mistakes) {}

    fn length(&self, _: &Config) -> Length {
        Length { steps: self.parts, is_bound: false, key: "method.gaussian_moments.parts" }
    }

    fn model(&self) -> Value {
        json!({ NAME: {} })
    }

    fn rehearse(&self, run: &RunView) -> Result<(), Error> {
        self.method(run).map(drop)
    }

    fn train(&self, run: &RunContext, directory: &mut LockedRunDirectory) -> Result<Ending, Error> {
        go_on(run, self, directory, |view| self.method(view))
    }

    fn cure(&self) -> &'static str {
        "There is none"
    }

    fn open(&self, _: &RunView, files: &Files, _: &Flags) -> Result<Box<dyn TrainedSampler>, Error> {
        let state: Moments = serde_json::from_slice(&files[STATE]).unwrap();
        Ok(Box::new(GaussianLaw { law: state.law(), is_hidden: self.hides_its_law }))
    }

    fn progress_plot(&self) -> ProgressPlot {
        ProgressPlot { title: "Moments", y: "nats", log_y: false, lines: &[("held out", "held_out_nll")] }
    }
}

mod tests {
    use std::path::{Path, PathBuf};

    use brenier_measure::data::read_points;
    use brenier_training::run_directory::{CheckpointSelector, RunDirectory};
    use clap::Parser;

    use super::*;
    use crate::arguments::Arguments;
    use crate::config::{consistency, tree};
    use crate::error::Exit;
    use crate::interruption::Limits;
    use crate::logging::{self, LogFormat};
    use crate::methods::wiring;
    use crate::run::opened::StoredRun;
    use crate::run::problem::Problem;
    use crate::run::record::RunRecord;
    use crate::subject::{Examined, Kind, Opening};
    use crate::verbs::{self, Context};

    fn config(folder: &Path, hides_its_law: bool) -> Config {
        serde_json::from_value(json!({
            "name": "moments",
            "target": {"gaussian": {"mean": [3.0, -1.0], "covariance": [[2.0, 0.6], [0.6, 0.5]]}},
            "method": {NAME: {"parts": 10, "hides_its_law": hides_its_law}},
            "evaluation": {"count": 500, "watch": {"metrics": ["energy_distance"], "count": 200}},
            "output": {"directory": folder, "log_every": 1, "checkpoint_every": 3}
        }))
        .unwrap()
    }

    /// A run of at most so many steps.
    fn run(folder: &Path, name: &str, hides_its_law: bool, steps: Option<u64>) -> (PathBuf, Ending) {
        let config = config(folder, hides_its_law);
        let problem = Problem::new(&config).unwrap();
        let record = RunRecord::new(config, problem.data.clone());
        let path = folder.join(name);
        let mut directory = RunDirectory::create(&path, &record.to_json().unwrap()).unwrap();
        let limits = Limits::new(None, steps);
        let context = RunContext { record, problem, device: Device::flex(), limits, quiet: true };
        (path, wiring(&context.record.config.method).train(&context, &mut directory).unwrap())
    }

    /// A command line, word by word, as the program would execute it.
    fn train(words: &[&str]) -> Result<Exit, Error> {
        let arguments = Arguments::try_parse_from(["train"].iter().chain(words)).unwrap();
        let log = logging::start(-1, LogFormat::Text).unwrap();
        verbs::execute(arguments.verb, &Context { log, quiet: true })
    }

    fn text(path: &Path) -> &str {
        path.to_str().unwrap()
    }

    /// What `localize` and `chain` look at.
    fn examined(run: &Path) -> &'static str {
        let opening = Opening {
            device: None,
            checkpoint: CheckpointSelector::Best,
            seed: None,
            text_files: Default::default(),
            data: None,
        };
        match Examined::open(run, &opening).unwrap().kind {
            Kind::Run(run) => run.examined,
            _ => panic!("a run is no target and no file"),
        }
    }

    /// A value of the run's own evaluation.
    fn metric(run: &Path, name: &str) -> Value {
        let report: Value = serde_json::from_slice(&std::fs::read(run.join("evaluation.json")).unwrap()).unwrap();
        report["metrics"][name].clone()
    }

    #[test]
    fn a_method_runs_stops_and_resumes_with_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, ending) = run(folder.path(), "whole", false, None);
        assert_eq!(ending, Ending::Finished);
        let (stopped, ending) = run(folder.path(), "stopped", false, Some(4));
        assert_eq!(ending, Ending::Interrupted);
        let reached = RunDirectory::open(&stopped).unwrap().load(CheckpointSelector::Latest).unwrap().step;
        assert_eq!(reached, 4);
        assert_eq!(train(&["resume", text(&stopped), "--max-steps", "5"]).unwrap(), Exit::Interrupted);
        assert_eq!(train(&["resume", text(&stopped), "--max-steps", "5"]).unwrap(), Exit::Done);
        for file in ["checkpoint-00000010/state.json", "samples.npy", "evaluation.json", "figures/loss.png"] {
            let [one, other] = [&whole, &stopped].map(|run| std::fs::read(run.join(file)).unwrap());
            assert!(one == other, "{file} differs");
        }
        let metrics = RunDirectory::open(&stopped).unwrap().metrics().unwrap();
        for name in ["count", "held_out_nll", "watch_energy_distance"] {
            assert!(metrics.iter().any(|line| line.contains_key(name)), "no {name}");
        }
    }

    #[test]
    fn every_verb_takes_a_law_that_is_no_network() {
        let folder = tempfile::tempdir().unwrap();
        let (run, _) = run(folder.path(), "run", false, None);
        let (out, log_q) = (folder.path().join("s.csv"), folder.path().join("q.csv"));
        assert_eq!(train(&["sample", text(&run), "--count", "2000", "--out", text(&out)]).unwrap(), Exit::Done);
        let samples = read_points(&out, None, None).unwrap().points;
        // 2000 points give the law its mean, and as many samples are drawn from it: sd √2 and √½ over √1000.
        for (column, (mean, sd)) in samples.columns().into_iter().zip([(3.0, 2f64.sqrt()), (-1.0, 0.5f64.sqrt())]) {
            let std_error = sd / 1000f64.sqrt();
            assert!((column.mean().unwrap() - mean).abs() < 5.0 * std_error);
        }
        train(&["density", text(&run), "--in", text(&out), "--out", text(&log_q)]).unwrap();
        let stored = StoredRun::open(&run, CheckpointSelector::Latest, None).unwrap();
        let shift = &stored.record.data.standardization;
        assert!(shift.scale[0] > 1.05, "a standardisation that does nothing tests nothing");
        // log q in the coordinates of the data: -log √(det 2πC) at the mean, det C = 2 · ½ - .36.
        let at_mean = folder.path().join("mean.csv");
        std::fs::write(&at_mean, "3,-1\n").unwrap();
        train(&["density", text(&run), "--in", text(&at_mean), "--out", text(&log_q)]).unwrap();
        let found = read_points(&log_q, None, None).unwrap().points[[0, 0]];
        let exact = -std::f64::consts::TAU.ln() - 0.5 * 0.64f64.ln();
        // Half the log-determinant of a covariance of n points has a standard error of √(2d/n)/2; scale² = 1.25.
        let std_error = 0.5 * (4.0f64 / 2000.0).sqrt();
        assert!(5.0 * std_error < 0.6 * 1.25f64.ln(), "too noisy to see a missing Jacobian");
        assert!((found - exact).abs() < 5.0 * std_error, "{found} against {exact}");
        assert_eq!(train(&["evaluate", text(&run), "--only", "w2,nll,kl_forward"]).unwrap(), Exit::Done);
        // KL of a Gaussian fitted to n points is d(d + 3)/4n = .00125.
        let kl = metric(&run, "kl_forward");
        let (value, error) = (kl["value"].as_f64().unwrap(), kl["std_error"].as_f64().unwrap());
        assert!(error < 0.005 && (value - 0.00125).abs() < 0.005 + 5.0 * error, "{kl}");
        assert_eq!(metric(&run, "density_valid")["value"], 1.0);
        assert_eq!(examined(&run), "exact law");
        assert_eq!(train(&["localize", text(&run), "--snr", "1", "--times", "0.5"]).unwrap(), Exit::Done);
        assert_eq!(train(&["chain", text(&run), "--steps", "5", "--particles", "50"]).unwrap(), Exit::Done);
    }

    #[test]
    fn a_law_with_nothing_but_draws_is_judged_by_them() {
        let folder = tempfile::tempdir().unwrap();
        let (run, _) = run(folder.path(), "run", true, None);
        assert!(metric(&run, "w2")["value"].is_number());
        assert_eq!(metric(&run, "nll"), Value::Null);
        let out = folder.path().join("q.csv");
        let points = folder.path().join("x.csv");
        std::fs::write(&points, "3,-1\n").unwrap();
        for words in [
            vec!["density", text(&run), "--in", text(&points), "--out", text(&out)],
            vec!["evaluate", text(&run), "--only", "nll"],
        ] {
            let error = train(&words).unwrap_err();
            assert_eq!((error.exit(), error.to_string().contains("has no log-density")), (Exit::BadInput, true));
        }
        assert!(!out.exists());
        assert_eq!(examined(&run), "draws");
        assert_eq!(
            train(&["localize", text(&run), "--snr", "1", "--times", "0.5", "--draws", "100"]).unwrap(),
            Exit::Done
        );
    }

    #[test]
    fn flags_and_sections_of_a_network_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (run, _) = run(folder.path(), "run", false, None);
        let out = folder.path().join("s.npy");
        for flag in [["--sampler", "heun"], ["--grid", "karras"], ["--steps", "5"], ["--sigma-max", "5"]] {
            let error =
                train(&["sample", text(&run), "--count", "5", "--out", text(&out), flag[0], flag[1]]).unwrap_err();
            assert_eq!(error.exit(), Exit::BadInput);
            let expected = format!("`{}` means nothing to the run moments, which was trained by `{NAME}`", flag[0]);
            assert_eq!(error.to_string(), expected);
        }
        assert!(!out.exists());
        let mut config = config(folder.path(), false);
        config.evaluation.steps = Some(18);
        let node = tree::parse("{\"evaluation\": {\n\"steps\": 18}}").unwrap();
        let mut mistakes = Mistakes::new(&node);
        consistency::check(&config, wiring(&config.method), &mut mistakes);
        let said: Vec<String> = mistakes.into_problems().iter().map(|problem| problem.describe("a.json")).collect();
        assert_eq!(
            said,
            [
                "a.json:2:10: `evaluation.steps`: this key belongs to `denoising_score_matching`, and `gaussian_moments` does not read \
              it; leave it out"
            ]
        );
    }

    #[test]
    fn a_map_carries_the_reference_to_the_law() {
        let law =
            GaussianMixture::new(vec![1.0], vec![vec![1.0, 2.0]], vec![vec![vec![2.0, 0.6], vec![0.6, 0.5]]]).unwrap();
        let sampler: Box<dyn TrainedSampler> = Box::new(GaussianLaw { law, is_hidden: false });
        let normal =
            GaussianMixture::new(vec![1.0], vec![vec![0.0; 2]], vec![vec![vec![1.0, 0.0], vec![0.0, 1.0]]]).unwrap();
        let y = to_points(GaussianLaw { law: normal.clone(), is_hidden: false }.sample(1, 0..50, &|| true).unwrap());
        let (x, log_det) = sampler.map().unwrap().transport(&y).unwrap();
        let found = sampler.log_density(&x, 0, 0, &|| true).unwrap().values;
        // q(T(y)) |det ∇T(y)| = ρ(y).
        for ((q, log_det), rho) in found.iter().zip(log_det).zip(densities(&normal, &y)) {
            assert!((q + log_det - rho).abs() < 1e-12, "{q} + {log_det} against {rho}");
        }
    }
}
