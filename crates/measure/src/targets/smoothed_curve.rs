//! Plane curves smoothed by Gaussian noise: what two_moons, s_curve, swiss_roll and spirals have in common.

use crate::measure::Sample;
use crate::mixture::GaussianMixture;
use crate::quadrature::gauss_legendre;
use crate::random::Words;

/// The law of `a(T) + s Z`: an arm of the curve (all equally likely), a random parameter T on it, and noise of
/// standard deviation s.
///
/// The density `∫ N(x; a(t), s²I) p(t) dt` is computed by Gauss-Legendre quadrature: each arm is cut into panels of
/// equal probability, 32 nodes each, as many as it takes for the longest panel to be at most 8 s long. That is a mixture
/// of equal Gaussians about the nodes, which brings the score, the denoiser and every noise level with it. Its
/// log-density is within 10⁻¹⁰ (relative where it exceeds 1) of the integral for coordinates up to 2.5, 10⁻⁶ up to 5.
#[derive(Debug, Clone)]
pub struct SmoothedCurve {
    arms: Vec<Arm>,
    noise: f64,
}

/// A smooth piece of a curve.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arm {
    /// The least parameter.
    pub start: f64,
    /// The largest.
    pub end: f64,
    /// The law of the parameter between them.
    pub law: ParameterLaw,
    /// The point a(t).
    pub position: fn(f64) -> [f64; 2],
}

/// How the parameter of an arm is distributed on `[start, end]`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ParameterLaw {
    /// Evenly.
    Uniform,
    /// With a density proportional to t.
    Linear,
}

/// Nodes of one panel.
const NODES: usize = 32;
/// The length of a panel over the noise.
const PANEL_LENGTH: f64 = 8.0;
/// Below this noise a quadrature would need tens of thousands of nodes.
const LEAST_NOISE_WITH_DENSITY: f64 = 0.01;

impl Arm {
    /// The parameter below which lies a share u of the arm.
    fn quantile(&self, u: f64) -> f64 {
        let Self { start, end, .. } = *self;
        match self.law {
            ParameterLaw::Uniform => start + (end - start) * u,
            ParameterLaw::Linear => (start * start + (end * end - start * start) * u).sqrt(),
        }
    }

    /// The density of the parameter.
    fn density(&self, t: f64) -> f64 {
        let Self { start, end, .. } = *self;
        match self.law {
            ParameterLaw::Uniform => 1.0 / (end - start),
            ParameterLaw::Linear => 2.0 * t / (end * end - start * start),
        }
    }

    /// The length of the curve between two parameters, by chords.
    fn length(&self, start: f64, end: f64) -> f64 {
        let point = |i: u32| (self.position)(start + (end - start) * f64::from(i) / 16.0);
        (0..16)
            .map(|i| {
                let ([x0, y0], [x1, y1]) = (point(i), point(i + 1));
                (x1 - x0).hypot(y1 - y0)
            })
            .sum()
    }

    /// The ends of panels of equal probability, none longer than `longest`.
    fn panels(&self, longest: f64) -> Vec<f64> {
        let mut count = 1;
        loop {
            let ends: Vec<f64> = (0..=count).map(|i| self.quantile(f64::from(i) / f64::from(count))).collect();
            if ends.windows(2).all(|panel| self.length(panel[0], panel[1]) <= longest) {
                return ends;
            }
            count += 1 + count / 8;
        }
    }
}

impl SmoothedCurve {
    /// The curve made of these arms, with noise `noise ≥ 0`.
    pub(crate) fn new(arms: Vec<Arm>, noise: f64) -> Self {
        Self { arms, noise }
    }

    /// The standard deviation of the noise.
    pub fn noise(&self) -> f64 {
        self.noise
    }

    /// The law by quadrature, with density, score and denoiser; `None` for noise below 0.01, which has a sampler alone.
    pub fn quadrature(&self) -> Option<GaussianMixture> {
        (self.noise >= LEAST_NOISE_WITH_DENSITY).then(|| self.quadrature_with(PANEL_LENGTH))
    }

    fn quadrature_with(&self, panel_length: f64) -> GaussianMixture {
        let rule = gauss_legendre(NODES);
        let (mut weights, mut points) = (Vec::new(), Vec::new());
        for arm in &self.arms {
            for panel in arm.panels(panel_length * self.noise).windows(2) {
                let (middle, half) = (f64::midpoint(panel[0], panel[1]), (panel[1] - panel[0]) / 2.0);
                for (x, weight) in &rule {
                    let t = middle + half * x;
                    weights.push(weight * half * arm.density(t) / self.arms.len() as f64);
                    points.push((arm.position)(t).to_vec());
                }
            }
        }
        GaussianMixture::about_points(&weights, points, self.noise)
    }
}

impl Sample for SmoothedCurve {
    fn dim(&self) -> usize {
        2
    }

    /// One word for the arm, one for the parameter, two for the noise.
    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        let arm = &self.arms[words.below(self.arms.len() as u64) as usize];
        let position = (arm.position)(arm.quantile(words.uniform()));
        for (x, a) in point.iter_mut().zip(position) {
            *x = a + self.noise * words.normal();
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};
    use ndarray::Array2;

    use super::*;
    use crate::measure::{Measure, to_points, to_tensor};
    use crate::targets::{s_curve, spirals, swiss_roll, two_moons};

    #[test]
    fn twice_the_nodes_change_nothing() {
        let device = Device::flex();
        for curve in [two_moons(), s_curve(0.1), swiss_roll(0.1), spirals(0.1), spirals(0.3)] {
            for (reach, tolerance) in [(2.5, 1e-10), (5.0, 1e-6)] {
                let grid = |i: usize| reach * (i as f64 / 6.0 - 1.0);
                let x = Array2::from_shape_fn((169, 2), |(i, j)| grid(if j == 0 { i / 13 } else { i % 13 }));
                let at = |mixture: GaussianMixture| {
                    let x = to_tensor(&x, DType::F64, &device);
                    to_points(mixture.log_density(x).unsqueeze_dim::<2>(1))
                };
                let (coarse, fine) = (at(curve.quadrature().unwrap()), at(curve.quadrature_with(PANEL_LENGTH / 2.0)));
                for (a, b) in coarse.iter().zip(&fine) {
                    assert!((a - b).abs() < tolerance * b.abs().max(1.0), "{a} against {b} within {reach}");
                }
            }
        }
    }
}
