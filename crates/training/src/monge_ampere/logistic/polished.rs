//! Stages of Algorithm 1, and a polish after them or in their place: one method in two phases.

use std::sync::Arc;

use brenier_measure::expectation_maximization::Moments;
use brenier_measure::{GaussianMixture, Points};
use brenier_model::TrainedSampler;
use brenier_model::monge_ampere::{FreeRidges, LearnablePotential, MapSampler, RidgeSum};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{
    FIRST, Iterate, MOST_COEFFICIENTS, MongeAmpereLogistic, MongeAmpereLogisticConfig, MongeAmpereState,
    check_reference, constant_column,
};
use crate::error::TrainingError;
use crate::fit::Flow;
use crate::method::{Files, Method, Observe, Scalars};
use crate::monge_ampere::polish::{Descender, Polish, PolishConfig, PolishState, PotentialConfig};
use crate::monge_ampere::reference::ReferenceConfig;
use crate::source::Source;

/// The file of a checkpoint in the second phase.
const STATE: &str = "polish.json";

/// The height of all ridges where a polish starts from the identity: at 0 nothing says where a ridge should lie.
const FIRST_HEIGHT: f64 = 0.004;

/// Both phases with their data at hand.
pub struct PolishedMap {
    config: MongeAmpereLogisticConfig,
    stages: Option<MongeAmpereLogistic>,
    polish: Polish,
    source: Source,
    held_out: Points,
    seed: u64,
    go_on: fn() -> bool,
}

/// How far the phases have come.
pub enum PolishedState {
    /// In the stages.
    Stages(Box<MongeAmpereState>),
    /// In the polish.
    Polish(Box<PolishPhase>),
}

/// The second phase, and what the first one left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolishPhase {
    /// The stages that were done.
    stages: u64,
    /// The negative log-likelihood of held-out points after them.
    stages_nll: Option<f64>,
    polish: PolishState,
}

impl PolishedState {
    /// The state that a checkpoint holds.
    ///
    /// # Errors
    ///
    /// A missing file, or one of another method.
    pub fn from_files(files: &Files) -> Result<Self, TrainingError> {
        let Some(bytes) = files.get(STATE) else {
            return Ok(Self::Stages(Box::new(MongeAmpereState::from_files(files)?)));
        };
        let foreign = |reason: String| TrainingError::ForeignWeights { file: STATE.into(), reason };
        let phase: PolishPhase = serde_json::from_slice(bytes).map_err(|error| foreign(error.to_string()))?;
        if !phase.polish.is_consistent() {
            return Err(foreign("its parts have different sizes, or numbers that make no potential".to_owned()));
        }
        Ok(Self::Polish(Box::new(phase)))
    }

    /// The law as it stands.
    pub fn sampler(&self, iterate: Iterate) -> MapSampler {
        match self {
            Self::Stages(state) => state.sampler(iterate),
            Self::Polish(phase) => phase.polish.sampler(),
        }
    }
}

impl PolishedMap {
    /// Both phases for the points of a source, without stages where their number is 0.
    ///
    /// # Errors
    ///
    /// What either refuses.
    pub fn new(
        config: MongeAmpereLogisticConfig,
        polish: PolishConfig,
        source: Source,
        held_out: Points,
        seed: u64,
        go_on: fn() -> bool,
    ) -> Result<Self, TrainingError> {
        let (points, noise) = (source.points(seed, FIRST), source.noise());
        if let Some(column) = constant_column(&points, &noise) {
            return Err(TrainingError::ConstantColumn { column });
        }
        let coefficients = config.ridges.most_coefficients(points.ncols());
        if config.potential == PotentialConfig::Ridges && coefficients > MOST_COEFFICIENTS {
            return Err(TrainingError::TooManyCoefficients { count: coefficients, most: MOST_COEFFICIENTS });
        }
        check_reference(&config.reference, &points, &noise, &held_out, seed)?;
        if polish.refit.is_some() && !matches!(config.reference, ReferenceConfig::FittedMixture(_)) {
            return Err(TrainingError::NothingToRefit { reference: config.reference.name() });
        }
        let pieces = match &config.potential {
            PotentialConfig::LogSumExp(pieces) => Some(*pieces),
            PotentialConfig::Ridges | PotentialConfig::InputConvex(_) | PotentialConfig::Automatic => None,
        };
        let fitted_by = config.reference.fitted_by();
        Ok(Self {
            stages: (config.stages > 0)
                .then(|| MongeAmpereLogistic::new(config.clone(), source.clone(), held_out.clone(), seed))
                .transpose()?
                .map(|stages| stages.while_told(go_on)),
            polish: Polish::new(polish, pieces, source.clone(), held_out.clone(), seed, fitted_by, go_on)?,
            config,
            source,
            held_out,
            seed,
            go_on,
        })
    }

    /// The same, which knows the law of the data in their coordinates.
    #[must_use]
    pub fn with_law(mut self, law: Option<GaussianMixture>) -> Self {
        self.stages = self.stages.map(|stages| stages.with_law(law));
        self
    }

