//! Sums of 2ᵗ over rows of a tile, in vector registers: the inner loop of Sinkhorn's iteration and of Gaussian kernels.
//!
//! `t = k + r`, k the nearest integer and |r| ≤ ½; `2ʳ = 1 + r q(r)`, q of degree 10 through the Chebyshev nodes (error
//! 2·10⁻¹⁷); k is added to the exponent. Muller et al., Handbook of Floating-Point Arithmetic (2018), chapter 11.

use pulp::{Arch, Simd, WithSimd, bytemuck::cast};

use crate::Cost;
use crate::distances::Tile;

/// The coefficients of 2ʳ, from the constant upwards.
const COEFFICIENTS: [f64; 12] = [
    1.0,
    std::f64::consts::LN_2,
    0.24022650695910097,
    0.0555041086648216,
    0.009618129107606888,
    0.0013333558146416936,
    0.0001540353044173605,
    1.525273382983612e-05,
    1.321544258792169e-06,
    1.0178062445845774e-07,
    7.072585949269223e-09,
    4.4549605981865186e-10,
];

/// 2ᵗ to two units in the last place, t taken into [-1022, 1023].
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, t: S::f64s) -> S::f64s {
    let t = simd.max_f64s(simd.min_f64s(t, simd.splat_f64s(1023.0)), simd.splat_f64s(-1022.0));
    if S::IS_SCALAR {
        return cast(f64::exp2(cast(t)));
    }
    // Numbers near 1.5·2²⁰ have 32 bits after the point: the lower word holds the fraction, the upper one ends in k.
    let shift = 1572864.0;
    let shifted = simd.add_f64s(t, simd.splat_f64s(shift + 0.5));
    let upper = simd.and_u64s(simd.transmute_u64s_f64s(shifted), simd.splat_u64s(!0 << 32));
    let k = simd.sub_f64s(simd.transmute_f64s_u64s(upper), simd.splat_f64s(shift));
    let r = simd.sub_f64s(t, k);
    let mut power = simd.splat_f64s(COEFFICIENTS[11]);
    for coefficient in COEFFICIENTS[..11].iter().rev() {
        power = simd.mul_add_e_f64s(power, r, simd.splat_f64s(*coefficient));
    }
    let exponent = simd.wrapping_dyn_shl_u32s(cast(upper), simd.splat_u32s(20));
    simd.transmute_f64s_u64s(simd.add_u64s(simd.transmute_u64s_f64s(power), cast(exponent)))
}

/// Adds `Σ_j 2^(u_i + v_j - c_ij)` over the columns of a tile to `sums[i]`, for its rows i.
///
/// `c` is the squared distance or the distance, in units that make it an exponent. `v` needs an entry for every column
/// of the stride; those beyond the last column must be far below zero, and then add less than 2⁻¹⁰⁰⁰.
pub(crate) fn add_sums(tile: &Tile, cost: Cost, u: &[f64], v: &[f64], sums: &mut [f64]) {
    let squared = &*tile.squared;
    let (u, sums) = (&u[tile.rows.clone()], &mut sums[tile.rows.clone()]);
    let v = &v[tile.columns.start..][..tile.stride];
    Arch::new().dispatch(Sums { squared, cost, u, v, sums });
}

struct Sums<'a> {
    squared: &'a [f64],
    cost: Cost,
    u: &'a [f64],
    v: &'a [f64],
    sums: &'a mut [f64],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (v, _) = S::as_simd_f64s(self.v);
        let rows = self.squared.chunks_exact(self.v.len());
        for ((row, u), sum) in rows.zip(self.u).zip(self.sums) {
            let (row, _) = S::as_simd_f64s(row);
            let u = simd.splat_f64s(*u);
            let mut sums = [simd.splat_f64s(0.0); 2];
            // A stride is a multiple of 16, so pairs of vectors leave nothing over.
            for (c, v) in row.chunks_exact(2).zip(v.chunks_exact(2)) {
                for lane in 0..2 {
                    let c = match self.cost {
                        Cost::SquaredDistance => c[lane],
                        Cost::Distance => simd.sqrt_f64s(c[lane]),
                    };
                    let t = simd.sub_f64s(simd.add_f64s(u, v[lane]), c);
                    sums[lane] = simd.add_f64s(sums[lane], exp2(simd, t));
                }
            }
            *sum += simd.reduce_sum_f64s(simd.add_f64s(sums[0], sums[1]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp2<'a>(&'a mut [f64]);

    impl WithSimd for Exp2<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (values, rest) = S::as_mut_simd_f64s(self.0);
            assert!(rest.is_empty());
            values.iter_mut().for_each(|t| *t = exp2(simd, *t));
        }
    }

    #[test]
    fn powers_of_two_to_two_units_in_the_last_place() {
        let exponents: Vec<f64> = (0..1 << 20).map(|k| -1022.0 + 2045.0 * f64::from(k) / f64::from(1 << 20)).collect();
        let mut powers = exponents.clone();
        Arch::new().dispatch(Exp2(&mut powers));
        for (t, power) in exponents.iter().zip(&powers) {
            let relative = (power / t.exp2() - 1.0).abs();
            assert!(relative <= 2.0 * f64::EPSILON, "2^{t} = {power}, off by {relative}");
        }
    }

    #[test]
    fn what_no_exponent_can_hold_is_cut() {
        let tiny = 2f64.powi(-1022);
        let mut values = [
            0.0,
            1.0,
            -1.0,
            0.5,
            -0.5,
            -1022.0,
            -1e300,
            f64::NEG_INFINITY,
            1023.0,
            1e9,
            2.5,
            -2.5,
            10.0,
            -10.0,
            1.5,
            3.0,
        ];
        Arch::new().dispatch(Exp2(&mut values));
        let root = std::f64::consts::SQRT_2;
        let exact = [
            1.0,
            2.0,
            0.5,
            root,
            1.0 / root,
            tiny,
            tiny,
            tiny,
            2f64.powi(1023),
            2f64.powi(1023),
            4.0 * root,
            0.125 * root,
            1024.0,
            1.0 / 1024.0,
            2.0 * root,
            8.0,
        ];
        for (value, exact) in values.iter().zip(exact) {
            assert!((value / exact - 1.0).abs() <= 2.0 * f64::EPSILON, "{value} against {exact}");
        }
    }
}
