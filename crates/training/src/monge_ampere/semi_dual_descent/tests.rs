//! The descent against a map that is known, and its gradient against differences.

use std::sync::atomic::{AtomicU64, Ordering};

use brenier_measure::{Gaussian, GaussianMixture};

use super::*;

const SEED: u64 = 3;

fn normals(n: u64, d: usize, seed: u64) -> Points {
    Gaussian::standard(d).sample(&Stream::new(seed, Purpose::Evaluation), 0, 0..n)
}

/// `T(y) = u + 0.8 R tanh(2 Rᵀu)` for y = su, R a rotation: the gradient of a convex function of u.
fn map(y: &Points, unit: f64) -> Points {
    let (c, s) = (0.8, 0.6);
    let turn = ndarray::array![[c, -s], [s, c]];
    let turned = (y / unit).dot(&turn);
    let bent = turned.mapv(|u| u + 0.8 * (2.0 * u).tanh());
    bent.dot(&turn.t())
}

fn descent(x: Points, held_out: Points, reference: ReferenceConfig, stages: u64) -> SemiDualDescent {
    let d = x.ncols();
    let choices = SemiDualChoices {
        network: InputConvexConfig { widths: Some(vec![24, 16]), ..InputConvexConfig::default() },
        descent: SemiDualConfig { updates: 150, batch: Some(128), ..SemiDualConfig::default() },
        reference,
        stages,
        patience: None,
        fresh: 1000,
        iterate: Iterate::Best,
    };
    let coordinates =
        brenier_measure::data::Standardization { shift: vec![0.0; d], scale: vec![1.0; d], whitening: None };
    let source = Source::Rows { points: Arc::new(x), noise: InstanceNoise { sd: 0.0, coordinates } };
    SemiDualDescent::new(choices, source, held_out, SEED, Device::flex(), || true).unwrap()
}

/// The unexplained share of the variance of T, in a descent on points in other units.
fn unexplained(unit_of_reference: f64, unit_of_data: f64) -> f64 {
    let points = |n, seed| map(&(normals(n, 2, seed) * unit_of_reference), unit_of_reference) * unit_of_data;
    let square = unit_of_reference * unit_of_reference;
    let reference = ReferenceConfig::GaussianMixture {
        weights: vec![1.0],
        means: vec![vec![0.0; 2]],
        covariances: vec![vec![vec![square, 0.0], vec![0.0, square]]],
    };
    let method = descent(points(4000, 1), points(400, 2), reference, 6);
    let mut state = method.start().unwrap();
    let mut values = Vec::new();
    method
        .train(&mut state, &mut |_, said| {
            values.push(said[0].1);
            Ok(Flow::Continue)
        })
        .unwrap();
    assert_eq!(values.len(), 6);
    // Where the first stage has learnt the map, the next ones change it by what 400 points do not see.
    let first = state.first_value.unwrap();
    assert!(values.iter().all(|value| value < &first), "{first} and {values:?}");
    let y = normals(2000, 2, 5) * unit_of_reference;
    let exact = map(&y, unit_of_reference) * unit_of_data;
    let sampler = method.sampler(&state);
    let found = sampler.map().unwrap().transport(&y).unwrap().0;
    let off = (&found - &exact).mapv(|e| e * e).sum();
    // A checkpoint is the same law, and holds as many conjugates as there are points.
    let again = method.resume(&method.files(&state)).unwrap();
    assert_eq!((again.conjugates.dim(), &again.conjugates), ((4400, 2), &state.conjugates));
    assert_eq!(method.sampler(&again).map().unwrap().transport(&y).unwrap().0, found);
    off / (&exact - &exact.mean_axis(Axis(0)).unwrap()).mapv(|e| e * e).sum()
}

#[test]
fn a_known_map_is_found_in_any_units() {
    // The linear map leaves .02, which is what the network has to learn.
    for (reference, data) in [(1.0, 1.0), (1e3, 1e-4)] {
        let share = unexplained(reference, data);
        assert!(share < 2e-3, "in units of {reference} and {data}: {share}");
    }
}

#[test]
fn the_gradient_is_that_of_the_semi_dual() {
    let (x, held_out) = (map(&normals(40, 2, 1), 1.0), map(&normals(5, 2, 2), 1.0));
    let method = descent(x, held_out, ReferenceConfig::StandardNormal, 1);
    let state = method.start().unwrap();
    let x = method.rows(0, &state.coordinates);
    let y = normals(60, 2, 9);
    let device = Device::flex();
    // J in double precision, with the conjugates of a network.
    let value = |network: &InputConvexNetwork| {
        let exact = network.placed(DType::F64, &device);
        let found = Inversion { tolerance: 1e-13, steps: 100 }.solve(&exact, &x, &x);
        assert!(found.failures.is_empty());
        let mean = |points: &Points| conjugate::value(&exact, points).iter().sum::<f64>() / points.nrows() as f64;
        (mean(&y) + (&found.points * &x).sum() / 40.0 - mean(&found.points), found.points)
    };
    let parameters = state.first.parameters();
    let (_, conjugates) = value(&state.first);
    let found = method.gradient(&method.placed(&state.first), &y, &conjugates);
    let (h, size) = (1e-5, found.iter().map(|g| g * g).sum::<f64>().sqrt());
    for k in (0..parameters.len()).step_by(7) {
        let at = |by: f64| {
            let mut moved = parameters.clone();
            moved[k] += by;
            value(&state.first.with_parameters(&moved)).0
        };
        let difference = (at(h) - at(-h)) / (2.0 * h);
        // The gradient is in single precision.
        assert!((found[k] - difference).abs() < 1e-5 * (1.0 + size), "parameter {k}: {} and {difference}", found[k]);
    }
}

