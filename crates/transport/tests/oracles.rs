//! Every distance between fixed point sets against SciPy and POT: tests/oracles.json, made by tests/oracles/transport.py.

use std::sync::LazyLock;

use brenier_transport::assignment::assign;
use brenier_transport::energy::energy_distance;
use brenier_transport::exact::optimal_transport;
use brenier_transport::kl_knn::kl_knn;
use brenier_transport::mmd::{Bandwidth, mmd_squared};
use brenier_transport::nearest::nearest;
use brenier_transport::sinkhorn::{Epsilon, Settings, sinkhorn_divergence};
use brenier_transport::sliced::sliced_w2;
use brenier_transport::weighted::{Plan, transport, transport_uniform};
use brenier_transport::{Cloud, Cost, Potentials};
use serde_json::Value;

static FILE: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("oracles.json")).unwrap());

/// Two clouds and what the oracles say of them.
struct Case {
    name: &'static str,
    dim: usize,
    a: Vec<f64>,
    b: Vec<f64>,
    answers: &'static Value,
}

impl Case {
    fn clouds(&self) -> (Cloud<'_>, Cloud<'_>) {
        (Cloud::new(&self.a, self.dim).unwrap(), Cloud::new(&self.b, self.dim).unwrap())
    }

    fn equal_sizes(&self) -> bool {
        self.a.len() == self.b.len()
    }

    /// The optimal cost.
    fn expected(&self, cost: Cost) -> f64 {
        match cost {
            Cost::Distance => self.answers["w1"].as_f64().unwrap(),
            Cost::SquaredDistance => self.answers["w2_squared"].as_f64().unwrap(),
        }
    }

    /// The cost of point i of the first cloud and point j of the second.
    fn pair(&self, i: usize, j: usize, cost: Cost) -> f64 {
        let (x, y) = (&self.a[i * self.dim..][..self.dim], &self.b[j * self.dim..][..self.dim]);
        let squared: f64 = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum();
        if cost == Cost::Distance { squared.sqrt() } else { squared }
    }

    /// What rounding may do to a cost: 1e-12 of the answer, 1e-14 of the largest cost.
    fn rounding(&self, cost: Cost) -> f64 {
        1e-12 * self.expected(cost) + 1e-14 * self.largest(cost)
    }

    fn largest(&self, cost: Cost) -> f64 {
        let (n, m) = (self.a.len() / self.dim, self.b.len() / self.dim);
        (0..n).flat_map(|i| (0..m).map(move |j| self.pair(i, j, cost))).fold(0.0, f64::max)
    }

    /// Fails unless the potentials are a dual solution whose value is the cost, up to the gap.
    fn assert_certified(&self, cost: Cost, potentials: &Potentials, value: f64, gap: f64, weights: (&[f64], &[f64])) {
        let name = self.name;
        let largest = self.largest(cost);
        assert!((0.0..=1e-9 * value + 1e-12 * largest).contains(&gap), "{name}, {cost:?}: the gap is {gap} of {value}");
        for (i, phi) in potentials.a.iter().enumerate() {
            for (j, psi) in potentials.b.iter().enumerate() {
                let slack = self.pair(i, j, cost) - phi - psi;
                assert!(slack >= -1e-12 * largest, "{name}, {cost:?}: the pair ({i}, {j}) lies {slack} below zero");
            }
        }
        let integral = |phi: &[f64], weights: &[f64]| phi.iter().zip(weights).map(|(phi, w)| phi * w).sum::<f64>();
        let dual = integral(&potentials.a, weights.0) + integral(&potentials.b, weights.1);
        assert!((value - gap - dual).abs() <= 1e-11 * largest, "{name}, {cost:?}: {value} - {gap} is not {dual}");
    }

    /// Fails unless the plan has these marginals and this cost.
    fn assert_plan(&self, cost: Cost, plan: &Plan, weights: (&[f64], &[f64])) {
        let (mut rows, mut columns, mut total) = (vec![0.0; weights.0.len()], vec![0.0; weights.1.len()], 0.0);
        for entry in &plan.entries {
            assert!(entry.mass > 0.0, "{}: {entry:?}", self.name);
            rows[entry.from as usize] += entry.mass;
            columns[entry.to as usize] += entry.mass;
            total += entry.mass * self.pair(entry.from as usize, entry.to as usize, cost);
        }
        for (found, weight) in rows.iter().zip(weights.0).chain(columns.iter().zip(weights.1)) {
            assert!((found - weight).abs() < 1e-14, "{}: a marginal is {found}, not {weight}", self.name);
        }
        assert!((total - plan.cost).abs() <= 10.0 * self.rounding(cost), "{}: {total} and {}", self.name, plan.cost);
        self.assert_cost(cost, plan.cost);
        self.assert_certified(cost, &plan.potentials, plan.cost, plan.gap, weights);
    }

    fn assert_cost(&self, cost: Cost, value: f64) {
        let expected = self.expected(cost);
        let allowed = self.rounding(cost);
        assert!(
            (value - expected).abs() <= allowed,
            "{}, {cost:?}: {value:e} against {expected:e}, off by {:e} where {allowed:e} is allowed",
            self.name,
            value - expected
        );
    }
}

