#!/usr/bin/env python3
"""Times L_r of 10,000 points at 4,096 queries beside NumPy: same points, same answer, interleaved rounds.

Ours is the example `localization` of brenier-measure, which also times the two matrix products that the weights and the
means need; NumPy computes softmax weights, a covariance by one matrix product a query, and its eigenvalues, in tiles of
queries. Both read the same .npy files and report the wall seconds of the computation alone. It fails unless the values
agree to 1e-9. README.md says how to run it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

SEED = 0
AGREEMENT = 1e-9  # relative
LAWS = ("gaussian", "clusters", "digits")


# --- What the child processes do -------------------------------------------------------------------------------------


def draw(law, n, m, dim, snr, x_path, y_path):
    """Writes points x, and queries y = r x + z of other draws; the laws of crates/measure/benches/localization.rs."""
    import numpy as np

    rng = np.random.Generator(np.random.PCG64([SEED, n, m, dim]))
    centres = 2.0 * rng.standard_normal((10, dim))
    own = rng.standard_normal((n + m, dim))
    chosen = centres[np.arange(n + m) % 10]
    x = {
        "gaussian": lambda: own,
        "clusters": lambda: chosen + 0.3 * own,
        "digits": lambda: (0.5 * chosen + own) / np.sqrt(1.0 + np.arange(dim)),
    }[law]()
    np.save(x_path, x[:n])
    np.save(y_path, snr * x[n:] + rng.standard_normal((m, dim)))


def numpy_localization(x, y, snr, tile=64):
    import numpy as np

    answers = np.empty(len(y))
    half_squares = 0.5 * snr**2 * (x**2).sum(1)
    for start in range(0, len(y), tile):
        logits = snr * (y[start : start + tile] @ x.T) - half_squares
        weights = np.exp(logits - logits.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        means = weights @ x
        covariances = np.empty((len(weights), x.shape[1], x.shape[1]))
        for covariance, weight, mean in zip(covariances, weights, means):
            deviations = x - mean
            np.matmul((weight[:, None] * deviations).T, deviations, out=covariance)
        answers[start : start + tile] = snr**2 * np.linalg.eigvalsh(covariances)[:, -1]
    return answers


def solve(x_path, y_path, snr, out_path):
    import numpy as np

    x, y = np.load(x_path), np.load(y_path)
    start = time.perf_counter()
    values = numpy_localization(x, y, snr)
    seconds = time.perf_counter() - start
    np.save(out_path, values)
    print(json.dumps({"seconds": seconds}))


def difference(ours_path, theirs_path):
    """The largest relative difference; both lose the digits of values far below one, where 1 - w rounds in NumPy."""
    import numpy as np

    ours, theirs = np.load(ours_path).ravel(), np.load(theirs_path)
    kept = theirs > 1e-4
    print(json.dumps({"difference": float(np.max(np.abs(ours - theirs)[kept] / theirs[kept], initial=0.0)),
                      "compared": int(kept.sum())}))


# --- The process that starts them ------------------------------------------------------------------------------------


def run(command, threads):
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

    def pin():
        if cores:
            os.sched_setaffinity(0, cores[-threads:])

    names = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "RAYON")
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in names}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, preexec_fn=pin, text=True)
    if done.returncode != 0:
        sys.exit(f"error: exit status {done.returncode} of {command}")
    return json.loads(done.stdout) if done.stdout else None


def child(*arguments):
    return [sys.executable, os.path.abspath(__file__), "--child", json.dumps(arguments)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ours", default="target/release/examples/localization", help="the example's executable")
    parser.add_argument("--points", type=int, default=10_000, help="points [10000]")
    parser.add_argument("--queries", type=int, default=4096, help="queries [4096]")
    parser.add_argument("--dim", type=int, default=64, help="dimension [64]")
    parser.add_argument("--snr", default="0.3,1,3,10", help="signal-to-noise ratios [0.3,1,3,10]")
    parser.add_argument("--laws", default=",".join(LAWS), help=f"where the points lie [{','.join(LAWS)}]")
    parser.add_argument("--threads", type=int, default=1, help="threads of everybody [1]")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds [3]")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, *arguments = json.loads(options.child)
        {"draw": draw, "solve": solve, "difference": difference}[what](*arguments)
        return

    table = [
        "| points | r | L, s | two products, s | L / products | NumPy, s | NumPy / L | largest difference |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        x, y, ours, theirs = (os.path.join(folder, name + ".npy") for name in ("x", "y", "ours", "theirs"))
        for law in options.laws.split(","):
            for snr in map(float, options.snr.split(",")):
                run(child("draw", law, options.points, options.queries, options.dim, snr, x, y), options.threads)
                times = {"ours": [], "products": [], "numpy": []}
                for number in range(options.rounds):
                    print(f"round {number + 1} of {options.rounds}: {law}, r = {snr}", file=sys.stderr)
                    found = run([options.ours, x, y, repr(snr), "1", ours], options.threads)
                    times["ours"] += found["localization"]
                    # The faster of the two tilings.
                    times["products"].append(min(tiling[0] for tiling in found["products"]))
                    times["numpy"].append(run(child("solve", x, y, snr, theirs), options.threads)["seconds"])
                compared = run(child("difference", ours, theirs), 1)
                if compared["difference"] > AGREEMENT:
                    sys.exit(f"error: L differs from NumPy's by {compared['difference']}: {law}, r = {snr}")
                own, products, peer = (statistics.median(times[name]) for name in ("ours", "products", "numpy"))
                largest = f"{compared['difference']:.0e}" if compared["compared"] else "all below 1e-4"
                table.append(
                    f"| {law} | {snr:g} | {own:.2f} | {products:.2f} | {own / products:.1f} | {peer:.1f} "
                    f"| {peer / own:.0f} | {largest} |"
                )
                print(table[-1], file=sys.stderr)
    print("\n".join(table))


if __name__ == "__main__":
    main()
