//! Transport between clouds of unequal sizes or weights: against linear programming, closed forms, enumeration, and itself.

use brenier_transport::weighted::{Plan, transport, transport_uniform};
use brenier_transport::{Cloud, Cost, TransportError, one_dimension};
use proptest::prelude::*;
use serde_json::Value;

const COSTS: [Cost; 2] = [Cost::Distance, Cost::SquaredDistance];

/// Every number below a value, in order.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(entries) => entries.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

/// Numbers in [0, 1) that look random: the low digits of a sine.
fn scattered(count: usize, seed: f64) -> Vec<f64> {
    (0..count)
        .map(|k| ((k as f64 + 1.0) * 0.618_033_988_749_894_9 + seed).sin() * 43_758.545_3)
        .map(|value| value.rem_euclid(1.0))
        .collect()
}

fn pair_cost(x: &[f64], y: &[f64], cost: Cost) -> f64 {
    let squared: f64 = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum();
    if cost == Cost::Distance { squared.sqrt() } else { squared }
}

/// What every answer must be: a plan with its marginals, potentials feasible for every pair, and the gap between them.
fn check(plan: &Plan, a: Cloud, a_weights: &[f64], b: Cloud, b_weights: &[f64], cost: Cost) {
    let (x, y): (Vec<_>, Vec<_>) = (a.points().collect(), b.points().collect());
    let normalised = |weights: &[f64]| -> Vec<f64> {
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    };
    let (mu, nu) = (normalised(a_weights), normalised(b_weights));
    let (mut rows, mut columns, mut primal) = (vec![0.0; x.len()], vec![0.0; y.len()], 0.0);
    for entry in &plan.entries {
        assert!(entry.mass > 0.0, "{entry:?}");
        let (i, j) = (entry.from as usize, entry.to as usize);
        rows[i] += entry.mass;
        columns[j] += entry.mass;
        primal += entry.mass * pair_cost(x[i], y[j], cost);
    }
    assert!(plan.entries.len() < x.len() + y.len(), "a basic plan has at most n + m - 1 entries");
    assert!(plan.entries.is_sorted_by_key(|entry| (entry.from, entry.to)));
    for (marginal, weight) in rows.iter().zip(&mu).chain(columns.iter().zip(&nu)) {
        assert!((marginal - weight).abs() < 1e-12, "{marginal} against {weight}");
    }
    assert!((primal - plan.cost).abs() <= 1e-12 * primal, "{primal} against {}", plan.cost);
    let (phi, psi) = (&plan.potentials.a, &plan.potentials.b);
    let pairs = x.iter().flat_map(|x| y.iter().map(move |y| pair_cost(x, y, cost)));
    let largest = pairs.fold(0.0, f64::max);
    let mut size: f64 = 0.0;
    for (phi, x) in phi.iter().zip(&x) {
        for (psi, y) in psi.iter().zip(&y) {
            let c = pair_cost(x, y, cost);
            let scale = phi.abs() + psi.abs() + c;
            // Potentials of distant clouds are taken from centred ones: they round like the largest cost.
            assert!(phi + psi <= c + 1e-13 * scale.max(largest), "{phi} + {psi} against {c}");
            size = size.max(scale);
        }
    }
    let dual: f64 = phi.iter().zip(&mu).chain(psi.iter().zip(&nu)).map(|(potential, weight)| potential * weight).sum();
    // Where the cost is zero all that is left of the gap is rounding.
    assert!(plan.gap >= 0.0 && plan.gap <= 1e-9 * plan.cost + 1e-15 * size, "gap {} of {}", plan.gap, plan.cost);
    assert!((primal - dual - plan.gap).abs() <= 1e-12 * size, "{primal} - {dual} against {}", plan.gap);
}

fn solved(a: &[f64], a_weights: &[f64], b: &[f64], b_weights: &[f64], dim: usize, cost: Cost) -> Plan {
    let (a, b) = (Cloud::new(a, dim).unwrap(), Cloud::new(b, dim).unwrap());
    let plan = transport(a, a_weights, b, b_weights, cost).unwrap();
    check(&plan, a, a_weights, b, b_weights, cost);
    plan
}

fn solved_uniform(a: &[f64], b: &[f64], dim: usize, cost: Cost) -> Plan {
    let (a, b) = (Cloud::new(a, dim).unwrap(), Cloud::new(b, dim).unwrap());
    let plan = transport_uniform(a, b, cost).unwrap();
    check(&plan, a, &vec![1.0; a.count()], b, &vec![1.0; b.count()], cost);
    plan
}

