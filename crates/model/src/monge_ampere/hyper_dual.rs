//! Hyper-dual tensors: exact directional derivatives of any order, in forward mode.
//!
//! # Design
//!
//! A hyper-dual number is a polynomial in units `ε_1, …, ε_m` with `ε_i² = 0`: a coefficient for every subset S of them.
//! For a smooth function f, `f(x + ε_1 v)` is `f(x) + ε_1 f'(x)v`, and with m units the coefficient of `ε_1⋯ε_m` is the mixed
//! derivative of order m. Nothing is approximated. Since every coefficient is a tensor expression, reverse mode trains
//! through derivatives of every order, although it is itself of first order only.
//!
//! A product takes 3ᵐ products of tensors, a product with a constant matrix 2ᵐ. A coefficient that is identically zero is not
//! stored.
//!
//! Fike, Alonso, The Development of Hyper-Dual Numbers for Exact Second-Derivative Calculations (AIAA 2011-886), with any
//! number of units.

use burn::tensor::Tensor;

use crate::activation::Activation;

/// A `[n, d]` tensor of hyper-dual numbers.
#[derive(Debug, Clone)]
pub struct HyperDual {
    /// The coefficient of the subset whose bits are the index; as many as 2ᵐ, the first always present.
    coefficients: Vec<Option<Tensor<2>>>,
}

impl HyperDual {
    /// A number without units.
    pub fn real(value: Tensor<2>) -> Self {
        Self { coefficients: vec![Some(value)] }
    }

    /// The number of units, m.
    pub fn units(&self) -> usize {
        self.coefficients.len().ilog2() as usize
    }

    /// The part without units, `[n, d]`.
    pub fn real_part(&self) -> Tensor<2> {
        self.coefficients[0].clone().expect("the real part is always present")
    }

    /// `x + ε v` with a new unit ε; x and v may have units of their own.
    #[must_use]
    pub fn with_unit(mut self, v: Self) -> Self {
        let count = self.coefficients.len().max(v.coefficients.len());
        self.coefficients.resize(count, None);
        self.coefficients.extend(v.coefficients);
        self.coefficients.resize(2 * count, None);
        self
    }

    /// `(a, b)` of `a + ε b`, ε the last unit.
    ///
    /// # Panics
    ///
    /// Without units.
    pub fn split(&self) -> (Self, Self) {
        let count = self.coefficients.len();
        assert!(count > 1, "a real number has no unit to split off");
        let (a, b) = self.coefficients.split_at(count / 2);
        let mut b = b.to_vec();
        b[0].get_or_insert_with(|| self.real_part().zeros_like());
        (Self { coefficients: a.to_vec() }, Self { coefficients: b })
    }

    /// A linear map, coefficient by coefficient.
    fn map(&self, f: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        Self { coefficients: self.coefficients.iter().map(|c| c.clone().map(&f)).collect() }
    }

    /// `x W`; W `[d, k]`.
    pub fn matmul(&self, w: Tensor<2>) -> Self {
        self.map(|c| c.matmul(w.clone()))
    }

    /// `c x`.
    pub fn scale(&self, c: f64) -> Self {
        self.map(|x| x * c)
    }

    /// `x ∘ c`, with a constant that broadcasts.
    pub fn times(&self, c: Tensor<2>) -> Self {
        self.map(|x| x * c.clone())
    }

    /// `x + c`, with a constant that broadcasts.
    pub fn plus(&self, c: Tensor<2>) -> Self {
        let mut sum = self.clone();
        sum.coefficients[0] = Some(self.real_part() + c);
        sum
    }

    /// The sum of the columns, `[n, 1]`.
    pub fn sum_columns(&self) -> Self {
        self.map(|c| c.sum_dim(1))
    }

    /// `x + y`.
    pub fn add(&self, other: &Self) -> Self {
        let count = self.coefficients.len().max(other.coefficients.len());
        let get = |x: &Self, subset: usize| x.coefficients.get(subset).cloned().flatten();
        let coefficient = |subset: usize| sum(get(self, subset), get(other, subset));
        Self { coefficients: (0..count).map(coefficient).collect() }
    }

    /// `x - y`.
    pub fn sub(&self, other: &Self) -> Self {
        self.add(&other.scale(-1.0))
    }

    /// `x ∘ y`; a single column broadcasts. The coefficient of S is `Σ_{T ⊆ S} x_T y_{S∖T}`.
    pub fn mul(&self, other: &Self) -> Self {
        let count = self.coefficients.len().max(other.coefficients.len());
        let get = |x: &Self, subset: usize| x.coefficients.get(subset).cloned().flatten();
        let coefficient = |subset: usize| {
            // All T ⊆ S, from S itself down to the empty set.
            let parts = std::iter::successors(Some(subset), |part| (*part > 0).then(|| (part - 1) & subset));
            parts.fold(None, |total, part| {
                let product = get(self, part).zip(get(other, subset ^ part)).map(|(x, y)| x * y);
                sum(total, product)
            })
        };
        Self { coefficients: (0..count).map(coefficient).collect() }
    }