    /// Where a polish without stages starts, if it makes no start of its own.
    fn first(&self, reference: &Moments) -> Result<Option<LearnablePotential>, TrainingError> {
        if let PotentialConfig::LogSumExp(_) = &self.config.potential {
            return Ok(None);
        }
        let points = self.source.first_points(self.seed, FIRST);
        let ridges = self.config.ridges.choose_with(&points, Some(&reference.mixture()?), self.seed);
        Ok(Some(match self.polish.by() {
            Descender::Adam => {
                LearnablePotential::Ridges(Box::new(FreeRidges::near_identity(&ridges, FIRST_HEIGHT, &points)))
            }
            Descender::Fisher => {
                let identity = ridges.identity();
                let start = RidgeSum::new(Arc::new(ridges), identity).expect("curvatures of the identity");
                LearnablePotential::LinearRidges(start.into())
            }
        }))
    }

    /// Where one after stages starts.
    fn after(&self, state: &MongeAmpereState) -> Result<PolishPhase, TrainingError> {
        let (reference, potential) = state.reference_and_potential(self.config.iterate);
        let start = match self.polish.by() {
            Descender::Adam => LearnablePotential::Ridges(Box::new(FreeRidges::from(&potential))),
            Descender::Fisher => LearnablePotential::LinearRidges(potential.into()),
        };
        let nll = state.iterates.nll(self.config.iterate);
        Ok(PolishPhase {
            stages: state.step,
            stages_nll: nll.is_finite().then_some(nll),
            polish: self.polish.start(Some(start), true, reference)?,
        })
    }
}

impl Method for PolishedMap {
    type State = PolishedState;

    fn steps(&self) -> u64 {
        self.config.stages.saturating_add(self.polish.steps())
    }

    fn start(&self) -> Result<PolishedState, TrainingError> {
        if let Some(stages) = &self.stages {
            return Ok(PolishedState::Stages(Box::new(stages.start()?)));
        }
        let (points, noise) = (self.source.points(self.seed, FIRST), self.source.noise());
        let reference = self.config.reference.build(&points, &noise, &self.held_out, self.seed, self.go_on)?;
        let first = self.first(&reference)?;
        // Pieces start at the transport of the points.
        let is_learnt = first.is_none();
        let polish = self.polish.start(first, is_learnt, reference)?;
        Ok(PolishedState::Polish(Box::new(PolishPhase { stages: 0, stages_nll: None, polish })))
    }

    fn resume(&self, files: &Files) -> Result<PolishedState, TrainingError> {
        PolishedState::from_files(files)
    }

    fn files(&self, state: &PolishedState) -> Files {
        match state {
            PolishedState::Stages(state) => self.stages.as_ref().map_or_else(Files::new, |stages| stages.files(state)),
            PolishedState::Polish(phase) => {
                Files::from([(STATE.to_owned(), serde_json::to_vec(phase).expect("finite numbers"))])
            }
        }
    }

    fn step(&self, state: &PolishedState) -> u64 {
        match state {
            PolishedState::Stages(state) => state.step,
            PolishedState::Polish(phase) => phase.stages + phase.polish.step(),
        }
    }

    fn is_done(&self, state: &PolishedState) -> bool {
        match state {
            PolishedState::Stages(_) => false,
            PolishedState::Polish(phase) => self.polish.is_done(&phase.polish),
        }
    }

    fn train(&self, state: &mut PolishedState, observe: &mut Observe<PolishedState>) -> Result<(), TrainingError> {
        if let Some(stages) = &self.stages {
            let setting = match &*state {
                PolishedState::Stages(own) => Some(stages.setting(own)),
                PolishedState::Polish(_) => None,
            };
            while let (PolishedState::Stages(own), Some(setting)) = (&mut *state, &setting) {
                if stages.is_done(own) {
                    stages.warn_at_the_end(own);
                    let phase = match self.after(own) {
                        // Told of once more, so that the stages are stored.
                        Err(TrainingError::Interrupted) => return observe(state, &[]).map(drop),
                        phase => phase?,
                    };
                    let nll = phase.stages_nll.unwrap_or(f64::NAN);
                    info!(
                        "{} stages are done, held-out negative log-likelihood {nll:.4}; the polish begins",
                        phase.stages
                    );
                    *state = PolishedState::Polish(Box::new(phase));
                    break;
                }
                stages.stage(own, setting)?;
                let said = own.said.clone();
                if observe(state, &said)? == Flow::Stop {
                    return Ok(());
                }
            }
        }
        while let PolishedState::Polish(phase) = state {
            if self.polish.is_done(&phase.polish) {
                break;
            }
            self.polish.advance(&mut phase.polish)?;
            let said = phase.polish.said();
            if observe(state, &said)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    fn means(&self, state: &mut PolishedState) -> Scalars {
        match state {
            PolishedState::Stages(state) => state.said.clone(),
            PolishedState::Polish(phase) => phase.polish.said(),
        }
    }

    fn held_out(&self, state: &PolishedState) -> (&'static str, f64) {
        let nll = match state {
            PolishedState::Stages(state) => state.iterates.nll(self.config.iterate),
            PolishedState::Polish(phase) => self.polish.held_out_nll(&phase.polish),
        };
        ("held_out_nll", nll)
    }

    fn sampler(&self, state: &PolishedState) -> Box<dyn TrainedSampler> {
        Box::new(state.sampler(self.config.iterate))
    }
}
