#!/usr/bin/env python3
"""Times `train run` and `train sample` beside the same network, loss, optimiser and sampler in JAX, in interleaved rounds.

Ours is the binary. A step is the wall time of a long run less that of a short one, divided by the difference of their steps: with the batches that it
draws, the clipping, and the average of the parameters. JAX is one compiled step with donated buffers, which takes batches that lie ready:
its clock starts after compilation and leaves out drawing them. Both are pinned to the same cores. README.md says how to run it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

# NumPy and JAX are imported in child processes only: Linux hands the peak memory of a parent to its children.

SIZES = {
    # dimension, width, depth, batch, steps of a round
    "S": (2, 128, 3, 512, 400),
    "M": (64, 256, 4, 1024, 60),
    "L": (784, 512, 4, 512, 30),
}
EMBEDDING = 64
FREQUENCIES = 16
WARM = 5
ROWS = 4096
LEVELS = 18
SAMPLES = 8192


# --- Child processes --------------------------------------------------------------------------------------------------


def draw(path, dim):
    import numpy as np

    generator = np.random.default_rng(0)
    centres = generator.normal(size=(8, dim))
    np.save(path, (centres[np.arange(ROWS) % 8] + 0.3 * generator.normal(size=(ROWS, dim))).astype(np.float32))


def jax_network(size):
    """Initial parameters, and F(x, c_noise) of crates/model/src/residual_mlp.rs."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    dim, width, depth, _, _ = SIZES[size]
    generator = np.random.default_rng(1)

    def normal(rows, columns, sd):
        return jnp.asarray(generator.normal(scale=sd, size=(rows, columns)).astype(np.float32))

    def constant(rows, columns, value):
        return jnp.full((rows, columns), value, jnp.float32)

    parameters = {
        "input": normal(dim, width, dim**-0.5),
        "hidden": normal(2 * FREQUENCIES, EMBEDDING - 1, FREQUENCIES**-0.5),
        "blocks": [
            (
                normal(width, width, width**-0.5),
                constant(EMBEDDING, width, 1.0),
                constant(EMBEDDING, width, 0.0),
                normal(width, width, (width * depth) ** -0.5),
            )
            for _ in range(depth)
        ],
        "gain": constant(EMBEDDING, width, 1.0),
        "output": constant(width, dim, 0.0),
        "shift": constant(EMBEDDING, dim, 0.0),
    }
    frequencies = jnp.asarray(2.0 ** (np.arange(FREQUENCIES) / 3 - 1), jnp.float32)[None]

    def network(p, x, c_noise):
        phase = c_noise * frequencies
        features = jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], 1)
        hidden = jax.nn.silu(features @ p["hidden"])
        e = jnp.concatenate([hidden, jnp.ones((hidden.shape[0], 1), jnp.float32)], 1)
        h = x @ p["input"]
        for inner, gain, shift, outer in p["blocks"]:
            h = h + jax.nn.silu((h @ inner) * (e @ gain) + e @ shift) @ outer
        return (h * (e @ p["gain"])) @ p["output"] + e @ p["shift"]

    def score(p, y, sigma):
        """∇log p, EDM preconditioning with σ_d = 1; σ [n, 1] or [1, 1]."""
        variance = sigma**2 + 1.0
        root = jnp.sqrt(variance)
        return network(p, y / root, jnp.log(sigma) / 4.0) / (sigma * root) - y / variance

    return parameters, score