#[test]
fn unequal_sizes_agree_with_linear_programming() {
    let file: Value = serde_json::from_str(include_str!("metrics.json")).unwrap();
    let [x, z] = ["X", "Z"].map(|name| numbers(&file[name]));
    let theirs = file["W2_XZ_lp"].as_f64().unwrap();
    let there = solved_uniform(&x, &z, 3, Cost::SquaredDistance);
    let back = solved_uniform(&z, &x, 3, Cost::SquaredDistance);
    for plan in [there, back] {
        assert!((plan.cost.sqrt() - theirs).abs() < 1e-12, "{} against {theirs}", plan.cost.sqrt());
    }
}

#[test]
fn small_problems_agree_with_enumeration() {
    // Three points against two of mass 2 : 1 are six units against six: every pairing of units is tried.
    fn least(units_x: &[&[f64]], units_y: &mut Vec<&[f64]>, from: usize, cost: Cost) -> f64 {
        if from == units_x.len() {
            return units_x.iter().zip(&*units_y).map(|(x, y)| pair_cost(x, y, cost)).sum();
        }
        (from..units_y.len()).fold(f64::INFINITY, |best, k| {
            units_y.swap(from, k);
            let best = best.min(least(units_x, units_y, from + 1, cost));
            units_y.swap(from, k);
            best
        })
    }
    for (case, cost) in (0..20).flat_map(|case| COSTS.map(|cost| (case, cost))) {
        let (a, b) = (scattered(6, case as f64), scattered(4, case as f64 + 0.5));
        let (x, y): (Vec<_>, Vec<_>) = (a.chunks(2).collect(), b.chunks(2).collect());
        let mut units_y = vec![y[0], y[0], y[0], y[0], y[1], y[1]];
        let exact = least(&[x[0], x[0], x[1], x[1], x[2], x[2]], &mut units_y, 0, cost) / 6.0;
        let plan = solved(&a, &[1.0; 3], &b, &[0.2, 0.1], 2, cost);
        assert!((plan.cost - exact).abs() < 1e-13, "{} against {exact}", plan.cost);
        let mut units_y = vec![y[0], y[0], y[0], y[1], y[1], y[1]];
        let exact = least(&[x[0], x[0], x[1], x[1], x[2], x[2]], &mut units_y, 0, cost) / 6.0;
        let plan = solved_uniform(&a, &b, 2, cost);
        assert!((plan.cost - exact).abs() < 1e-13, "{} against {exact}", plan.cost);
    }
}

/// `∫₀¹ c(F⁻¹(u), G⁻¹(u)) du` of two weighted samples.
fn by_quantiles(a: &[f64], a_weights: &[f64], b: &[f64], b_weights: &[f64], cost: Cost) -> f64 {
    let sorted = |points: &[f64], weights: &[f64]| {
        let sum: f64 = weights.iter().sum();
        let mut pairs: Vec<(f64, f64)> = points.iter().zip(weights).map(|(x, w)| (*x, w / sum)).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        pairs
    };
    let (mut a, mut b) = (sorted(a, a_weights), sorted(b, b_weights));
    let (mut i, mut j, mut total) = (0, 0, 0.0);
    while i < a.len() && j < b.len() {
        let mass = a[i].1.min(b[j].1);
        total += mass * pair_cost(&[a[i].0], &[b[j].0], cost);
        a[i].1 -= mass;
        b[j].1 -= mass;
        if a[i].1 <= b[j].1 { i += 1 } else { j += 1 }
    }
    total
}

#[test]
fn on_the_line_it_is_the_distance_of_the_quantiles() {
    for (n, m) in [(1, 7), (40, 40), (60, 35), (300, 211)] {
        let (a, b) = (scattered(n, 0.1), scattered(m, 0.2));
        for (cost, p) in [(Cost::Distance, 1.0), (Cost::SquaredDistance, 2.0)] {
            let exact = one_dimension::w_p(&a, &b, p).unwrap().powf(p);
            let plan = solved_uniform(&a, &b, 1, cost);
            assert!((plan.cost - exact).abs() < 1e-13, "{} against {exact}", plan.cost);
            let (mu, nu) = (scattered(n, 0.3), scattered(m, 0.4));
            let exact = by_quantiles(&a, &mu, &b, &nu, cost);
            let plan = solved(&a, &mu, &b, &nu, 1, cost);
            assert!((plan.cost - exact).abs() < 1e-13, "{} against {exact}", plan.cost);
        }
    }
}

