//! Counter-based random streams: every draw is a function of (seed, purpose, step, index).
//!
//! # Design
//!
//! A [`Stream`] holds no state. [`Stream::at`] opens the words that belong to one step and one
//! index, so a draw depends neither on the batch it travelled in, nor on the thread that made it,
//! nor on what was drawn before. Normals come from the inverse distribution function, one word
//! each, and every elementary function is the portable one of `libm`: draws are equal on every
//! machine.

use pulp::{Arch, NullaryFnOnce};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a draw is for; streams of different purposes never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// The permutation that splits a data set.
    Split = 1,
    /// Initial parameters of a network.
    Initialization = 2,
    /// Which points (or which fresh draws of a target) enter a batch.
    Batch = 3,
    /// The noise levels of a batch.
    NoiseLevel = 4,
    /// The noise added to a batch.
    Noise = 5,
    /// The starting points of a sampler.
    Reference = 6,
    /// The noise that a stochastic sampler injects.
    SamplerNoise = 7,
    /// Fresh draws of a target that an evaluation compares with.
    Evaluation = 8,
    /// Subsets, projections and resamples inside a metric.
    Metric = 9,
    /// Points and noise of the held-out loss.
    HeldOut = 10,
    /// Probe vectors of a stochastic trace.
    Probe = 11,
    /// Noise that belongs to the data set itself (instance noise).
    InstanceNoise = 12,
    /// Draws of an exact target that fix its standardised coordinates.
    Coordinates = 13,
    /// Noise of the denoising loss at every noise level.
    DenoisingLoss = 14,
    /// Draws of a noisy law whose posterior covariance is examined.
    Localization = 15,
    /// Starts and noise of a diffuse-then-denoise chain.
    Chain = 16,
    /// The data points, draws and starts that a sampling grid is computed from.
    SamplingGrid = 17,
    /// The points of a target that consists of a fixed number of draws.
    Drawn = 18,
    /// Starts of a mixture that is fitted.
    MixtureStart = 19,
    /// Points of a reference that a map is learnt from.
    Pool = 20,
    /// Directions of a ridge sum, and the draws that its knots fit.
    Ridges = 21,
    /// Which points enter a logistic regression.
    Part = 22,
    /// The rotation of a rotated target.
    Rotation = 23,
    /// Starts of particles.
    Particles = 24,
    /// Which particles survive.
    Resampling = 25,
    /// Momenta and acceptance of the moves of particles.
    Moves = 26,
    /// Draws about the modes that an optimiser found.
    Modes = 27,
    /// Points of the polish of a map.
    Polish = 28,
    /// Points of the reference, and places of a batch, in a descent on the semi-dual.
    SemiDual = 29,
    /// Points whose empirical posterior stands for that of their law.
    Subsets = 30,
}

/// All words of one (seed, purpose).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    seed: u64,
    purpose: Purpose,
}

/// Log₂ of the number of 32-bit words that one index owns.
const WORDS_PER_INDEX_LOG2: u32 = 28;

impl Stream {
    /// The stream of one seed and one purpose.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self { seed, purpose }
    }

    /// The words of one step and one index (`index < 2⁴⁰`, at most 2²⁷ draws each).
    pub fn at(&self, step: u64, index: u64) -> Words {
        debug_assert!(index < 1 << 40);
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&(self.purpose as u64).to_le_bytes());
        key[16..23].copy_from_slice(b"brenier");
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(step);
        generator.set_word_pos(u128::from(index) << WORDS_PER_INDEX_LOG2);
        Words { generator }
    }

    /// A uniformly random permutation of `0..n` (Fisher-Yates).
    pub fn permutation(&self, step: u64, n: usize) -> Vec<usize> {
        let mut words = self.at(step, 0);
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, words.below(last as u64 + 1) as usize);
        }
        order
    }
}

/// The random words of one index, read in order.
#[derive(Debug, Clone)]
pub struct Words {
    generator: ChaCha8Rng,
}

