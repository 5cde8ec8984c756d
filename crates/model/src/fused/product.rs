//! The matrix product of the layers.
//!
//! It is that of the crate `gemm`, which Burn's own products on the CPU are made with: on one core with AVX-512 it reaches 170 to 190 GFLOP/s where
//! those of faer reach 150 to 170. Its interface is pointers and strides, so this is the one file of the crate with unsafe code.
#![allow(unsafe_code)]

use std::sync::Once;

use faer::{Accum, MatRef};
use gemm::Parallelism;

use crate::real::Real;

/// From how many points on, in units of the kernel's columns (8 with AVX-512), `gemm` copies weights before it multiplies by them.
///
/// Its own 8 are for products that are made once. A tile of a network is too small for the copy to pay: without it, a step takes
/// one to four per cent less. Nothing but time depends on it, and it holds for the whole process.
const PACKED_FROM: usize = 64;

static READY: Once = Once::new();

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// The calling thread.
    None,
    /// All threads, where it is large enough; the bits are the same.
    AllThreads,
}

impl Sharing {
    /// That of products of which so many are computed side by side.
    pub fn among(tasks: usize) -> Self {
        if tasks < rayon::current_num_threads() { Self::AllThreads } else { Self::None }
    }
}

/// `dst = AB`, or `dst += AB`, one row after the other.
///
/// # Panics
///
/// The sizes do not match.
pub fn product<T: Real>(dst: &mut [T], accumulate: Accum, a: MatRef<T>, b: MatRef<T>, sharing: Sharing) {
    let (m, k, n) = (a.nrows(), a.ncols(), b.ncols());
    assert!(b.nrows() == k && dst.len() == m * n, "[{m}, {k}] × [{}, {n}] -> {}", b.nrows(), dst.len());
    READY.call_once(|| gemm::set_lhs_packing_threshold_single_thread(PACKED_FROM));
    // SAFETY: pointers, sizes and strides of A and B are those of borrowed matrices; the m·n numbers of dst are borrowed for writing, and so
    // belong to neither; T is f32 or f64, as the product asks.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            n as isize,
            matches!(accumulate, Accum::Add),
            a.as_ptr(),
            a.col_stride(),
            a.row_stride(),
            b.as_ptr(),
            b.col_stride(),
            b.row_stride(),
            T::of(1.0),
            T::of(1.0),
            false,
            false,
            false,
            match sharing {
                Sharing::None => Parallelism::None,
                Sharing::AllThreads => Parallelism::Rayon(0),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::host::matrix;

    #[test]
    fn a_product_is_a_sum_of_products_whichever_way_its_factors_lie() {
        let (m, k, n) = (5, 3, 4);
        let a: Vec<f64> = (0..m * k).map(|i| (i * 7 % 11) as f64).collect();
        let b: Vec<f64> = (0..k * n).map(|i| (i * 5 % 13) as f64).collect();
        let [mut turned_a, mut turned_b] = [vec![0.0; m * k], vec![0.0; k * n]];
        (0..m * k).for_each(|i| turned_a[i % k * m + i / k] = a[i]);
        (0..k * n).for_each(|i| turned_b[i % n * k + i / n] = b[i]);
        let expected: Vec<f64> =
            (0..m * n).map(|i| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum()).collect();
        for a in [matrix(&a, k), matrix(&turned_a, m).transpose()] {
            for b in [matrix(&b, n), matrix(&turned_b, k).transpose()] {
                let mut found = vec![f64::NAN; m * n];
                product(&mut found, Accum::Replace, a, b, Sharing::None);
                assert_eq!(found, expected);
                product(&mut found, Accum::Add, a, b, Sharing::AllThreads);
                assert!(found.iter().zip(&expected).all(|(twice, once)| *twice == 2.0 * once));
            }
        }
    }

    #[test]
    #[should_panic(expected = "[2, 3] × [2, 3] -> 6")]
    fn sizes_that_do_not_match_are_refused() {
        let a = [0.0f32; 6];
        product(&mut [0.0; 6], Accum::Replace, matrix(&a, 3), matrix(&a, 3), Sharing::None);
    }
}