#[test]
fn weights_over_twelve_orders_of_magnitude() {
    let (a, b) = (scattered(80, 0.5), scattered(70, 0.6));
    let spread = |count, seed| scattered(count, seed).iter().map(|u| 1e-12f64.powf(*u)).collect::<Vec<f64>>();
    let (mu, nu) = (spread(80, 0.7), spread(70, 0.8));
    for cost in COSTS {
        let (x, y) = (Cloud::new(&a, 1).unwrap(), Cloud::new(&b, 1).unwrap());
        let plan = transport(x, &mu, y, &nu, cost).unwrap();
        let exact = by_quantiles(&a, &mu, &b, &nu, cost);
        assert!((plan.cost - exact).abs() < 1e-12 * exact, "{} against {exact}", plan.cost);
        assert!(plan.relative_gap() < 1e-12, "{}", plan.gap);
        for (i, weight) in mu.iter().enumerate() {
            let marginal: f64 =
                plan.entries.iter().filter(|entry| entry.from == i as u32).map(|entry| entry.mass).sum();
            assert!((marginal - weight / mu.iter().sum::<f64>()).abs() < 1e-15);
        }
    }
}

#[test]
fn one_point_pays_for_every_other() {
    let b = scattered(30, 1.0);
    for cost in COSTS {
        let exact = b.chunks(3).map(|y| pair_cost(&[0.0; 3], y, cost)).sum::<f64>() / 10.0;
        for plan in [solved_uniform(&[0.0; 3], &b, 3, cost), solved_uniform(&b, &[0.0; 3], 3, cost)] {
            assert!((plan.cost - exact).abs() < 1e-14, "{} against {exact}", plan.cost);
            assert_eq!(plan.entries.len(), 10);
        }
        assert_eq!(solved_uniform(&[1.0, 2.0], &[4.0, 6.0], 2, cost).cost, pair_cost(&[1.0, 2.0], &[4.0, 6.0], cost));
    }
}

#[test]
fn points_without_mass_change_nothing_but_are_certified() {
    let (a, b) = (scattered(24, 1.1), scattered(30, 1.2));
    let (mut mu, mut nu) = (scattered(12, 1.3), scattered(15, 1.4));
    for cost in COSTS {
        let without = solved(&a[..16], &mu[..8], &b[..20], &nu[..10], 2, cost);
        mu[8..].fill(0.0);
        nu[10..].fill(0.0);
        let with = solved(&a, &mu, &b, &nu, 2, cost);
        assert!((with.cost - without.cost).abs() < 1e-14);
        assert!(with.entries.iter().all(|entry| entry.from < 8 && entry.to < 10));
    }
}

#[test]
fn a_move_adds_its_square_and_keeps_the_plan() {
    let (a, b) = (scattered(150, 1.5), scattered(105, 1.6));
    let plan = solved_uniform(&a, &b, 3, Cost::SquaredDistance);
    let mean = |points: &[f64], k| points.iter().skip(k).step_by(3).sum::<f64>() * 3.0 / points.len() as f64;
    // Powers of two, so that the moved points are the same to the last bits that matter.
    for length in [1.0, 1_048_576.0] {
        let step = [length, -length, 0.5 * length];
        let moved: Vec<f64> = b.iter().enumerate().map(|(k, y)| y + step[k % 3]).collect();
        let far = solved_uniform(&a, &moved, 3, Cost::SquaredDistance);
        let added: f64 = (0..3).map(|k| step[k] * (step[k] + 2.0 * (mean(&b, k) - mean(&a, k)))).sum();
        assert!((far.cost - plan.cost - added).abs() < 1e-12 * far.cost, "{} {} {added}", far.cost, plan.cost);
        let pairs = |plan: &Plan| plan.entries.iter().map(|entry| (entry.from, entry.to)).collect::<Vec<_>>();
        assert_eq!(pairs(&plan), pairs(&far));
    }
    // |x - y| is no function of the difference of the means, but both clouds may move together.
    let plan = solved_uniform(&a, &b, 3, Cost::Distance);
    let moved = |points: &[f64]| points.iter().map(|x| x + 1_048_576.0).collect::<Vec<f64>>();
    let together = solved_uniform(&moved(&a), &moved(&b), 3, Cost::Distance);
    assert!((plan.cost - together.cost).abs() < 1e-8);
    let far = solved_uniform(&a, &moved(&b), 3, Cost::Distance);
    assert!((far.cost / (1_048_576.0 * 3f64.sqrt()) - 1.0).abs() < 1e-5);
}

#[test]
fn ties_and_coincident_points() {
    for cost in COSTS {
        let here = vec![0.25; 60];
        let plan = solved_uniform(&here, &here[..42], 2, cost);
        assert_eq!((plan.cost, plan.gap), (0.0, 0.0));
        // A cloud against itself, each point three times.
        let a = scattered(120, 1.7);
        let thrice: Vec<f64> = a.chunks(2).flat_map(|x| [x, x, x].concat()).collect();
        assert_eq!(solved_uniform(&a, &thrice, 2, cost).cost, 0.0);
    }
    // A grid of side 12 against the one of side 6 at the centres of its blocks of four: each quarter moves by (½, ½).
    let grid = |side: usize, step: f64, shift: f64| -> Vec<f64> {
        (0..side * side).flat_map(|k| [(k % side) as f64 * step + shift, (k / side) as f64 * step + shift]).collect()
    };
    let (fine, coarse) = (grid(12, 1.0, 0.0), grid(6, 2.0, 0.5));
    assert!((solved_uniform(&fine, &coarse, 2, Cost::SquaredDistance).cost - 0.5).abs() < 1e-14);
    assert!((solved_uniform(&fine, &coarse, 2, Cost::Distance).cost - 0.5f64.sqrt()).abs() < 1e-14);
}