def jax_train(size, data):
    import jax
    import jax.numpy as jnp
    import numpy as np

    dim, _, _, batch, steps = SIZES[size]
    parameters, score = jax_network(size)
    rows = np.load(data)
    generator = np.random.default_rng(2)

    def make():
        sigma = np.exp(generator.normal(-1.2, 1.2, size=(batch, 1))).astype(np.float32)
        noise = generator.normal(size=(batch, dim)).astype(np.float32)
        clean = rows[generator.integers(len(rows), size=batch)]
        # |D - x|² (σ² + 1)/σ² = |σ s + z|² (σ² + 1).
        weight = sigma**2 + 1.0
        return tuple(jnp.asarray(x) for x in (clean + sigma * noise, noise, sigma, weight))

    batches = [make() for _ in range(8)]

    def loss_of(p, noised, noise, sigma, weight):
        error = sigma * score(p, noised, sigma) + noise
        return jnp.mean(jnp.mean(error**2, 1, keepdims=True) * weight)

    def step(state, k, noised, noise, sigma, weight):
        p, first, second, average = state
        loss, gradient = jax.value_and_grad(loss_of)(p, noised, noise, sigma, weight)
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradient)))
        clip = jnp.minimum(1.0, 1.0 / norm)
        rate, beta1, beta2 = 1e-3, 0.9, 0.999
        gradient = jax.tree.map(lambda g: g * clip, gradient)
        first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, first, gradient)
        second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, second, gradient)
        bias1, bias2 = 1 - beta1**k, 1 - beta2**k
        p = jax.tree.map(
            lambda p, m, v: p * (1 - rate * 0.01) - rate * (m / bias1) / (jnp.sqrt(v / bias2) + 1e-8), p, first, second
        )
        average = jax.tree.map(lambda a, p: a + 0.001 * (p - a), average, p)
        return (p, first, second, average), loss

    step = jax.jit(step, donate_argnums=0)
    zeros = lambda: jax.tree.map(jnp.zeros_like, parameters)  # noqa: E731
    state = (parameters, zeros(), zeros(), jax.tree.map(jnp.copy, parameters))
    for k in range(WARM):
        state, loss = step(state, float(k + 1), *batches[k % 8])
    loss.block_until_ready()
    start = time.perf_counter()
    for k in range(WARM, WARM + steps):
        state, loss = step(state, float(k + 1), *batches[k % 8])
    loss.block_until_ready()
    print(json.dumps({"seconds": (time.perf_counter() - start) / steps, "loss": float(loss)}))


