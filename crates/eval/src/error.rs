//! What can be wrong with an evaluation.

use brenier_measure::{MeasureError, Points};
use brenier_model::SamplerError;
use brenier_transport::TransportError;
use thiserror::Error;

/// Why an evaluation was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Points of different spaces.
    #[error("{a_name} have dimension {a}, {b_name} dimension {b}; both must live in one space")]
    DimensionMismatch {
        /// What the first points are.
        a_name: &'static str,
        /// Their dimension.
        a: usize,
        /// What the second points are.
        b_name: &'static str,
        /// Their dimension.
        b: usize,
    },
    /// Too few points to compute what was asked for.
    #[error(
        "there are {count} {name}; at least {least} are needed: raise `evaluation.count`, or the share of that part in `split`"
    )]
    TooFew {
        /// What the points are.
        name: &'static str,
        /// How many there are.
        count: usize,
        /// How many it takes.
        least: usize,
    },
    /// A coordinate that is NaN or infinite.
    #[error(
        "{name}: row {row}, column {column} is {value}; a sampler that makes such values has diverged: lower its step size or take more steps"
    )]
    NotFinite {
        /// What the points are.
        name: &'static str,
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// What stands there.
        value: f64,
    },
    /// Labels and points that do not match one to one.
    #[error("there are {labels} labels for {points} points; each point needs one")]
    Labels {
        /// How many labels.
        labels: usize,
        /// How many points.
        points: usize,
    },
    /// A noise level outside (0, ∞).
    #[error("noise level {index} is {sigma}; noise levels are positive and finite")]
    NoiseLevel {
        /// Which one, from 0.
        index: usize,
        /// Its value.
        sigma: f64,
    },
    /// Data points that are all one point.
    #[error(
        "the {count} data points looked at are all equal, so there is nothing to localize and every sampling grid is as good: \
         take grid `karras`"
    )]
    NoSpread {
        /// How many points.
        count: usize,
    },
    /// Data whose squares are no numbers of double precision.
    #[error(
        "the data points differ by {spread:e}, whose powers double precision does not hold: rescale them to a spread near 1"
    )]
    Spread {
        /// The largest difference of a coordinate from its mean.
        spread: f64,
    },
    /// A sampling grid without steps.
    #[error("a sampling grid of 0 steps; give at least 1")]
    NoSteps,
    /// A denoiser whose answer is NaN or infinite.
    #[error(
        "the denoiser answers with NaN or infinity at noise level {sigma}; take an earlier checkpoint, or lower the learning rate"
    )]
    Denoiser {
        /// The noise level.
        sigma: f64,
    },
    /// A signal-to-noise ratio outside (0, ∞).
    #[error("the signal-to-noise ratio is {value}; it must be positive and finite")]
    Snr {
        /// Its value.
        value: f64,
    },
    /// A time outside (0, ∞).
    #[error("a time or step of the chain is {value}; it must be positive and finite")]
    Time {
        /// Its value.
        value: f64,
    },
    /// An inverse temperature outside (0, ∞).
    #[error("the inverse temperature β is {value}; it must be positive and finite")]
    Beta {
        /// Its value.
        value: f64,
    },
    /// A richness below 1.
    #[error("the richness M is {value}; a perturbation has M ≥ 1, and 1 is a shift")]
    Richness {
        /// Its value.
        value: f64,
    },
    /// Too few draws for a standard error.
    #[error("{count} draws of the noisy law have no standard error; ask for at least two, better for thousands")]
    Draws {
        /// How many.
        count: usize,
    },
    /// Quadrature asked for in more than one dimension.
    #[error("quadrature is made for the line, and this measure has dimension {dim}; use Monte Carlo")]
    NotALine {
        /// The dimension.
        dim: usize,
    },
    /// A posterior with a number that is NaN or infinite.
    #[error(
        "the posterior at signal-to-noise ratio {snr} and y = {y} has a density, mean or covariance that is NaN or \
         infinite; rescale the data"
    )]
    Posterior {
        /// The signal-to-noise ratio.
        snr: f64,
        /// The place.
        y: f64,
    },
    /// A posterior covariance whose norm is NaN or infinite.
    #[error(
        "the posterior covariance at signal-to-noise ratio {snr} has norm {value} at draw {row}; rescale \
         data whose coordinates lie too far apart for f64, and of a network that has diverged take an earlier checkpoint"
    )]
    Localization {
        /// The signal-to-noise ratio.
        snr: f64,
        /// The draw, from 0.
        row: usize,
        /// The norm.
        value: f64,
    },
    /// A density that does not integrate to one.
    #[error(
        "the density at signal-to-noise ratio {snr} integrates to {mass} instead of 1, so the posterior is not that of the \
         draws; use Monte Carlo"
    )]
    Mass {
        /// The signal-to-noise ratio.
        snr: f64,
        /// Its integral.
        mass: f64,
    },
    /// The watcher of the work asked for a stop.
    #[error("interrupted before the end")]
    Interrupted,
    /// A distance that could not be computed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Log-densities or weights that no measure has.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// A normaliser that is no number.
    #[error("log Z is {value}; it must be finite. Leave it out where it is unknown")]
    LogNormalizer {
        /// Its value.
        value: f64,
    },
    /// A log-density at a sample of the target that cannot be.
    #[error(
        "target samples: {name} at row {row} is {value}; the target has a density at its own samples, and no density is \
         NaN or infinite: check that samples and target belong together"
    )]
    TargetLogDensity {
        /// Which log-density.
        name: &'static str,
        /// The row, from 0.
        row: usize,
        /// Its value.
        value: f64,
    },
    /// Log-densities of different lengths.
    #[error("target samples: {log_p} log-densities of the target and {log_q} of the sampler; each sample needs both")]
    TargetLengths {
        /// How many of the target.
        log_p: usize,
        /// How many of the sampler.
        log_q: usize,
    },
    /// A component of a mixture without a density.
    #[error(
        "component {component} of the mixture has a singular covariance, so no point has a responsibility; give it some \
         variance"
    )]
    SingularComponent {
        /// Which one, from 0.
        component: usize,
    },
    /// An array of another shape than the points ask for.
    #[error("{name} have shape [{}, {}]; [{}, {}] was expected, a row for each point", .found.0, .found.1, .expected.0, .expected.1)]
    Shape {
        /// What the array holds.
        name: &'static str,
        /// Its shape.
        found: (usize, usize),
        /// The shape that was expected.
        expected: (usize, usize),
    },
    /// A map whose images are one point.
    #[error("{name} is constant on these points, so there is no variance to explain; take a map that moves them apart")]
    ConstantMap {
        /// Which map.
        name: &'static str,
    },
    /// An optimal cost that no coupling of these points has.
    #[error(
        "the exact cost is {cost}, but the map moves these points at the cost {moved}: an optimum is between 0 and that, so \
         it belongs to other points"
    )]
    ExactCost {
        /// The cost given as optimal.
        cost: f64,
        /// The cost of the map.
        moved: f64,
    },
    /// Dual potentials that do not match the points.
    #[error("there are {a} and {b} potentials for {points} points and as many images; each needs one")]
    Potentials {
        /// How many on the side of the points.
        a: usize,
        /// How many on the side of the images.
        b: usize,
        /// How many points.
        points: usize,
    },
    /// A Jacobian whose eigenvalues were not found.
    #[error("the eigenvalues of the Jacobian of row {row} did not converge; its entries may lie too far apart")]
    JacobianEigenvalues {
        /// The row, from 0.
        row: usize,
    },
    /// A parameter of a chain out of range.
    #[error("{name} is {value}; it must be {expected}")]
    ChainParameter {
        /// Which parameter.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// A chain that ends where nothing but noise is left in f64.
    #[error(
        "{steps} steps of size {eta} go to time {horizon}, where the signal is e^-{horizon}; lower the steps or the size so \
         that their product is at most {most}"
    )]
    ChainHorizon {
        /// The number of steps.
        steps: usize,
        /// The step size.
        eta: f64,
        /// Their product.
        horizon: f64,
        /// The most it may be.
        most: f64,
    },
    /// A start or a denoiser that does not live in the space of the target.
    #[error("{name} has dimension {found}, the target {expected}; both must live in one space")]
    ChainDimension {
        /// What it is.
        name: &'static str,
        /// Its dimension.
        found: usize,
        /// That of the target.
        expected: usize,
    },
    /// A chain that left the numbers.
    #[error("{direction} chain: particle {index} became {value}; take a smaller step size, and as many more steps")]
    ChainDiverged {
        /// Which chain.
        direction: &'static str,
        /// Which particle.
        index: u64,
        /// What it became.
        value: f64,
    },
    /// A sampler that refused.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// A pooled covariance whose eigenvalues were not found.
    #[error(
        "the covariance of both samples together has no eigenvalues that f64 can find; their coordinates may lie too far \
         apart. Rescale them"
    )]
    PooledCovariance,
}

/// Refuses points that are too few or not finite.
pub(crate) fn check(name: &'static str, points: &Points, least: usize) -> Result<(), EvalError> {
    if points.nrows() < least || points.ncols() == 0 {
        return Err(EvalError::TooFew { name, count: points.nrows(), least });
    }
    match points.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), &value)) => Err(EvalError::NotFinite { name, row, column, value }),
        None => Ok(()),
    }
}

/// Refuses points of different dimensions.
pub(crate) fn check_dims(a: (&'static str, &Points), b: (&'static str, &Points)) -> Result<(), EvalError> {
    if a.1.ncols() == b.1.ncols() {
        return Ok(());
    }
    Err(EvalError::DimensionMismatch { a_name: a.0, a: a.1.ncols(), b_name: b.0, b: b.1.ncols() })
}
