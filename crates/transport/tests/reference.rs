//! Distances of fixed point sets against an independent implementation (NumPy and SciPy): tests/metrics.json.

mod fixture;

use brenier_transport::assignment::assign;
use brenier_transport::exact::optimal_transport;
use brenier_transport::{Cloud, Cost, gaussian, one_dimension::w_p, sliced::sliced_w2};
use fixture::{numbers, reference};
use serde_json::Value;

fn close(ours: f64, theirs: &Value) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() < 1e-12 * theirs.max(1.0), "{ours} against {theirs}");
}

#[test]
fn sliced_w2_between_equal_and_unequal_sizes() {
    let file = reference();
    let [x, y, z, directions] = ["X", "Y", "Z", "directions"].map(|name| numbers(&file[name]));
    let [x, y, z] = [&x, &y, &z].map(|points| Cloud::new(points, 3).unwrap());
    let xy = sliced_w2(x, y, &directions).unwrap();
    close(xy.w2(), &file["sliced"]["SW2_XY"]);
    for (ours, theirs) in xy.per_direction.iter().zip(file["sliced"]["per_direction_W2_XY"].as_array().unwrap()) {
        close(ours.sqrt(), theirs);
    }
    close(sliced_w2(x, z, &directions).unwrap().w2(), &file["sliced"]["SW2_XZ"]);
    close(sliced_w2(z, x, &directions).unwrap().w2(), &file["sliced"]["SW2_XZ"]);
}

#[test]
fn one_dimension_between_equal_and_unequal_sizes() {
    let file = reference();
    let [x, y, z] = ["X", "Y", "Z"].map(|name| numbers(&file[name]).into_iter().step_by(3).collect::<Vec<f64>>());
    for (a, b, p, name) in
        [(&x, &y, 1.0, "W1_xy"), (&x, &y, 2.0, "W2_xy"), (&x, &z, 1.0, "W1_xz"), (&x, &z, 2.0, "W2_xz")]
    {
        close(w_p(a, b, p).unwrap(), &file["w_1d"][name]);
    }
}

#[test]
fn gaussians_singular_ones_included() {
    let file = reference();
    let rows = file["bures"].as_array().unwrap();
    assert!(rows.len() >= 5);
    for row in rows {
        let [m1, s1, m2, s2] = ["m1", "S1", "m2", "S2"].map(|name| numbers(&row[name]));
        close(gaussian::w2(&m1, &s1, &m2, &s2).unwrap(), &row["W2"]);
        close(gaussian::w2(&m2, &s2, &m1, &s1).unwrap(), &row["W2"]);
    }
}

#[test]
fn exact_w2_and_w1_of_equal_and_unequal_sizes() {
    let file = reference();
    let [x, y, z] = ["X", "Y", "Z"].map(|name| numbers(&file[name]));
    let [x, y, z] = [&x, &y, &z].map(|points| Cloud::new(points, 3).unwrap());
    let w2 = optimal_transport(x, y, Cost::SquaredDistance).unwrap();
    close(w2.distance(), &file["W2_XY"]);
    assert!(w2.gap < 1e-13, "{}", w2.gap);
    let matches = assign(x, y, Cost::SquaredDistance).unwrap().matches;
    assert_eq!(serde_json::json!(matches), file["W2_assignment"]);
    close(optimal_transport(x, y, Cost::Distance).unwrap().distance(), &file["W1_XY"]);
    close(optimal_transport(x, z, Cost::SquaredDistance).unwrap().distance(), &file["W2_XZ_lp"]);
    close(optimal_transport(z, x, Cost::SquaredDistance).unwrap().distance(), &file["W2_XZ_lp"]);
}

#[test]
fn exact_transport_on_the_line_has_feasible_potentials() {
    let file = reference();
    let [x, y, z] = ["X", "Y", "Z"].map(|name| numbers(&file[name]).into_iter().step_by(3).collect::<Vec<f64>>());
    for (a, b, name) in [(&x, &y, "xy"), (&x, &z, "xz"), (&z, &x, "xz")] {
        for (cost, order) in [(Cost::Distance, "W1"), (Cost::SquaredDistance, "W2")] {
            let (cloud_a, cloud_b) = (Cloud::new(a, 1).unwrap(), Cloud::new(b, 1).unwrap());
            let optimum = optimal_transport(cloud_a, cloud_b, cost).unwrap();
            close(optimum.distance(), &file["w_1d"][format!("{order}_{name}")]);
            assert!(optimum.gap < 1e-13, "{}", optimum.gap);
            for (x, phi) in a.iter().zip(&optimum.potentials.a) {
                for (y, psi) in b.iter().zip(&optimum.potentials.b) {
                    assert!(phi + psi <= cost.of_squared((x - y) * (x - y)) + 1e-13);
                }
            }
        }
    }
}
