#!/usr/bin/env python3
"""Writes what SciPy, POT and ArviZ answer for fixed point sets; the Rust tests read it.

    python tests/oracles/transport.py

from the root of the repository, with the packages of requirements.txt beside this file, writes
crates/transport/tests/oracles.json. Run by hand: nothing of this is needed to build or to test.

How far each answer can be trusted:
- W1 and W2 between equal weights: SciPy's `linear_sum_assignment` on centred points, then the cost of its pairs in
  rational arithmetic. Exact but for the choice among pairings whose costs differ by rounding.
- W1 and W2 between unequal sizes or whole-number weights: the same after repeating every point as often as makes the
  sizes equal. POT's `emd2` answers them too, but in floating-point masses: it is asked only to agree to 1e-10.
- Sinkhorn: a log-domain iteration to a marginal error of 1e-12. POT's `sinkhorn_log`, whose alternating updates converge
  slowly between a cloud and itself, must agree to 1e-6 after 3000.
- Energy distance, MMD, k-NN KL: sums of f64 without rounding of the sum.
- Pareto k: ArviZ, of weights at exact quantiles.
"""

import datetime
import importlib.metadata
import json
import math
import platform
from fractions import Fraction

import numpy as np
import ot
from arviz_stats.base import array_stats
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import wasserstein_distance

OUTPUT = "crates/transport/tests/oracles.json"
RNG = np.random.Generator(np.random.PCG64(4))
BANDWIDTH = 1.5


def normal(n, d, decimals=3):
    return np.round(RNG.standard_normal((n, d)), decimals)


def ring(n, modes):
    angle = 2 * np.pi * RNG.integers(modes, size=n) / modes
    return np.round(np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * RNG.standard_normal((n, 2)), 3)


def lattice(n, d, side):
    return RNG.integers(side, size=(n, d)).astype(float)


def clouds():
    """Name, first cloud, second cloud, weights of both or None."""
    cloud = normal(120, 2)
    grid = np.array([(i, j) for i in range(13) for j in range(13)], dtype=float)
    line = np.outer(RNG.integers(-2000, 2000, 80) / 1000, [1.0, 2.0, 2.0])
    other_line = np.outer(RNG.integers(-2000, 2000, 80) / 1000, [1.0, 2.0, 2.0])
    tiny_and_huge = np.array([1e-3, 1.0, 1e3])
    return [
        ("gaussians in the plane", cloud, normal(120, 2), None),
        ("rings of 8 and 6 modes", ring(120, 8), ring(120, 6), None),
        ("space with one wide axis", normal(80, 3), np.round(normal(80, 3) * [3, 1, 1], 3), None),
        ("four dimensions", normal(60, 4), normal(60, 4) + 0.5, None),
        ("five dimensions", normal(60, 5), normal(60, 5) + 0.5, None),
        ("eight dimensions", normal(50, 8), normal(50, 8), None),
        ("64 dimensions", normal(24, 64, 2), normal(24, 64, 2), None),
        ("a grid and itself moved", grid, RNG.permutation(grid) + [3.0, 1.0], None),
        ("a cloud and itself shuffled", cloud, RNG.permutation(cloud), None),
        ("ties on a small grid of the plane", lattice(150, 2, 5), lattice(150, 2, 5), None),
        ("ties on a small grid of space", lattice(120, 3, 3), lattice(120, 3, 3), None),
        ("ties on a cube of eight dimensions", lattice(60, 8, 2), lattice(60, 8, 2), None),
        ("far apart in the plane", normal(50, 2), normal(50, 2) + 1e6, None),
        ("far apart in eight dimensions", normal(30, 8), normal(30, 8) - 1e6, None),
        ("one location and a cloud", np.full((40, 3), 0.5), normal(40, 3), None),
        ("two locations", np.full((20, 2), -0.25), np.full((20, 2), 1.75), None),
        ("one point each", normal(1, 3), normal(1, 3), None),
        ("one point and a cloud", normal(1, 3), normal(40, 3), None),
        ("points of one line in space", line, other_line, None),
        ("axes of very different scale", normal(60, 3) * tiny_and_huge, normal(60, 3) * tiny_and_huge, None),
        ("a small cloud inside a large one", np.round(normal(100, 2) * 0.01, 5), normal(100, 2) * 10, None),
        ("unequal sizes in the plane", normal(120, 2), normal(90, 2), None),
        ("unequal sizes in eight dimensions", normal(50, 8), normal(37, 8) + 0.25, None),
        ("unequal sizes with ties", lattice(60, 2, 4), lattice(36, 2, 4), None),
        ("a line", normal(60, 1), normal(60, 1) + 0.5, None),
        ("a line with unequal sizes", normal(60, 1), normal(37, 1) + 0.5, None),
        ("weights in the plane", normal(40, 2), normal(30, 2), (weights(40, 300), weights(30, 300))),
        ("weights in five dimensions", normal(30, 5), normal(35, 5), (weights(30, 400), weights(35, 400))),
        ("weights with ties", lattice(40, 2, 4), lattice(40, 2, 4), (weights(40, 120), weights(40, 120))),
    ]


