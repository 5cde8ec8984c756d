//! Clouds of very different scales against an exact reference.

use super::*;

/// A generator that needs no crate: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// The cheapest plan by successive shortest paths over whole units, on differences of coordinates in a unit of the widest: slow, and with nothing
/// moved or guessed. W₂ or W₁.
fn reference(x: &[Vec<f64>], y: &[Vec<f64>], cost: Cost) -> f64 {
    let largest = x.iter().chain(y).flatten().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    // High, so that what is small beside it has a square.
    let unit = (largest.log2().floor() - 400.0).exp2();
    let scaled = |points: &[Vec<f64>]| -> Vec<Vec<f64>> {
        points.iter().map(|point| point.iter().map(|x| x / unit).collect()).collect()
    };
    let (x, y) = (scaled(x), scaled(y));
    let c: Vec<Vec<f64>> = x
        .iter()
        .map(|x| y.iter().map(|y| cost.of_squared(crate::distances::squared_distance(x, y))).collect())
        .collect();
    let (n, m) = (x.len(), y.len());
    let (mut supply, mut demand) = (vec![m as i64; n], vec![n as i64; m]);
    let mut flow = vec![vec![0i64; m]; n];
    let (mut u, mut v) = (vec![0.0f64; n], vec![0.0f64; m]);
    loop {
        // Dijkstra from all that is left, on reduced costs c - u - v; backward along pairs that carry mass.
        let (mut of_x, mut of_y) = (vec![f64::INFINITY; n], vec![f64::INFINITY; m]);
        let (mut from_x, mut from_y) = (vec![usize::MAX; n], vec![usize::MAX; m]);
        let (mut done_x, mut done_y) = (vec![false; n], vec![false; m]);
        (0..n).filter(|&i| supply[i] > 0).for_each(|i| of_x[i] = 0.0);
        let end = loop {
            let next_x = (0..n).filter(|&i| !done_x[i]).min_by(|&a, &b| of_x[a].total_cmp(&of_x[b]));
            let next_y = (0..m).filter(|&j| !done_y[j]).min_by(|&a, &b| of_y[a].total_cmp(&of_y[b]));
            let (at_x, at_y) = (next_x.map_or(f64::INFINITY, |i| of_x[i]), next_y.map_or(f64::INFINITY, |j| of_y[j]));
            if at_x == f64::INFINITY && at_y == f64::INFINITY {
                break None;
            }
            if at_x <= at_y {
                let i = next_x.unwrap();
                done_x[i] = true;
                for j in 0..m {
                    let reach = at_x + (c[i][j] - u[i] - v[j]).max(0.0);
                    if reach < of_y[j] {
                        (of_y[j], from_y[j]) = (reach, i);
                    }
                }
            } else {
                let j = next_y.unwrap();
                done_y[j] = true;
                if demand[j] > 0 {
                    break Some(j);
                }
                for i in 0..n {
                    if flow[i][j] > 0 && at_y < of_x[i] {
                        (of_x[i], from_x[i]) = (at_y, j);
                    }
                }
            }
        };
        let Some(end) = end else { break };
        let length = of_y[end];
        (0..n).filter(|&i| of_x[i] < length).for_each(|i| u[i] += length - of_x[i]);
        (0..m).filter(|&j| of_y[j] < length).for_each(|j| v[j] -= length - of_y[j]);
        let (mut j, mut units, mut path) = (end, demand[end], Vec::new());
        loop {
            let i = from_y[j];
            path.push((i, j));
            if from_x[i] == usize::MAX {
                units = units.min(supply[i]);
                supply[i] -= units;
                break;
            }
            units = units.min(flow[i][from_x[i]]);
            j = from_x[i];
        }
        demand[end] -= units;
        for (k, &(i, j)) in path.iter().enumerate() {
            flow[i][j] += units;
            if let Some(&(_, back)) = path.get(k + 1) {
                flow[i][back] -= units;
            }
        }
    }
    let paid: f64 = (0..n).flat_map(|i| (0..m).map(move |j| (i, j))).map(|(i, j)| flow[i][j] as f64 * c[i][j]).sum();
    cost.distance(paid / (n * m) as f64) * unit
}