def jax_sample(size, tile):
    import jax
    import jax.numpy as jnp
    import numpy as np

    if SAMPLES % tile:
        sys.exit(f"error: tiles of {tile} do not make {SAMPLES} samples")
    dim = SIZES[size][0]
    parameters, score = jax_network(size)
    ramp = np.linspace(80.0 ** (1 / 7), 0.002 ** (1 / 7), LEVELS) ** 7
    levels = [float(s) for s in ramp] + [0.0]

    def heun(p, y):
        for now, then in zip(levels, levels[1:]):
            # One noise level for all points: its embedding is one row.
            slope = -now * score(p, y, jnp.full((1, 1), now, jnp.float32))
            moved = y + (then - now) * slope
            if then > 0.0:
                again = -then * score(p, moved, jnp.full((1, 1), then, jnp.float32))
                moved = y + (then - now) / 2 * (slope + again)
            y = moved
        return y

    heun = jax.jit(heun)
    generator = np.random.default_rng(3)
    start_points = [
        jnp.asarray(80.0 * generator.normal(size=(tile, dim)).astype(np.float32)) for _ in range(SAMPLES // tile)
    ]
    heun(parameters, start_points[0]).block_until_ready()
    start = time.perf_counter()
    ends = [heun(parameters, points) for points in start_points]
    jax.block_until_ready(ends)
    print(json.dumps({"seconds": time.perf_counter() - start}))


# --- The process that starts them -------------------------------------------------------------------------------------


def run(command, threads, accept=(0,)):
    """What it printed, its wall time and its peak memory in MiB."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

    def pin():
        if cores:
            os.sched_setaffinity(0, cores[-threads:])

    names = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "RAYON")
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in names} | {"JAX_PLATFORMS": "cpu"}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=errors, env=environment, preexec_fn=pin)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0), errors.seek(0)
        if child.returncode not in accept:
            sys.exit(f"error: exit status {child.returncode} of {command}\n{errors.read()}")
        return output.read(), seconds, usage.ru_maxrss / (1024 if platform.system() == "Linux" else 1 << 20)


def child(*arguments):
    return [sys.executable, os.path.abspath(__file__), "--child", json.dumps(arguments)]


def config_of(size, data, folder):
    dim, width, depth, batch, _ = SIZES[size]
    path = os.path.join(folder, f"{size}.json")
    with open(path, "w") as file:
        json.dump(
            {
                "name": size,
                "seed": 0,
                "target": {"dataset": {"path": data, "standardize": "none"}},
                "method": {
                    "denoising_score_matching": {
                        "network": {"residual_mlp": {"width": width, "depth": depth, "embedding": EMBEDDING}},
                        "preconditioning": "edm",
                        "noise_levels": {"log_normal": {"mean": -1.2, "sd": 1.2}},
                        "loss": {"all_scales": {"weighting": "edm", "antithetic": False}},
                    }
                },
                "training": {
                    "steps": 1_000_000,
                    "batch": batch,
                    "optimizer": {"adamw": {}},
                    "learning_rate": {"constant": {"rate": 1e-3}},
                    "clip_norm": 1.0,
                    "ema": [{"half_life": 1000}],
                },
                "output": {"directory": folder, "log_every": 100_000, "checkpoint_every": 1_000_000, "figures": False},
            },
            file,
        )
    return path


def ours_train(binary, config, size, threads):
    """Seconds a step, seconds to the end of the first step, peak memory."""

    def stopped_after(steps):
        command = [binary, "run", config, "--fresh", "--quiet", "--threads", str(threads), "--max-steps", str(steps)]
        return run(command, threads, accept=(75,))[1:]

    first, _ = stopped_after(1)
    short, _ = stopped_after(WARM)
    long, memory = stopped_after(WARM + SIZES[size][4])
    return (long - short) / SIZES[size][4], first, memory


def ours_sample(binary, directory, out, threads):
    """Seconds for so many samples, less reading the run."""

    def of(count):
        grid = ["--sampler", "heun", "--steps", str(LEVELS), "--grid", "karras"]
        command = [binary, "sample", directory, "--checkpoint", "latest", "--count", str(count), "--out", out, "--quiet"]
        if os.path.exists(out):
            os.remove(out)
        return run(command + grid + ["--threads", str(threads)], threads)[1:]

    few, _ = of(256)
    many, memory = of(256 + SAMPLES)
    return many - few, memory


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ours", default="target/release/train", help="our binary")
    parser.add_argument("--sizes", default="S,M,L", help="networks [S,M,L]")
    parser.add_argument("--threads", default="1,2", help="numbers of threads of everybody [1,2]")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds [3]")
    parser.add_argument("--tiles", default="256,1024,8192", help="tiles that JAX samples in [256,1024,8192]")
    parser.add_argument("--only", choices=("training", "sampling"), help="one half")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, *arguments = json.loads(options.child)
        {"draw": draw, "train": jax_train, "sample": jax_sample}[what](*arguments)
        return

    training = [
        "| network | threads | ours, ms a step | JAX | JAX / ours | peak MiB, ours | JAX | first step after, s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    sampling = ["| network | threads | ours, s | JAX, s (tile) | JAX / ours | peak MiB, ours | JAX |", "|---|--:|--:|--:|--:|--:|--:|"]
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes.split(","):
            data = os.path.join(folder, f"{size}.npy")
            run(child("draw", data, SIZES[size][0]), 1)
            config = config_of(size, data, folder)
            for threads in map(int, options.threads.split(",")):
                steps, peers, first, memory, of_peer = [], [], [], [], []
                for _ in range(options.rounds if options.only != "sampling" else 1):
                    step, start, peak = ours_train(options.ours, config, size, threads)
                    steps.append(step), first.append(start), memory.append(peak)
                    if options.only != "sampling":
                        output, _, peak = run(child("train", size, data), threads)
                        peers.append(json.loads(output)["seconds"]), of_peer.append(peak)
                if options.only != "sampling":
                    own, peer = statistics.median(steps), statistics.median(peers)
                    training.append(
                        f"| {size} | {threads} | {1e3 * own:.2f} | {1e3 * peer:.2f} | {peer / own:.2f} "
                        f"| {max(memory):.0f} | {max(of_peer):.0f} | {statistics.median(first):.2f} |"
                    )
                    print(training[-1], file=sys.stderr)
                if options.only == "training":
                    continue
                own, memory, peers, of_peer = [], [], {}, []
                for _ in range(options.rounds):
                    seconds, peak = ours_sample(options.ours, os.path.join(folder, size), os.path.join(folder, "x.npy"), threads)
                    own.append(seconds), memory.append(peak)
                    for tile in map(int, options.tiles.split(",")):
                        output, _, peak = run(child("sample", size, tile), threads)
                        peers.setdefault(tile, []).append(json.loads(output)["seconds"])
                        of_peer.append(peak)
                tile, times = min(peers.items(), key=lambda peer: statistics.median(peer[1]))
                own, peer = statistics.median(own), statistics.median(times)
                sampling.append(
                    f"| {size} | {threads} | {own:.2f} | {peer:.2f} ({tile}) | {peer / own:.2f} | {max(memory):.0f} | {max(of_peer):.0f} |"
                )
                print(sampling[-1], file=sys.stderr)
    if options.only != "sampling":
        print("\n".join(training))
    if options.only != "training":
        print(("\n" if options.only is None else "") + "\n".join(sampling))


if __name__ == "__main__":
    main()