#[test]
fn many_dimensions_and_many_points() {
    for (n, m, dim) in [(400, 300, 2), (300, 250, 4), (200, 150, 16)] {
        let (a, b) = (scattered(n * dim, 1.8), scattered(m * dim, 1.9));
        let (mu, nu) = (scattered(n, 2.0), scattered(m, 2.1));
        for cost in COSTS {
            let there = solved(&a, &mu, &b, &nu, dim, cost);
            let back = solved(&b, &nu, &a, &mu, dim, cost);
            assert!((there.cost - back.cost).abs() < 1e-13 * there.cost);
            let uniform = solved_uniform(&a, &b, dim, cost);
            let equal = solved(&a, &vec![3.0; n], &b, &vec![0.1; m], dim, cost);
            assert!((uniform.cost - equal.cost).abs() < 1e-13 * uniform.cost);
        }
    }
}

#[test]
fn what_is_no_weight_is_refused() {
    let points = [0.0, 1.0, 2.0];
    let cloud = Cloud::new(&points, 1).unwrap();
    let refuse = |weights: &[f64]| {
        let there = transport(cloud, weights, cloud, &[1.0; 3], Cost::Distance).unwrap_err().to_string();
        let back = transport(cloud, &[1.0; 3], cloud, weights, Cost::Distance).unwrap_err().to_string();
        assert_eq!(there, back);
        there
    };
    assert_eq!(refuse(&[1.0, 1.0]), "there are 2 weights for 3 points; pass one for each");
    assert_eq!(refuse(&[1.0, -0.5, 1.0]), "weight 1 is -0.5; a weight must be finite and not negative");
    assert_eq!(refuse(&[1.0, 0.5, f64::NAN]), "weight 2 is NaN; a weight must be finite and not negative");
    assert_eq!(refuse(&[0.0; 3]), "every weight of a cloud is zero; give at least one point a positive weight");
    let plane = Cloud::new(&[0.0, 0.0], 2).unwrap();
    let error = transport_uniform(cloud, plane, Cost::Distance).unwrap_err();
    assert_eq!(error, TransportError::DimensionMismatch { a: 1, b: 2 });
    let huge = [1e200, -1e200];
    let error = transport_uniform(cloud, Cloud::new(&huge, 1).unwrap(), Cost::SquaredDistance).unwrap_err();
    assert_eq!(error, TransportError::TooLarge { largest: 1e200 });
}

/// Points of which some coincide and many tie, and weights of which some are zero.
fn weighted_cloud() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
    let coordinate = prop_oneof![-3.0..3.0f64, (-2i32..3).prop_map(f64::from)];
    let weight = prop_oneof![4 => 0.0..1.0f64, 1 => Just(0.0), 2 => Just(1.0), 1 => Just(1e-9)];
    prop::collection::vec((coordinate.clone(), coordinate, weight), 1..40).prop_filter_map("no mass", |points| {
        let weights: Vec<f64> = points.iter().map(|point| point.2).collect();
        let massive = weights.iter().any(|&weight| weight > 0.0);
        massive.then(|| (points.iter().flat_map(|point| [point.0, point.1]).collect(), weights))
    })
}

proptest! {
    #[test]
    fn every_answer_is_certified((a, mu) in weighted_cloud(), (b, nu) in weighted_cloud(), squared: bool) {
        let cost = COSTS[usize::from(squared)];
        solved(&a, &mu, &b, &nu, 2, cost);
        solved_uniform(&a, &b, 2, cost);
    }

    #[test]
    fn the_order_of_the_points_does_not_matter((a, mu) in weighted_cloud(), (b, nu) in weighted_cloud()) {
        let reversed = |points: &[f64]| points.chunks(2).rev().flatten().copied().collect::<Vec<f64>>();
        let backwards = |weights: &[f64]| weights.iter().rev().copied().collect::<Vec<f64>>();
        let one = solved(&a, &mu, &b, &nu, 2, Cost::Distance);
        let other = solved(&reversed(&a), &backwards(&mu), &reversed(&b), &backwards(&nu), 2, Cost::Distance);
        prop_assert!((one.cost - other.cost).abs() < 1e-12, "{} {}", one.cost, other.cost);
    }
}