    /// `(f(x), f'(x))`, entry by entry.
    pub fn apply_with_derivative(&self, f: Activation) -> (Self, Self) {
        let derivatives = f.derivatives(self.real_part(), self.units() + 1);
        let mut tower = self.tower(derivatives);
        let derivative = tower.swap_remove(1);
        (tower.swap_remove(0), derivative)
    }

    /// `f(x), f'(x), …` from `f, f', …, f⁽ᵏ⁾` at the real part: k - m + 1 of them.
    ///
    /// With one more unit, `f⁽ʲ⁾(a + ε b) = f⁽ʲ⁾(a) + ε f⁽ʲ⁺¹⁾(a) b`.
    fn tower(&self, derivatives: Vec<Tensor<2>>) -> Vec<Self> {
        let mut tower: Vec<Self> = derivatives.into_iter().map(Self::real).collect();
        for unit in 0..self.units() {
            let b = self.coefficients[1 << unit..2 << unit].to_vec();
            let b = Self { coefficients: b };
            tower = tower
                .windows(2)
                .map(|pair| {
                    let mut value = pair[0].clone();
                    value.coefficients.extend(pair[1].mul(&b).coefficients);
                    value
                })
                .collect();
        }
        tower
    }
}

fn sum(a: Option<Tensor<2>>, b: Option<Tensor<2>>) -> Option<Tensor<2>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

/// `x + ε e_i` for every coordinate i, block after block of n rows; `[n, d] -> [d·n, d]`.
pub(super) fn along_axes(x: &Tensor<2>) -> HyperDual {
    let [n, d] = x.dims();
    let axes = Tensor::<2>::eye(d, &x.device()).cast(x.dtype()).unsqueeze_dim::<3>(1);
    let axes = axes.repeat_dim(1, n).reshape([d * n, d]);
    HyperDual::real(x.clone().repeat_dim(0, d)).with_unit(HyperDual::real(axes))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};

    use super::*;

    fn column(values: &[f64]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), (&Device::flex(), DType::F64))
    }

    fn largest(x: Tensor<2>) -> f64 {
        x.abs().max().into_scalar()
    }

    #[test]
    fn coefficients_are_mixed_derivatives() {
        // x³ = x·x·x along three directions: 6 u v w, and 6 x v w for two of them.
        let x = HyperDual::real(column(&[0.7, -1.1]))
            .with_unit(HyperDual::real(column(&[0.3, 0.5])))
            .with_unit(HyperDual::real(column(&[-0.2, 0.9])))
            .with_unit(HyperDual::real(column(&[1.4, 0.1])));
        let cube = x.mul(&x).mul(&x);
        assert_eq!(cube.units(), 3);
        let exact = column(&[6.0 * 0.3 * -0.2 * 1.4, 6.0 * 0.5 * 0.9 * 0.1]);
        assert!(largest(cube.coefficients[7].clone().unwrap() - exact) < 1e-14);
        let exact = column(&[6.0 * 0.7 * -0.2 * 1.4, 6.0 * -1.1 * 0.9 * 0.1]);
        assert!(largest(cube.coefficients[6].clone().unwrap() - exact) < 1e-14);
    }

    #[test]
    fn the_chain_rule_holds_for_composed_functions() {
        // Directions that have units themselves.
        let direction = HyperDual::real(column(&[0.3, 0.5])).with_unit(HyperDual::real(column(&[0.2, -0.6])));
        let x = HyperDual::real(column(&[0.7, -1.1]))
            .with_unit(HyperDual::real(column(&[1.0, 2.0])))
            .with_unit(direction.clone())
            .with_unit(direction.mul(&direction).with_unit(HyperDual::real(column(&[0.1, 0.2]))));
        let sigmoid = |x: &HyperDual| x.apply_with_derivative(Activation::Softplus).1;
        // z ς(z), and tanh z = 2ς(2z) - 1.
        let identities = [
            (x.apply_with_derivative(Activation::Silu).0, x.mul(&sigmoid(&x))),
            (
                x.apply_with_derivative(Activation::Tanh).0,
                sigmoid(&x.scale(2.0)).scale(2.0).plus(column(&[-1.0, -1.0])),
            ),
        ];
        for (left, right) in identities {
            assert_eq!(left.units(), 3);
            for (subset, (left, right)) in left.coefficients.into_iter().zip(right.coefficients).enumerate() {
                let defect = largest(left.unwrap() - right.unwrap());
                assert!(defect < 1e-12, "{subset}: {defect}");
            }
        }
    }
}