/// Two clouds of one of many kinds.
fn instance(random: &mut Random) -> (Vec<Vec<f64>>, Vec<Vec<f64>>, String) {
    let d = 2 + random.below(19);
    let largest = if random.below(8) == 0 { 200 } else { 40 };
    let n = 2 + random.below(largest);
    let m = if random.below(2) == 0 { n } else { 2 + random.below(30) };
    let kind = random.below(7);
    let point = |random: &mut Random| -> Vec<f64> {
        (0..d)
            .map(|_| match kind {
                // Ties on a lattice; Cauchy tails; normal numbers.
                0 => random.below(4) as f64,
                1 => (std::f64::consts::PI * (random.uniform() - 0.5)).tan(),
                _ => random.normal(),
            })
            .collect()
    };
    let mut x: Vec<Vec<f64>> = (0..n).map(|_| point(random)).collect();
    let mut y: Vec<Vec<f64>> = (0..m).map(|_| point(random)).collect();
    let far = 10f64.powf(3.0 + 97.0 * random.uniform().powi(2));
    let outliers = 1 + random.below(3);
    for k in 0..outliers.min(n).min(m) {
        match kind {
            // Shared rows; rows of one cloud alone; rows that are nearly the same.
            2 => {
                x[k][0] = far;
                y[m - 1 - k] = x[k].clone();
            }
            3 => x[k][d - 1] = -far,
            4 => {
                x[k][0] = far.min(1e12);
                y[k] = x[k].iter().map(|x| x * (1.0 + 1e-13 * k as f64)).collect();
            }
            _ => {}
        }
    }
    if kind == 5 {
        // A second cluster far off, of a third of both.
        let far = far.min(1e9);
        x.iter_mut().take(n / 3).chain(y.iter_mut().take(m / 3)).for_each(|point| point[0] += far);
    }
    if kind == 6 {
        // A chain: every point ten times as far as the one before.
        let count = n.min(m);
        for k in 0..count {
            let far = 10f64.powi((k % 14) as i32);
            x[k] = x[k].iter().map(|x| far * (1.0 + 1e-3 * x)).collect();
            y[k] = x[k].iter().map(|x| x + 1e-3 * random.normal()).collect();
        }
    }
    let scale = if random.below(3) == 0 { 10f64.powf(-140.0 * random.uniform()) } else { 1.0 };
    x.iter_mut().chain(&mut y).flatten().for_each(|x| *x *= scale);
    (x, y, format!("kind {kind}, d = {d}, {n} and {m}, far {far:e}, scale {scale:e}"))
}

#[test]
fn every_scale_is_as_exact_as_the_reference() {
    let mut random = Random(20_251_129);
    let (mut worst, mut open) = (0.0f64, 0);
    for k in 0..300 {
        let (x, y, what) = instance(&mut random);
        let d = x[0].len();
        let (a, b): (Vec<f64>, Vec<f64>) = (x.concat(), y.concat());
        let ground = if k % 3 == 0 { Cost::Distance } else { Cost::SquaredDistance };
        let exact = reference(&x, &y, ground);
        let found = optimal_transport(Cloud::new(&a, d).unwrap(), Cloud::new(&b, d).unwrap(), ground).unwrap();
        let error = if exact == 0.0 { found.distance() } else { (found.distance() / exact - 1.0).abs() };
        worst = worst.max(error);
        assert!(error < 1e-9, "{k}: {what}, {ground:?}: {} against {exact}", found.distance());
        assert!(found.relative_error() >= 0.0 || exact == 0.0, "{k}: {what}: {found:?}");
        if found.relative_error() > 1e-9 {
            open += 1;
            println!(
                "{k}: {what}, {ground:?}: certified to {:e} + {:e}",
                found.gap / found.cost,
                found.rounding / found.cost
            );
        }
        assert!(found.std_error() > 0.0 || exact == 0.0, "{k}: {what}: {}", found.std_error());
    }
    println!("worst {worst:e}, {open} without a certificate");
}