impl Words {
    /// A uniform number in the open interval (0, 1), symmetric about ½, from one 64-bit word.
    pub fn uniform(&mut self) -> f64 {
        ((self.generator.next_u64() >> 12) as f64 + 0.5) * (-52f64).exp2()
    }

    /// A uniform integer in `0..n` from one 64-bit word (bias below n·2⁻⁶⁴).
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.generator.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// A standard normal from one 64-bit word, by [`normal_quantile`].
    pub fn normal(&mut self) -> f64 {
        normal_quantile(self.uniform())
    }

    /// Fills a slice with independent standard normals, those that as many calls of [`normal`](Self::normal) give.
    pub fn fill_normal(&mut self, out: &mut [f64]) {
        for part in out.chunks_mut(PART) {
            part.fill_with(|| self.uniform());
            normal_quantiles(part);
        }
    }

    /// An index drawn with probabilities `weights[i]`, given their running sums (the last is 1).
    pub fn category(&mut self, cumulative: &[f64]) -> usize {
        let u = self.uniform() * cumulative.last().copied().unwrap_or(1.0);
        cumulative.partition_point(|&c| c <= u).min(cumulative.len().saturating_sub(1))
    }

    /// A random sign, ±1 with equal probability.
    pub fn sign(&mut self) -> f64 {
        if self.generator.next_u64() >> 63 == 0 { 1.0 } else { -1.0 }
    }
}

/// Numbers whose quantiles are found side by side.
const PART: usize = 128;

/// [`normal_quantile`] of at most [`PART`] numbers in place, to the same bits: the rational function of the middle, where 85 of 100 lie, for all of
/// them in a loop that the compiler vectorises, then that of the tails for those that lie there.
fn normal_quantiles(numbers: &mut [f64]) {
    let mut middle = [0.0; PART];
    Arch::new().dispatch(Middle { numbers, quantiles: &mut middle });
    for (number, quantile) in numbers.iter_mut().zip(middle) {
        let q = *number - 0.5;
        *number = if q.abs() <= MIDDLE { quantile } else { tail_quantile(*number) };
    }
}

struct Middle<'a> {
    numbers: &'a [f64],
    quantiles: &'a mut [f64],
}

impl NullaryFnOnce for Middle<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.quantiles.iter_mut().zip(self.numbers).for_each(|(quantile, p)| *quantile = middle_quantile(*p));
    }
}

#[inline(always)]
fn horner(coefficients: [f64; 8], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

/// `Φ⁻¹(p)` for p in (0, 1), to a relative accuracy of about 10⁻¹⁶.
///
/// Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37 (1988).
pub fn normal_quantile(p: f64) -> f64 {
    if (p - 0.5).abs() <= MIDDLE { middle_quantile(p) } else { tail_quantile(p) }
}

/// How far the middle reaches from ½.
const MIDDLE: f64 = 0.425;

/// The quantile within [`MIDDLE`] of ½.
#[inline(always)]
fn middle_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    let r = 0.180_625 - q * q;
    q * horner(
        [
            3.387_132_872_796_366_5,
            133.141_667_891_784_38,
            1_971.590_950_306_551_3,
            13_731.693_765_509_46,
            45_921.953_931_549_87,
            67_265.770_927_008_7,
            33_430.575_583_588_13,
            2_509.080_928_730_122_7,
        ],
        r,
    ) / horner(
        [
            1.0,
            42.313_330_701_600_91,
            687.187_007_492_057_9,
            5_394.196_021_424_751,
            21_213.794_301_586_597,
            39_307.895_800_092_71,
            28_729.085_735_721_943,
            5_226.495_278_852_855,
        ],
        r,
    )
}

