//! Logistic regression that is linear in given features, in a box, with a quadratic penalty.

use brenier_measure::elementary::{sigmoid, softplus};
use ndarray::{Array1, Array2, Axis};

use super::box_program;
use super::semi_dual::Gram;

/// Halvings of one Newton step.
const HALVINGS: usize = 10;

/// A change of the loss within so many of its own size is none.
const ROUNDING: f64 = 1e-14;

/// When a regression ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// Newton steps at most.
    pub steps: usize,
    /// A step that lowers the loss by less is the last.
    pub gain: f64,
}

impl Accuracy {
    /// Far below the noise of draws.
    pub const OF_DRAWS: Self = Self { steps: 6, gain: 1e-6 };
    /// To rounding.
    pub const EXACT: Self = Self { steps: 60, gain: 0.0 };
}

/// Features of weighted points, a feature a row.
pub struct Class<'a> {
    /// `[p, n]`.
    pub features: &'a Array2<f64>,
    /// `[n]`, with sum 1.
    pub weights: &'a Array1<f64>,
}

/// Features of data and of the sampler about one centre.
///
/// Label 0 is the data, label 1 the sampler, `P(1 | x) = ς(h(x))`: the least loss over all functions is that of `h = log(ρ/e^{-f})`. Deb and
/// Liang (2504.09279), Algorithm 1.
pub struct LogisticRegression<'a> {
    /// Of points of the data.
    pub data: Class<'a>,
    /// Of points of the sampler.
    pub sampler: Class<'a>,
    /// P of the penalty `½wᵀPw`, `[p, p]`.
    pub penalty: &'a Array2<f64>,
    /// The bounds `w ≥ l`, `[p]`, -∞ for none.
    pub lower: &'a Array1<f64>,
}

/// `h(x) = w·(F(x) - centre) + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Discriminator {
    /// w, `[p]`.
    pub weights: Array1<f64>,
    /// b.
    pub intercept: f64,
}

impl Discriminator {
    /// `E_data log(1 + eʰ) + E_ρ log(1 + e⁻ʰ)` at centred features; log 4 where nothing can be told apart.
    pub fn loss(&self, data: &Class, sampler: &Class) -> f64 {
        let mean = |class: &Class, sign: f64| self.of(class.features).mapv(|h| softplus(sign * h)).dot(class.weights);
        mean(data, 1.0) + mean(sampler, -1.0)
    }

    fn of(&self, features: &Array2<f64>) -> Array1<f64> {
        let mut values = Array1::from_elem(features.ncols(), self.intercept);
        for (row, &weight) in features.rows().into_iter().zip(&self.weights).filter(|(_, weight)| **weight != 0.0) {
            values.scaled_add(weight, &row);
        }
        values
    }

    fn moved(&self, step: &Self, length: f64) -> Self {
        Self { weights: &self.weights + &(&step.weights * length), intercept: self.intercept + length * step.intercept }
    }
}

