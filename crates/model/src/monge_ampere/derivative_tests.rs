//! Every potential against differences of itself, in f64 and in f32.

use std::sync::Arc;

use brenier_measure::{Points, Purpose, Stream, to_points, to_tensor};
use burn::tensor::{DType, Device, Tensor};
use ndarray::{Array1, Array2};

use super::*;

fn normals(n: usize, d: usize, seed: u64) -> Points {
    let stream = Stream::new(seed, Purpose::Batch);
    Points::from_shape_fn((n, d), |(i, j)| stream.at(j as u64, i as u64).normal())
}

/// Ridges in general position, with coefficients that are not negative where they must not be.
fn ridge_sum(d: usize, seed: u64) -> RidgeSum {
    let (g, k) = (2 * d + 1, 4);
    let mut directions = normals(g, d, seed);
    for mut row in directions.rows_mut() {
        let norm = row.dot(&row).sqrt();
        row /= norm;
    }
    let ridges = Ridges {
        directions,
        knots: normals(g, k, seed + 1),
        widths: normals(g, k, seed + 2).mapv(|x| 0.3 + x.abs()),
        floor: 0.1,
    };
    let draws = normals(1, ridges.count(), seed + 3);
    let coefficient = |(i, x): (usize, &f64)| if i < d { *x } else { x.abs() };
    RidgeSum::new(Arc::new(ridges.clone()), draws.iter().enumerate().map(coefficient).collect()).unwrap()
}

fn quadratic(d: usize) -> QuadraticPotential {
    let b = normals(d, d, 9);
    let matrix = b.dot(&b.t()) + Array2::<f64>::eye(d) * 0.5;
    QuadraticPotential::new(matrix, Array1::from_iter(normals(1, d, 10)), 0.7).unwrap()
}

fn tensor(points: &Points) -> Tensor<2> {
    to_tensor(points, DType::F64, &Device::flex())
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_to_vec().unwrap()
}

fn all() -> Vec<(String, Box<dyn ConvexPotential>)> {
    [1, 2, 5]
        .into_iter()
        .flat_map(|d| -> [(String, Box<dyn ConvexPotential>); 2] {
            [
                (format!("ridges in dimension {d}"), Box::new(ridge_sum(d, 20))),
                (format!("a quadratic in dimension {d}"), Box::new(quadratic(d))),
            ]
        })
        .collect()
}

#[test]
fn gradients_and_hessians_are_differences() {
    for (name, potential) in all() {
        let d = potential.dim();
        let (x, v) = (normals(7, d, 1), normals(7, d, 2));
        let h = 1e-5;
        let (forward, back) = (&x + &(&v * h), &x - &(&v * h));
        let gradient = to_points(potential.gradient(tensor(&x)));
        let along: Vec<f64> = (&gradient * &v).rows().into_iter().map(|row| row.sum()).collect();
        let values = [&forward, &back].map(|points| numbers(potential.value(tensor(points))));
        for i in 0..7 {
            let difference = (values[0][i] - values[1][i]) / (2.0 * h);
            assert!(
                (along[i] - difference).abs() < 1e-8 * along[i].abs().max(1.0),
                "{name}: {} and {difference}",
                along[i]
            );
        }
        let product = to_points(potential.hessian_vector(tensor(&x), tensor(&v)));
        let gradients = [&forward, &back].map(|points| to_points(potential.gradient(tensor(points))));
        let difference = (&gradients[0] - &gradients[1]) / (2.0 * h);
        assert!((&product - &difference).iter().all(|x| x.abs() < 1e-7), "{name}: {product} and {difference}");
        let (same, hessian) = potential.gradient_and_hessian(tensor(&x));
        assert!((&to_points(same) - &gradient).iter().all(|x| x.abs() < 1e-12), "{name}");
        let hessian = numbers(hessian);
        let log_det = potential.gradient_and_log_det(tensor(&x)).1;
        for i in 0..7 {
            let matrix = Array2::from_shape_vec((d, d), hessian[i * d * d..(i + 1) * d * d].to_vec()).unwrap();
            assert!((&matrix - &matrix.t()).iter().all(|x| x.abs() < 1e-12), "{name}");
            let by_matrix = matrix.dot(&v.row(i));
            assert!(by_matrix.iter().zip(product.row(i)).all(|(a, b)| (a - b).abs() < 1e-11), "{name}");
            let spectrum = brenier_measure::linear_algebra::symmetric_eigen(&matrix).unwrap();
            let exact: f64 = spectrum.values.iter().map(|value| value.ln()).sum();
            assert!((log_det[i] - exact).abs() < 1e-10, "{name}: {} and {exact}", log_det[i]);
        }
    }
}