const COSTS: [Cost; 2] = [Cost::SquaredDistance, Cost::Distance];

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn cases() -> impl Iterator<Item = Case> {
    FILE["cases"].as_array().unwrap().iter().map(|answers| Case {
        name: answers["name"].as_str().unwrap(),
        dim: answers["dim"].as_u64().unwrap() as usize,
        a: numbers(&answers["a"]),
        b: numbers(&answers["b"]),
        answers,
    })
}

/// Clouds whose points have equal weights.
fn uniform_cases() -> impl Iterator<Item = Case> {
    cases().filter(|case| case.answers["a_weights"].is_null())
}

#[test]
fn assignment_is_exact_and_certified() {
    let mut count = 0;
    for case in uniform_cases().filter(Case::equal_sizes) {
        let n = case.a.len() / case.dim;
        let weights = vec![1.0 / n as f64; n];
        let (a, b) = case.clouds();
        for cost in COSTS {
            let found = assign(a, b, cost).unwrap();
            case.assert_cost(cost, found.cost);
            case.assert_certified(cost, &found.potentials, found.cost, found.gap, (&weights, &weights));
            let mut taken = found.matches.clone();
            taken.sort_unstable();
            assert!(taken.iter().copied().eq(0..n as u32), "{}: {:?} is no permutation", case.name, found.matches);
        }
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn matches_are_optimal_though_the_clouds_be_far_apart() {
    // At a distance of 1e6 the cost holds four digits of what the pairing decides: look at the pairing itself.
    for case in uniform_cases().filter(Case::equal_sizes) {
        let (n, dim) = (case.a.len() / case.dim, case.dim);
        let centred = |points: &[f64]| -> Vec<f64> {
            let mean = |j: usize| points.iter().skip(j).step_by(dim).sum::<f64>() / n as f64;
            let means: Vec<f64> = (0..dim).map(mean).collect();
            points.iter().zip(means.iter().cycle()).map(|(x, mean)| x - mean).collect()
        };
        let moved = Case { a: centred(&case.a), b: centred(&case.b), ..case };
        let (a, b) = case.clouds();
        let matches = assign(a, b, Cost::SquaredDistance).unwrap().matches;
        let pairs = matches.iter().enumerate();
        let found = pairs.map(|(i, &j)| moved.pair(i, j as usize, Cost::SquaredDistance)).sum::<f64>() / n as f64;
        let expected = case.answers["w2_squared_centred"].as_f64().unwrap();
        // The coordinates themselves are rounded at 1e6 · 2⁻⁵³.
        let allowed = 1e-9 * expected + 1e-14 * moved.largest(Cost::SquaredDistance);
        assert!((found - expected).abs() <= allowed, "{}: {found} against {expected}", case.name);
    }
}

#[test]
fn plans_between_unequal_sizes_are_exact_and_certified() {
    for case in uniform_cases() {
        let (a, b) = case.clouds();
        let weights = [a, b].map(|cloud| vec![1.0 / cloud.count() as f64; cloud.count()]);
        for cost in COSTS {
            case.assert_plan(cost, &transport_uniform(a, b, cost).unwrap(), (&weights[0], &weights[1]));
        }
    }
}

#[test]
fn plans_between_weighted_clouds_are_exact_and_certified() {
    let mut count = 0;
    for case in cases().filter(|case| !case.answers["a_weights"].is_null()) {
        let weights = ["a_weights", "b_weights"].map(|name| {
            let whole = numbers(&case.answers[name]);
            let total: f64 = whole.iter().sum();
            whole.iter().map(|weight| weight / total).collect::<Vec<f64>>()
        });
        let (a, b) = case.clouds();
        for cost in COSTS {
            let plan = transport(a, &weights[0], b, &weights[1], cost).unwrap();
            case.assert_plan(cost, &plan, (&weights[0], &weights[1]));
        }
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn w1_and_w2_are_exact_in_every_dimension() {
    for case in uniform_cases() {
        let (a, b) = case.clouds();
        let weights = [a, b].map(|cloud| vec![1.0 / cloud.count() as f64; cloud.count()]);
        for cost in COSTS {
            for (case, a, b, weights) in [
                (&case, a, b, (&weights[0], &weights[1])),
                (&Case { a: case.b.clone(), b: case.a.clone(), ..case }, b, a, (&weights[1], &weights[0])),
            ] {
                let found = optimal_transport(a, b, cost).unwrap();
                case.assert_cost(cost, found.cost);
                case.assert_certified(cost, &found.potentials, found.cost, found.gap, (weights.0, weights.1));
                let distance = if cost == Cost::Distance { found.cost } else { found.cost.sqrt() };
                assert_eq!(found.distance(), distance, "{}", case.name);
            }
        }
    }
}

#[test]
fn sliced_w2_has_the_value_of_each_direction() {
    let mut count = 0;
    for case in uniform_cases().filter(|case| case.answers["sliced"].is_object()) {
        let (a, b) = case.clouds();
        let found = sliced_w2(a, b, &numbers(&case.answers["sliced"]["directions"])).unwrap();
        for (found, expected) in found.per_direction.iter().zip(numbers(&case.answers["sliced"]["w2_squared"])) {
            let allowed = 1e-12 * expected + 1e-14 * case.largest(Cost::SquaredDistance);
            assert!((found - expected).abs() <= allowed, "{}: {found} against {expected}", case.name);
            count += 1;
        }
    }
    assert!(count >= 30, "{count}");
}

#[test]
fn sinkhorn_divergences_have_both_conventions() {
    let mut count = 0;
    for case in uniform_cases().filter(|case| case.answers["sinkhorn"].is_array()) {
        for row in case.answers["sinkhorn"].as_array().unwrap() {
            let expect = |name: &str| row[name].as_f64().unwrap();
            let squared = row["cost"] == "squared_distance";
            let settings = Settings {
                epsilon: Epsilon::Absolute(expect("epsilon")),
                cost: if squared { Cost::SquaredDistance } else { Cost::Distance },
                tolerance: 1e-10,
                max_iterations: 20_000,
            };
            let (a, b) = case.clouds();
            let found = sinkhorn_divergence(a, b, &settings).unwrap();
            assert!(found.converged && found.marginal_error <= 1e-10, "{}: {}", case.name, found.marginal_error);
            assert_eq!(found.epsilon, expect("epsilon"));
            let values =
                [("value", found.value), ("ot_ab", found.ot_ab), ("ot_aa", found.ot_aa), ("ot_bb", found.ot_bb)];
            for (name, value) in values {
                // The value is stationary: a marginal error of 1e-10 leaves less of the potentials' size.
                let allowed = 1e-9 * expect("ot_ab").abs().max(1.0);
                assert!((value - expect(name)).abs() < allowed, "{}, {name}: {value} against {}", case.name, row);
            }
            count += 1;
        }
    }
    assert_eq!(count, 16);
}

#[test]
fn energy_distances_are_sums_over_all_pairs() {
    for case in uniform_cases() {
        let (a, b) = case.clouds();
        let found = energy_distance(a, b).unwrap().value;
        let expected = case.answers["energy_v"].as_f64().unwrap();
        let allowed = 1e-13 * case.largest(Cost::Distance);
        assert!((found - expected).abs() <= allowed, "{}: {found} against {expected}", case.name);
    }
}

#[test]
fn mmd_is_the_unbiased_statistic_of_the_gaussian_kernel() {
    let bandwidth = FILE["bandwidth"].as_f64().unwrap();
    for case in uniform_cases().filter(|case| case.answers["mmd_squared"].is_number()) {
        let (a, b) = case.clouds();
        let found = mmd_squared(a, b, Bandwidth::Absolute(bandwidth)).unwrap();
        let expected = case.answers["mmd_squared"].as_f64().unwrap();
        assert_eq!(found.bandwidth, bandwidth);
        // The points are divided by h, and each coordinate is rounded there.
        let reach = case.a.iter().chain(&case.b).fold(0.0, |reach: f64, x| reach.max(x.abs())) / bandwidth;
        let allowed = 1e-13 + f64::EPSILON * reach;
        assert!((found.value - expected).abs() < allowed, "{}: {} against {expected}", case.name, found.value);
    }
}

#[test]
fn nearest_neighbours_give_the_divergence() {
    let mut count = 0;
    for case in uniform_cases().filter(|case| case.answers["kl_knn"].is_object()) {
        let (a, b) = case.clouds();
        for (k, expected) in case.answers["kl_knn"].as_object().unwrap() {
            let found = kl_knn(a, b, k.parse().unwrap()).unwrap();
            let (value, expected) = (found.value.unwrap(), expected.as_f64().unwrap());
            assert!(
                (value - expected).abs() < 1e-12 * expected.abs().max(1.0),
                "{}: {value} against {expected}",
                case.name
            );
            assert_eq!(found.reliable, case.dim <= 6, "{}: {} ties", case.name, found.ties);
        }
        count += 1;
    }
    assert!(count >= 10, "{count}");
}

#[test]
fn neighbours_are_those_of_a_search_through_all_points() {
    for case in uniform_cases() {
        let (a, b) = case.clouds();
        let k = b.count().min(4);
        let found = nearest(a, b, k, false).unwrap();
        assert_eq!((found.indices.len(), found.distances.len()), (a.count() * k, a.count() * k));
        for i in 0..a.count() {
            let mut all: Vec<f64> = (0..b.count()).map(|j| case.pair(i, j, Cost::Distance)).collect();
            let (indices, distances) = (&found.indices[i * k..][..k], &found.distances[i * k..][..k]);
            for (&j, &distance) in indices.iter().zip(distances) {
                let own = all[j as usize];
                assert!((distance - own).abs() <= 1e-13 * own, "{}: {distance} and {own}", case.name);
            }
            all.sort_unstable_by(f64::total_cmp);
            for (distance, exact) in distances.iter().zip(&all) {
                assert!((distance - exact).abs() <= 1e-13 * exact, "{}: {distance} against {exact}", case.name);
            }
        }
    }
}