impl LogisticRegression<'_> {
    /// The minimiser of loss and penalty in the box, by Newton steps from h = 0; `None` where numbers are no longer finite.
    pub fn fit(&self, accuracy: Accuracy) -> Option<Discriminator> {
        let objective =
            |h: &Discriminator| h.loss(&self.data, &self.sampler) + 0.5 * h.weights.dot(&self.penalty.dot(&h.weights));
        let mut h = Discriminator { weights: self.lower.mapv(|l| l.max(0.0)), intercept: 0.0 };
        let mut value = objective(&h);
        for _ in 0..accuracy.steps {
            let step = self.newton_step(&h)?;
            let lengths = (0..HALVINGS).map(|k| 0.5f64.powi(k as i32));
            let next = lengths.map(|length| h.moved(&step, length)).map(|next| (objective(&next), next));
            let Some((lower, next)) = next.into_iter().find(|(next, _)| *next < value) else {
                // The loss knows the minimiser to the root of its own rounding; the last step knows it to rounding.
                let last = h.moved(&step, 1.0);
                if accuracy.gain == 0.0 && objective(&last) <= value + ROUNDING * value.abs() {
                    h = last;
                }
                break;
            };
            let gain = value - lower;
            (h, value) = (next, lower);
            if gain < accuracy.gain {
                break;
            }
        }
        value.is_finite().then_some(h)
    }

    /// The minimiser of the quadratic model in the box; the intercept is eliminated.
    fn newton_step(&self, h: &Discriminator) -> Option<Discriminator> {
        let mut gradient = self.penalty.dot(&h.weights);
        let mut matrix = self.penalty.clone();
        let mut cross = Array1::<f64>::zeros(gradient.len());
        let (mut intercept_gradient, mut intercept_curvature) = (0.0, 1e-12);
        let mut products = Gram::new(cross.len());
        for (Class { features, weights }, sign) in [(&self.data, 1.0), (&self.sampler, -1.0)] {
            // The derivative of log(1 + e^{±h}) is ±ς(±h), its second derivative ς(h)ς(-h).
            let values = h.of(features);
            let first = values.mapv(|h| sign * sigmoid(sign * h)) * *weights;
            let second = values.mapv(|h| sigmoid(h) * sigmoid(-h)) * *weights;
            gradient += &features.dot(&first);
            intercept_gradient += first.sum();
            cross += &features.dot(&second);
            intercept_curvature += second.sum();
            products.add(&(*features * &second.mapv(f64::sqrt).insert_axis(Axis(0))));
        }
        matrix += &products.sum();
        let column = cross.view().insert_axis(Axis(1));
        matrix -= &(column.dot(&column.t()) / intercept_curvature);
        // The difference is rounding in directions that the intercept has already.
        let rounding = 1e-12 * matrix.diag().sum() / cross.len() as f64;
        matrix.diag_mut().mapv_inplace(|entry| entry + rounding);
        let right = &cross * (intercept_gradient / intercept_curvature) - &gradient;
        let weights = box_program::minimize(&matrix, &right, &(self.lower - &h.weights))?;
        let intercept = -(intercept_gradient + cross.dot(&weights)) / intercept_curvature;
        Some(Discriminator { weights, intercept })
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Stream};
    use ndarray::array;

    use super::*;

    /// Normal columns about a mean.
    fn normals(seed: u64, n: usize, mean: [f64; 2]) -> Array2<f64> {
        let stream = Stream::new(seed, Purpose::Batch);
        Array2::from_shape_fn((2, n), |(i, j)| stream.at(i as u64, j as u64).normal() + mean[i])
    }

    fn even(n: usize) -> Array1<f64> {
        Array1::from_elem(n, 1.0 / n as f64)
    }

    #[test]
    fn the_log_ratio_of_two_gaussians_is_found() {
        // log N(x; a, I)/N(x; 0, I) = a·x - |a|²/2.
        let (n, a) = (40_000, [0.8, -0.4]);
        let (data, sampler) = (normals(1, n, [0.0, 0.0]), normals(2, n, a));
        let (free, none) = (Array1::from_elem(2, f64::NEG_INFINITY), Array2::zeros((2, 2)));
        let weights = even(n);
        let class = |features| Class { features, weights: &weights };
        let regression =
            LogisticRegression { data: class(&data), sampler: class(&sampler), penalty: &none, lower: &free };
        let found = regression.fit(Accuracy::OF_DRAWS).unwrap();
        // The information of w is at least n·E[ς(h)ς(-h)] ≈ n/5 in every direction.
        let std_error = (2.0 * 5.0 / n as f64).sqrt();
        assert!(std_error < 0.02);
        for (w, exact) in found.weights.iter().zip(a) {
            assert!((w - exact).abs() < 5.0 * std_error, "{w} against {exact}");
        }
        assert!((found.intercept + 0.4).abs() < 5.0 * std_error, "{}", found.intercept);
        assert!(found.loss(&class(&data), &class(&sampler)) < 4.0f64.ln() - 0.1);
        // To rounding: the slope of the loss is none.
        let exact = regression.fit(Accuracy::EXACT).unwrap();
        assert!((&exact.weights - &found.weights).iter().all(|w| w.abs() < 1e-3));
        let rest = regression.newton_step(&exact).unwrap();
        assert!(rest.weights.iter().all(|w| w.abs() < 1e-13), "{rest:?}");
    }

    #[test]
    fn equal_laws_give_log_four_and_a_bound_holds() {
        let (data, sampler) = (normals(3, 4000, [0.0, 0.0]), normals(4, 4000, [0.0, 0.0]));
        let penalty = Array2::eye(2) * 0.1;
        let lower = array![0.5, f64::NEG_INFINITY];
        let weights = even(4000);
        let class = |features| Class { features, weights: &weights };
        let regression =
            LogisticRegression { data: class(&data), sampler: class(&sampler), penalty: &penalty, lower: &lower };
        assert_eq!(regression.fit(Accuracy::OF_DRAWS).unwrap().weights[0], 0.5);
        let free = Array1::from_elem(2, f64::NEG_INFINITY);
        let found = LogisticRegression { lower: &free, ..regression }.fit(Accuracy::OF_DRAWS).unwrap();
        let loss = found.loss(&class(&data), &class(&sampler));
        assert!((loss - 4.0f64.ln()).abs() < 2e-3, "{loss}");
    }
}