#[test]
fn single_precision_agrees_and_keeps_its_type() {
    for (name, potential) in all() {
        let x = normals(5, potential.dim(), 3);
        let single = potential.gradient(to_tensor(&x, DType::F32, &Device::flex()));
        assert_eq!(single.dtype(), DType::F32);
        let difference = to_points(single) - to_points(potential.gradient(tensor(&x)));
        assert!(difference.iter().all(|x| x.abs() < 1e-4), "{name}: {difference}");
    }
}

#[test]
fn ridges_are_linear_in_their_coefficients() {
    let (a, b) = (ridge_sum(3, 40), ridge_sum(3, 40));
    let doubled: Vec<f64> = a.coefficients().iter().zip(b.coefficients()).map(|(a, b)| a + b).collect();
    let sum = RidgeSum::new(a.ridges().clone(), doubled).unwrap();
    let x = tensor(&normals(6, 3, 5));
    let floor = numbers(x.clone().square().sum_dim(1) * (0.5 * a.ridges().floor));
    let features = a.ridges().features(&to_points(x.clone()));
    let by_features = features.t().dot(&Array1::from(a.coefficients().to_vec()));
    for (i, (value, twice)) in numbers(a.value(x.clone())).into_iter().zip(numbers(sum.value(x))).enumerate() {
        assert!((value - floor[i] - by_features[i]).abs() < 1e-11);
        assert!((twice - 2.0 * value + floor[i]).abs() < 1e-11, "floor counts once");
    }
}

#[test]
fn a_ridge_sum_is_convex_everywhere_and_says_when_it_is_not() {
    let potential = ridge_sum(2, 60);
    // Far out every ridge is flat, and the floor and the curvatures are left.
    let x = normals(200, 2, 7) * 100.0;
    let (_, hessian) = potential.gradient_and_hessian(tensor(&x));
    for matrix in numbers(hessian).chunks(4) {
        let matrix = Array2::from_shape_vec((2, 2), matrix.to_vec()).unwrap();
        let least = brenier_measure::linear_algebra::symmetric_eigen(&matrix).unwrap().values[0];
        assert!(least >= 0.1 - 1e-12, "{least}");
    }
    let refused = |change: fn(&mut Vec<f64>)| {
        let mut coefficients = potential.coefficients().to_vec();
        change(&mut coefficients);
        RidgeSum::new(potential.ridges().clone(), coefficients).is_none()
    };
    assert!(refused(|c| c[2] = -1e-9) && refused(|c| *c.last_mut().unwrap() = -1.0));
    assert!(refused(|c| c[0] = f64::NAN) && refused(|c| c.truncate(3)));
    assert!(!refused(|c| c[0] = -5.0), "a slope may have any sign");
    assert!(QuadraticPotential::new(-Array2::<f64>::eye(2), Array1::zeros(2), 0.0).is_none());
}

#[test]
fn the_identity_is_found_where_directions_span_it() {
    let angles = (0..12).map(|g| std::f64::consts::PI * f64::from(g) / 12.0);
    let directions: Vec<f64> = angles.flat_map(|angle| [angle.cos(), angle.sin()]).collect();
    let ridges = Arc::new(Ridges {
        directions: Array2::from_shape_vec((12, 2), directions).unwrap(),
        knots: Array2::zeros((12, 3)),
        widths: Array2::ones((12, 3)),
        floor: 0.1,
    });
    let identity = RidgeSum::new(ridges.clone(), ridges.identity()).unwrap();
    let x = normals(20, 2, 8);
    let moved = to_points(identity.gradient(tensor(&x)));
    assert!((&moved - &x).iter().all(|x| x.abs() < 1e-10), "{moved} and {x}");
}
