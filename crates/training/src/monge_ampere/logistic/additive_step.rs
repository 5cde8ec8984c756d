//! The evolution variational inequality of stages that add up: in closed form on the side of the data.

use brenier_measure::{Estimate, GaussianMixture, Points, to_points, to_tensor};
use brenier_model::monge_ampere::{RidgeFunction, RidgeSum, SmoothFunction, conjugate};
use burn::tensor::{DType, Device};
use ndarray::{Array1, s};

use crate::monge_ampere::inequality::{Inequality, difference, log_density};
use crate::monge_ampere::pool::Pool;
use crate::monge_ampere::semi_dual::{Curvature, FeatureMeans};

/// Points on each side at which forces are asked for, and those at which densities are, whose tails are heavy.
const MEASURED: usize = 1000;
const WITH_DENSITY: usize = 8000;

/// A step `φ_{k+1} = φ_k + η_k h_k`.
pub struct AdditiveStep<'a> {
    /// φ_k.
    pub before: &'a RidgeSum,
    /// φ_{k+1}.
    pub after: &'a RidgeSum,
    /// η_k.
    pub step_size: f64,
    /// h_k at features that are 0.
    pub constant: f64,
    /// e^{-g}.
    pub reference: &'a GaussianMixture,
    /// Pairs of φ_k.
    pub pool: &'a Pool,
    /// Their points x under φ_{k+1}.
    pub image: &'a Points,
    /// Means of the features over the data.
    pub means: &'a FeatureMeans,
    /// Points of the data.
    pub data: &'a Points,
    /// `J(φ_k) - J(φ_{k+1})`, which is what B_g falls by.
    pub fall: f64,
}

impl AdditiveStep<'_> {
    /// Both sides, with the divergences by the density of the target where it is known, else by h; `None` where a density is not there.
    ///
    /// In dual coordinates `ξ = (∇²φ)⁻¹∇h` at the data themselves, and m is one over the largest eigenvalue of `∇²φ_{k+1}`.
    pub fn inequality(&self, law: Option<&GaussianMixture>) -> Option<Inequality> {
        let ridges = self.before.ridges();
        let moved = self.after.coefficients().iter().zip(self.before.coefficients());
        let weights = Array1::from_iter(moved.map(|(after, before)| (after - before) / self.step_size));
        let of_sampler = FeatureMeans::of(ridges, &self.pool.x).features.dot(&weights) + self.constant;
        let of_data = self.means.features.dot(&weights) + self.constant;
        let most = if law.is_some() { WITH_DENSITY } else { MEASURED };
        let (x, data) = (first(&self.pool.x, most), first(self.data, most));
        let (kl, reverse_kl) = match law {
            None => (exactly(of_sampler), exactly(-of_data)),
            Some(law) => {
                let ratio = |x: &Points| log_ratios(self.before, self.reference, law, x);
                (Estimate::mean(ratio(&x)), Estimate::mean(ratio(&data).into_iter().map(|ratio| -ratio)))
            }
        };
        let h = SmoothFunction::Ridges(RidgeFunction {
            ridges: ridges.as_ref().clone(),
            coefficients: weights.to_vec(),
            curvature: 0.0,
            constant: self.constant,
        });
        let slopes = to_points(h.gradient(to_tensor(&data, DType::F64, &Device::flex())));
        let forces = Curvature::of(self.before, &data).solve(&slopes);
        let force = forces.iter().map(|force| force * force).sum::<f64>() / data.nrows() as f64;
        let least_curvature =
            1.0 / Curvature::of(self.after, &first(self.image, MEASURED)).largest_eigenvalue(MEASURED);
        let price = self.step_size * force / (2.0 * least_curvature);
        let inequality = Inequality {
            step_size: self.step_size,
            kl,
            comparison_kl: 0.0,
            reverse_kl,
            fall: self.fall,
            force,
            least_curvature,
            excess: of_sampler - of_data - self.fall / self.step_size - price,
        };
        let is_there = inequality.left().is_finite() && inequality.right().is_finite();
        is_there.then_some(inequality)
    }
}

/// `KL(ρ | e^{-f})` by points x of ρ.
pub fn divergence(potential: &RidgeSum, reference: &GaussianMixture, law: &GaussianMixture, x: &Points) -> f64 {
    Estimate::mean(log_ratios(potential, reference, law, &first(x, WITH_DENSITY))).value
}

/// `log(ρ/e^{-f})` at points x, `log ρ = -g(∇φ) + log det ∇²φ`.
fn log_ratios(potential: &RidgeSum, reference: &GaussianMixture, law: &GaussianMixture, x: &Points) -> Vec<f64> {
    let (y, log_dets) = conjugate::gradient_and_log_det(potential, x);
    let own = log_density(reference, &y);
    let own: Vec<f64> = own.iter().zip(log_dets).map(|(density, log_det)| density + log_det).collect();
    difference(&own, &log_density(law, x))
}

fn exactly(value: f64) -> Estimate {
    Estimate { value, std_error: 0.0 }
}

fn first(points: &Points, most: usize) -> Points {
    points.slice(s![..points.nrows().min(most), ..]).to_owned()
}