#[test]
fn a_descent_goes_without_matched_pairs_and_hears_an_interruption() {
    let points = |n, seed| map(&normals(n, 2, seed), 1.0);
    let mut method = descent(points(500, 1), points(50, 2), ReferenceConfig::StandardNormal, 3);
    method.chosen.matched = false;
    method.chosen.reference = 256;
    let mut state = method.start().unwrap();
    let mut kept = Vec::new();
    method
        .train(&mut state, &mut |state, _| {
            kept.push(state.clone());
            Ok(Flow::Continue)
        })
        .unwrap();
    assert!(method.is_done(&state) && state.best.as_ref().unwrap().value < state.first_value.unwrap());
    // Told to stop in the middle of the second stage: that stage is not there, and the run goes on as if nothing had been.
    static ASKED: AtomicU64 = AtomicU64::new(0);
    method.go_on = || ASKED.fetch_add(1, Ordering::Relaxed) < 100;
    let mut stopped = kept[0].clone();
    let mut told = Vec::new();
    method
        .train(&mut stopped, &mut |state, said| {
            told.push((state.stage, said.len()));
            Ok(Flow::Stop)
        })
        .unwrap();
    assert!(ASKED.load(Ordering::Relaxed) > 100, "it was asked in the middle");
    assert_eq!((told, &stopped), (vec![(1, 0)], &kept[0]));
    method.go_on = || true;
    method.train(&mut stopped, &mut |_, _| Ok(Flow::Continue)).unwrap();
    assert_eq!(stopped, state);
}

#[test]
fn a_held_out_point_that_is_not_found_does_not_judge() {
    let judged = |reference, conjugates: &[f64]| Judged {
        reference,
        conjugates: conjugates.iter().map(|&value| Some(value).filter(|value: &f64| value.is_finite())).collect(),
    };
    let values: Vec<f64> = (0..100).map(|i| f64::from(i % 10)).collect();
    let best = judged(1.0, &values);
    assert!((best.value() - 5.5).abs() < 1e-12);
    let mut lost = values.clone();
    lost[3] = f64::NAN;
    let without = judged(1.0, &lost);
    assert_eq!(without.lost(), 1);
    assert!(without.is_no_worse_than(&best) && best.is_no_worse_than(&without));
    // Worse by ten standard errors, by one, and with a tenth of all points lost.
    let moved = |by: f64| values.iter().enumerate().map(|(i, v)| v + by + [0.5, -0.5][i % 2]).collect::<Vec<f64>>();
    assert!(!judged(1.0, &moved(0.5)).is_no_worse_than(&best) && judged(1.0, &moved(0.05)).is_no_worse_than(&best));
    lost[..10].fill(f64::NAN);
    assert!(!judged(1.0, &lost).is_no_worse_than(&best));
}

#[test]
fn a_potential_that_rises_far_above_the_first_has_diverged() {
    let points = |n, seed| map(&normals(n, 2, seed), 1.0);
    let mut method = descent(points(300, 1), points(30, 2), ReferenceConfig::StandardNormal, 3);
    method.chosen.rate = 300.0;
    let mut state = method.start().unwrap();
    let error = method.train(&mut state, &mut |_, _| Ok(Flow::Continue)).unwrap_err();
    assert!(matches!(error, TrainingError::Diverged { .. } | TrainingError::LostConjugates { .. }), "{error}");
}

#[test]
fn a_checkpoint_of_other_sizes_is_refused() {
    let points = |n, seed| map(&normals(n, 2, seed), 1.0);
    let method = descent(points(300, 1), points(30, 2), ReferenceConfig::StandardNormal, 3);
    let state = method.start().unwrap();
    let mut files = method.files(&state);
    files.get_mut(CONJUGATES).unwrap().truncate(8 * 329);
    assert!(SemiDualState::from_files(&files).is_ok(), "a law takes any number of them");
    assert!(method.resume(&files).unwrap_err().to_string().contains("329 points"));
    files.get_mut(CONJUGATES).unwrap().pop();
    assert!(SemiDualState::from_files(&files).is_err());
    let mut files = method.files(&state);
    let text = String::from_utf8(files[STATE].clone()).unwrap().replacen("\"scale\":", "\"scale\":-", 1);
    files.insert(STATE.to_owned(), text.into_bytes());
    assert!(SemiDualState::from_files(&files).is_err());
    files.remove(STATE);
    assert!(matches!(SemiDualState::from_files(&files), Err(TrainingError::MissingFile { .. })));
    let mixture = GaussianMixture::new(vec![1.0], vec![vec![0.0]], vec![vec![vec![1.0]]]).unwrap();
    assert!(
        BuresCoordinates::new(&mixture, &points(300, 1)).is_err(),
        "a reference on the line for points in the plane"
    );
}
