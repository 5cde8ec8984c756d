//! Divergences of fixed point sets against an independent implementation (NumPy and SciPy): tests/metrics.json.

mod fixture;

use brenier_transport::kl_knn::kl_knn;
use brenier_transport::sinkhorn::{Epsilon, Settings, sinkhorn_divergence};
use brenier_transport::{Cloud, Cost};
use fixture::{numbers, reference};
use serde_json::Value;

fn close(ours: f64, theirs: &Value) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() < 1e-9 * theirs.abs().max(1.0), "{ours} against {theirs}");
}

#[test]
fn sinkhorn_in_both_conventions() {
    let file = reference();
    let rows = file["sinkhorn"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 12);
    let [x, y, z] = ["X", "Y", "Z"].map(|name| numbers(&file[name]));
    for row in rows {
        let other = if row["pair"] == "XY" { &y } else { &z };
        let (a, b) = (Cloud::new(&x, 3).unwrap(), Cloud::new(other, 3).unwrap());
        // With half the squared distance and ε, all is half of what the squared distance and 2ε give.
        let factor = if row["cost"] == "sq" { 1.0 } else { 0.5 };
        let settings = Settings {
            epsilon: Epsilon::Absolute(row["eps"].as_f64().unwrap() / factor),
            cost: Cost::SquaredDistance,
            tolerance: 4e-8,
            max_iterations: 100_000,
        };
        let divergence = sinkhorn_divergence(a, b, &settings).unwrap();
        assert!(divergence.converged, "{row}: {divergence:?}");
        close(factor * divergence.ot_ab, &row["OT_eps_ab"]);
        close(factor * divergence.ot_aa, &row["OT_eps_aa"]);
        close(factor * divergence.ot_bb, &row["OT_eps_bb"]);
        close(factor * divergence.value, &row["divergence"]);
    }
}

#[test]
fn nearest_neighbour_kl() {
    let file = reference();
    let [x, y, z] = ["X", "Y", "Z"].map(|name| numbers(&file[name]));
    let [x, y, z] = [&x, &y, &z].map(|points| Cloud::new(points, 3).unwrap());
    for (a, b, k, name) in [(x, y, 5, "KL_X_Y"), (y, x, 5, "KL_Y_X"), (x, z, 5, "KL_X_Z"), (x, y, 1, "KL_X_Y_k1")] {
        let kl = kl_knn(a, b, k).unwrap();
        close(kl.value.unwrap(), &file["knn_kl"][name]);
        assert!(kl.reliable);
    }
}