/// The quantile farther than [`MIDDLE`] from ½.
fn tail_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = libm::sqrt(-libm::log(tail));
    let magnitude = if r <= 5.0 {
        let r = r - 1.6;
        horner(
            [
                1.423_437_110_749_683_5,
                4.630_337_846_156_546,
                5.769_497_221_460_691,
                3.647_848_324_763_204_5,
                1.270_458_252_452_368_4,
                0.241_780_725_177_450_6,
                0.022_723_844_989_269_184,
                7.745_450_142_783_414e-4,
            ],
            r,
        ) / horner(
            [
                1.0,
                2.053_191_626_637_759,
                1.676_384_830_183_803_8,
                0.689_767_334_985_1,
                0.148_103_976_427_480_08,
                0.015_198_666_563_616_457,
                5.475_938_084_995_345e-4,
                1.050_750_071_644_416_9e-9,
            ],
            r,
        )
    } else {
        let r = r - 5.0;
        horner(
            [
                6.657_904_643_501_103,
                5.463_784_911_164_114,
                1.784_826_539_917_291_3,
                0.296_560_571_828_504_87,
                0.026_532_189_526_576_124,
                0.001_242_660_947_388_078_4,
                2.711_555_568_743_487_6e-5,
                2.010_334_399_292_288_1e-7,
            ],
            r,
        ) / horner(
            [
                1.0,
                0.599_832_206_555_887_9,
                0.136_929_880_922_735_8,
                0.014_875_361_290_850_615,
                7.868_691_311_456_133e-4,
                1.846_318_317_510_054_8e-5,
                1.421_511_758_316_446e-7,
                2.044_263_103_389_939_8e-15,
            ],
            r,
        )
    };
    if q < 0.0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_quantile_inverts_the_distribution_function() {
        let phi = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
        for p in [1e-300, 1e-60, 1e-12, 1e-5, 0.01, 0.07, 0.075, 0.3, 0.5, 0.8, 0.99] {
            let back = phi(normal_quantile(p));
            assert!((back / p - 1.0).abs() < 1e-12, "p = {p}: {back}");
        }
        assert_eq!(normal_quantile(0.25), -normal_quantile(0.75));
    }

    #[test]
    fn a_draw_depends_on_seed_purpose_step_and_index_alone() {
        let stream = Stream::new(7, Purpose::Noise);
        let first = stream.at(3, 5).normal();
        assert_eq!(first, stream.at(3, 5).normal());
        for other in [
            stream.at(3, 6).normal(),
            stream.at(4, 5).normal(),
            Stream::new(8, Purpose::Noise).at(3, 5).normal(),
            Stream::new(7, Purpose::Batch).at(3, 5).normal(),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn many_normals_are_the_same_as_one_after_the_other() {
        for n in [1, 7, 128, 1000] {
            let (mut many, mut one) = (vec![0.0; n], Stream::new(5, Purpose::Noise).at(2, 9));
            Stream::new(5, Purpose::Noise).at(2, 9).fill_normal(&mut many);
            assert!(many.iter().all(|z| z.to_bits() == one.normal().to_bits()), "{n}");
        }
    }

    #[test]
    fn draws_are_pinned() {
        // The bits of results depend on these: a change here is a change of every run.
        let mut words = Stream::new(0, Purpose::Noise).at(0, 0);
        let drawn: Vec<u64> = (0..2).map(|_| words.normal().to_bits()).collect();
        assert_eq!(drawn, PINNED);
    }
    const PINNED: [u64; 2] = [13835341860920349341, 4606591299991598851];

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let n = 200_000u64;
        let stream = Stream::new(1, Purpose::Noise);
        let mut sums = [0.0; 4];
        for index in 0..n {
            let z = stream.at(0, index).normal();
            for (k, sum) in sums.iter_mut().enumerate() {
                *sum += z.powi(k as i32 + 1) / n as f64;
            }
        }
        // Variances of z, z², z³, z⁴ are 1, 2, 15, 96.
        for (mean, (exact, variance)) in sums.iter().zip([(0.0, 1.0), (1.0, 2.0), (0.0, 15.0), (3.0, 96.0f64)]) {
            assert!((mean - exact).abs() < 5.0 * (variance / n as f64).sqrt(), "{mean} against {exact}");
        }
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut order = Stream::new(2, Purpose::Split).permutation(0, 101);
        assert_ne!(order, (0..101).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..101).collect::<Vec<_>>());
    }
}