def weights(n, total):
    """n positive whole numbers of sum `total`."""
    cuts = np.sort(RNG.choice(total - 1, n - 1, replace=False) + 1)
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(int)


def exact_squares(x, y):
    """|x_i - y_i|² of paired points, each rounded once."""
    rational = [[[Fraction(value) for value in point] for point in cloud] for cloud in (x.tolist(), y.tolist())]
    return [float(sum((p - q) ** 2 for p, q in zip(*pair))) for pair in zip(*rational)]


def wasserstein(a, b, masses):
    """W1, W2² and W2² of the clouds moved to mean zero."""
    if masses is None:
        common = math.lcm(len(a), len(b))
        repeats = (np.full(len(a), common // len(a)), np.full(len(b), common // len(b)))
    else:
        repeats = masses
    mass_a, mass_b = (repeat / repeat.sum() for repeat in repeats)
    x, y = np.repeat(a, repeats[0], axis=0), np.repeat(b, repeats[1], axis=0)
    centred = x - x.mean(0), y - y.mean(0)

    rows, columns = linear_sum_assignment(cdist(*centred, "sqeuclidean"))
    w2_squared = math.fsum(exact_squares(x[rows], y[columns])) / len(x)
    inner = math.fsum(((centred[0][rows] - centred[1][columns]) ** 2).sum(1).tolist()) / len(x)
    rows, columns = linear_sum_assignment(cdist(x, y))
    w1 = math.fsum(math.sqrt(square) for square in exact_squares(x[rows], y[columns])) / len(x)

    # POT: other algorithm, other rounding.
    shift = a.T @ mass_a - b.T @ mass_b
    theirs = ot.emd2(mass_a, mass_b, cdist(a - a.T @ mass_a, b - b.T @ mass_b, "sqeuclidean"), numItermax=10**9)
    assert abs(theirs + shift @ shift - w2_squared) <= 1e-10 * w2_squared + 1e-15, (theirs + shift @ shift, w2_squared)
    theirs = ot.emd2(mass_a, mass_b, cdist(a, b), numItermax=10**9)
    assert abs(theirs - w1) <= 1e-10 * w1 + 1e-15, (theirs, w1)
    if a.shape[1] == 1:
        assert abs(wasserstein_distance(a[:, 0], b[:, 0], mass_a, mass_b) - w1) < 1e-12
        assert abs(ot.emd2_1d(a[:, 0], b[:, 0], mass_a, mass_b) - w2_squared) < 1e-12
    return {"w1": w1, "w2_squared": w2_squared, "w2_squared_centred": inner}


def sinkhorn(a, b, costs, epsilon):
    """min <P, C> + ε KL(P | a ⊗ b) between equal weights."""

    def softmin(matrix, potential):
        return -epsilon * (logsumexp((potential[None, :] - matrix) / epsilon, axis=1) - math.log(len(potential)))

    def potentials(matrix, symmetric):
        f, g = np.zeros(len(matrix)), np.zeros(matrix.shape[1])
        for _ in range(100_000):
            if symmetric:
                f = (f + softmin(matrix, f)) / 2
                g = f
            else:
                g = softmin(matrix.T, f)
                f = softmin(matrix, g)
            plan = np.exp((f[:, None] + g[None, :] - matrix) / epsilon) / matrix.size
            error = abs(plan.sum(0) - 1 / matrix.shape[1]).sum() + abs(plan.sum(1) - 1 / len(matrix)).sum()
            if error < 1e-12:
                return math.fsum(f) / len(f) + math.fsum(g) / len(g)
        raise RuntimeError(f"marginal error {error}")

    def theirs(matrix):
        mass = [np.full(n, 1 / n) for n in matrix.shape]
        _, log = ot.bregman.sinkhorn_log(*mass, matrix, epsilon, numItermax=3000, stopThr=1e-8, warn=False, log=True)
        potential = epsilon * (log["log_u"] - np.log(mass[0])), epsilon * (log["log_v"] - np.log(mass[1]))
        return potential[0].mean() + potential[1].mean()

    values = {}
    for name, (x, y) in {"ot_ab": (a, b), "ot_aa": (a, a), "ot_bb": (b, b)}.items():
        matrix = costs(x, y)
        values[name] = potentials(matrix, name != "ot_ab")
        assert abs(theirs(matrix) - values[name]) < 1e-6 * max(1, values[name]), (name, theirs(matrix), values[name])
    return {"epsilon": epsilon} | values | {"value": values["ot_ab"] - (values["ot_aa"] + values["ot_bb"]) / 2}


def mean_of(matrix):
    return math.fsum(matrix.ravel().tolist()) / matrix.size


def energy_distance(a, b):
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| with the pairs of a point and itself (v) and without (u)."""
    ab, aa, bb = mean_of(cdist(a, b)), mean_of(cdist(a, a)), mean_of(cdist(b, b))
    n, m = len(a), len(b)
    u = 2 * ab - aa * n / (n - 1) - bb * m / (m - 1) if min(n, m) > 1 else None
    return {"energy_v": 2 * ab - aa - bb, "energy_u": u}


def mmd_squared(a, b):
    """The unbiased MMD² of the kernel exp(-|x - y|²/(2h²)), h = BANDWIDTH."""

    def kernel(x, y):
        return np.exp(-cdist(x, y, "sqeuclidean") / (2 * BANDWIDTH**2))

    def without_self(x):
        return math.fsum((kernel(x, x) - np.eye(len(x))).ravel().tolist()) / (len(x) * (len(x) - 1))

    return without_self(a) + without_self(b) - 2 * mean_of(kernel(a, b))


def kl_knn(a, b, k):
    """KL(A | B) = (d/n) Σ log(ν_k(x_i)/ρ_k(x_i)) + log(m/(n - 1))."""
    own = cKDTree(a).query(a, [k + 1])[0][:, 0]
    other = cKDTree(b).query(a, [k])[0][:, 0]
    return a.shape[1] * math.fsum(np.log(other / own).tolist()) / len(a) + math.log(len(b) / (len(a) - 1))


def sliced(a, b, directions):
    values = [ot.sliced_wasserstein_distance(a, b, projections=directions[[k]].T, p=2) ** 2 for k in range(len(directions))]
    return {"directions": directions.ravel().tolist(), "w2_squared": [float(value) for value in values]}


def case(name, a, b, masses):
    print(name)
    entry = {"name": name, "dim": a.shape[1], "a": compact(a), "b": compact(b)}
    if masses is not None:
        entry |= {"a_weights": masses[0].tolist(), "b_weights": masses[1].tolist()}
    entry |= wasserstein(a, b, masses)
    if masses is not None:
        return entry
    entry |= energy_distance(a, b)
    if min(len(a), len(b)) > 1:
        entry["mmd_squared"] = mmd_squared(a, b)
    distinct = len(np.unique(np.concatenate([a, b]), axis=0)) == len(a) + len(b)
    if distinct and min(len(a), len(b)) > 5:
        entry["kl_knn"] = {str(k): kl_knn(a, b, k) for k in (1, 5)}
    if "far" not in name and a.shape[1] > 1 and len(a) > 1:
        directions = np.round(RNG.standard_normal((3, a.shape[1])), 3)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        entry["sliced"] = sliced(a, b, directions)
    if name in ("gaussians in the plane", "64 dimensions", "unequal sizes in the plane", "ties on a small grid of space"):
        entry["sinkhorn"] = []
        for cost, costs in {"squared_distance": lambda x, y: cdist(x, y, "sqeuclidean"), "distance": cdist}.items():
            for relative in (0.05, 0.5):
                epsilon = float(f"{relative * costs(a, b).mean():.4g}")
                entry["sinkhorn"].append({"cost": cost} | sinkhorn(a, b, costs, epsilon))
    return entry


def compact(points):
    return [int(x) if x == int(x) else x for x in points.ravel().tolist()]


def pareto_k():
    """k of log-weights -k₀ log(1 - u) at the midpoints u = (i + ½)/n, their order reversed."""
    rows = []
    for n in (1000, 5000):
        for shape in (0.1, 0.4, 0.7, 1.1):
            u = (np.arange(n)[::-1] + 0.5) / n
            _, k = array_stats.psislw(-shape * np.log1p(-u))
            rows.append({"n": n, "shape": shape, "k": float(k)})
    return rows


def main():
    packages = ("numpy", "scipy", "POT", "arviz-stats")
    document = {
        "made_by": {
            "command": "python tests/oracles/transport.py",
            "date": datetime.date.today().isoformat(),
            "python": platform.python_version(),
            "versions": {package: importlib.metadata.version(package) for package in packages},
        },
        "conventions": {
            "w2_squared": "min E|X - Y|², no factor 1/2; w2_squared_centred: of the clouds moved to mean zero",
            "sinkhorn": "ot = min <P, C> + ε KL(P | a ⊗ b); value = ot_ab - (ot_aa + ot_bb)/2; ε absolute",
            "energy": "2E|X - Y| - E|X - X'| - E|Y - Y'|; v with the pairs of a point and itself, u without",
            "mmd_squared": f"unbiased, kernel exp(-|x - y|²/(2h²)), h = {BANDWIDTH}",
            "kl_knn": "KL(A | B), by k; own neighbours exclude the point itself",
            "pareto_k": "log w = -shape log(1 - (i + ½)/n), i < n",
        },
        "bandwidth": BANDWIDTH,
        "cases": [case(*entry) for entry in clouds()],
        "pareto_k": pareto_k(),
    }
    with open(OUTPUT, "w") as file:
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
        file.write(text.replace('{"name"', '\n{"name"').replace('"cases"', '\n"cases"') + "\n")
    print(f"{OUTPUT}: {len(text)} characters")


if __name__ == "__main__":
    main()
