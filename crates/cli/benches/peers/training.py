#!/usr/bin/env python3
"""Times `train run` and `train sample` beside the same network, loss, optimiser and sampler in JAX and PyTorch, in interleaved rounds.

Ours is the binary. A step is the wall time of a long run less that of a short one, divided by the difference of their steps: with the batches that it
draws, the clipping, and the average of the parameters. A peer is one compiled step, which takes batches that lie ready: its clock starts after compilation and leaves
out drawing them. All are pinned to the same cores. README.md says how to run it.
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

# NumPy and the peers are imported in child processes only: Linux hands the peak memory of a parent to its children.

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


def initial(size):
    """The parameters of crates/model/src/residual_mlp.rs."""
    import numpy as np

    dim, width, depth, _, _ = SIZES[size]
    generator = np.random.default_rng(1)

    def normal(rows, columns, sd):
        return generator.normal(scale=sd, size=(rows, columns)).astype(np.float32)

    def constant(rows, columns, value):
        return np.full((rows, columns), value, np.float32)

    return {
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


def batches(size, batch, data):
    """Eight batches of noised points, the noise, σ, and the weight of |D - x|² (σ² + 1)/σ² = |σ s + z|² (σ² + 1)."""
    import numpy as np

    dim, rows, generator = SIZES[size][0], np.load(data), np.random.default_rng(2)
    for _ in range(8):
        sigma = np.exp(generator.normal(-1.2, 1.2, size=(batch, 1))).astype(np.float32)
        noise = generator.normal(size=(batch, dim)).astype(np.float32)
        clean = rows[generator.integers(len(rows), size=batch)]
        yield clean + sigma * noise, noise, sigma, sigma**2 + 1.0


def karras():
    import numpy as np

    return [float(s) for s in np.linspace(80.0 ** (1 / 7), 0.002 ** (1 / 7), LEVELS) ** 7] + [0.0]


def starts(size, tile):
    import numpy as np

    if SAMPLES % tile:
        sys.exit(f"error: tiles of {tile} do not make {SAMPLES} samples")
    generator = np.random.default_rng(3)
    return [(80.0 * generator.normal(size=(tile, SIZES[size][0]))).astype(np.float32) for _ in range(SAMPLES // tile)]


def jax_network(size):
    """Initial parameters, and the score."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    parameters = jax.tree.map(jnp.asarray, initial(size))
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


def jax_train(size, batch, data):
    import jax
    import jax.numpy as jnp

    steps = SIZES[size][4]
    parameters, score = jax_network(size)
    ready = [tuple(map(jnp.asarray, batch)) for batch in batches(size, batch, data)]

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
        state, loss = step(state, float(k + 1), *ready[k % 8])
    loss.block_until_ready()
    start = time.perf_counter()
    for k in range(WARM, WARM + steps):
        state, loss = step(state, float(k + 1), *ready[k % 8])
    loss.block_until_ready()
    print(json.dumps({"seconds": (time.perf_counter() - start) / steps, "loss": float(loss)}))


def jax_sample(size, tile):
    import jax
    import jax.numpy as jnp

    parameters, score = jax_network(size)
    levels = karras()

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
    start_points = list(map(jnp.asarray, starts(size, tile)))
    heun(parameters, start_points[0]).block_until_ready()
    start = time.perf_counter()
    ends = [heun(parameters, points) for points in start_points]
    jax.block_until_ready(ends)
    print(json.dumps({"seconds": time.perf_counter() - start}))


def torch_network(size, device):
    """Initial parameters as a list, and the score."""
    import torch

    p = initial(size)
    tensor = lambda x: torch.tensor(x, device=device, requires_grad=True)  # noqa: E731
    names = ("input", "hidden", "gain", "output", "shift")
    outer = {name: tensor(p[name]) for name in names}
    blocks = [tuple(map(tensor, block)) for block in p["blocks"]]
    frequencies = 2.0 ** (torch.arange(FREQUENCIES, device=device) / 3 - 1)[None]

    def score(y, sigma):
        variance = sigma**2 + 1.0
        root = torch.sqrt(variance)
        phase = torch.log(sigma) / 4.0 * frequencies
        hidden = torch.nn.functional.silu(torch.cat([torch.cos(phase), torch.sin(phase)], 1) @ outer["hidden"])
        e = torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1)
        h = (y / root) @ outer["input"]
        for inner, gain, shift, last in blocks:
            h = h + torch.nn.functional.silu((h @ inner) * (e @ gain) + e @ shift) @ last
        f = (h * (e @ outer["gain"])) @ outer["output"] + e @ outer["shift"]
        return f / (sigma * root) - y / variance

    return [*outer.values(), *(x for block in blocks for x in block)], score


def torch_train(size, batch, data, device, threads):
    import torch

    torch.set_num_threads(threads)
    steps = SIZES[size][4]
    parameters, score = torch_network(size, device)
    ready = [tuple(torch.tensor(x, device=device) for x in batch) for batch in batches(size, batch, data)]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01, fused=True)
    average = [p.detach().clone() for p in parameters]

    @torch.compile
    def loss_of(noised, noise, sigma, weight):
        return ((sigma * score(noised, sigma) + noise).square().mean(1, keepdim=True) * weight).mean()

    def step(k):
        optimizer.zero_grad()
        loss = loss_of(*ready[k % 8])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 0.001)
        return loss

    for k in range(WARM):
        loss = step(k)
    loss.item()
    start = time.perf_counter()
    for k in range(WARM, WARM + steps):
        loss = step(k)
    loss = loss.item()
    print(json.dumps({"seconds": (time.perf_counter() - start) / steps, "loss": loss}))


def torch_sample(size, tile, device, threads):
    import torch

    torch.set_num_threads(threads)
    _, score = torch_network(size, device)
    levels = [torch.full((1, 1), s, device=device) for s in karras()]
    score = torch.compile(score)

    @torch.no_grad()
    def heun(y):
        for now, then in zip(levels, levels[1:]):
            slope = -now * score(y, now)
            moved = y + (then - now) * slope
            if then > 0.0:
                moved = y + (then - now) / 2 * (slope - then * score(moved, then))
            y = moved
        return y

    points = [torch.tensor(start, device=device) for start in starts(size, tile)]
    heun(points[0]).sum().item()
    start = time.perf_counter()
    sum(heun(start).sum() for start in points).item()
    print(json.dumps({"seconds": time.perf_counter() - start}))


# --- The process that starts them -------------------------------------------------------------------------------------


def run(command, threads, accept=(0,)):
    """What it printed, its wall time and its peak memory in MiB."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

    def pin():
        if cores:
            os.sched_setaffinity(0, cores[-threads:])

    names = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "RAYON")
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in names}
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


def config_of(size, batch, data, folder):
    dim, width, depth, _, _ = SIZES[size]
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


def ours_train(binary, config, size, threads, device="cpu"):
    """Seconds a step, seconds to the end of the first step, peak memory."""

    def stopped_after(steps):
        command = [binary, "run", config, "--fresh", "--quiet", "--threads", str(threads), "--max-steps", str(steps)]
        return run([*command, "--device", device], threads, accept=(75,))[1:]

    first, _ = stopped_after(1)
    short, _ = stopped_after(WARM)
    long, memory = stopped_after(WARM + SIZES[size][4])
    return (long - short) / SIZES[size][4], first, memory


def ours_sample(binary, directory, out, threads, device="cpu"):
    """Seconds for so many samples, less reading the run, and peak memory."""

    def of(count):
        grid = ["--sampler", "heun", "--steps", str(LEVELS), "--grid", "karras", "--device", device]
        command = [binary, "sample", directory, "--checkpoint", "latest", "--count", str(count), "--out", out, "--quiet"]
        if os.path.exists(out):
            os.remove(out)
        return run(command + grid + ["--threads", str(threads)], threads)[1:]

    few, _ = of(512)
    many, memory = of(512 + SAMPLES)
    return many - few, memory


def median_of(times):
    return statistics.median(times) if times else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ours", default="target/release/train", help="our binary")
    parser.add_argument("--device", default="cpu", help="our device; peers take the GPU where it is not cpu [cpu]")
    parser.add_argument("--sizes", default="S,M,L", help="networks [S,M,L]")
    parser.add_argument("--batch", type=int, help="points of a batch [512, 1024 and 512]")
    parser.add_argument("--threads", default="1,2", help="numbers of threads of everybody [1,2]")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds [3]")
    parser.add_argument("--peers", default="jax", help="jax, torch or both [jax]")
    parser.add_argument("--tiles", default="256,1024,8192", help="tiles that peers sample in [256,1024,8192]")
    parser.add_argument("--only", choices=("training", "sampling"), help="one half")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    children = {"draw": draw, "jax_train": jax_train, "jax_sample": jax_sample}
    children |= {"torch_train": torch_train, "torch_sample": torch_sample}
    if options.child:
        what, *arguments = json.loads(options.child)
        children[what](*arguments)
        return

    if options.device == "cpu":
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    peers = options.peers.split(",")
    theirs = "cpu" if options.device == "cpu" else "cuda"
    columns = " | ".join(f"{peer} | {peer} / ours" for peer in peers)
    memories = " | ".join(["ours, MiB", *(f"{peer}, MiB" for peer in peers)])
    rule = "|---|" + "--:|" * (2 + 2 * len(peers) + 1 + len(peers))
    training = [f"| network | threads | ours, ms a step | {columns} | {memories} | first step after, s |", rule + "--:|"]
    sampling = [f"| network | threads | ours, s | {columns} | {memories} |", rule]

    def asked(peer, what, size, last, threads):
        """The seconds and the peak memory of a peer."""
        more = [theirs, threads] if peer == "torch" else []
        output, _, peak = run(child(f"{peer}_{what}", size, *last, *more), threads)
        return json.loads(output)["seconds"], peak

    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes.split(","):
            data, batch = os.path.join(folder, f"{size}.npy"), options.batch or SIZES[size][3]
            run(child("draw", data, SIZES[size][0]), 1)
            config = config_of(size, batch, data, folder)
            for threads in map(int, options.threads.split(",")):
                rounds = 1 if options.only == "sampling" else options.rounds
                own, first, memory, of_peers = [], [], [], {peer: [] for peer in peers}
                for _ in range(rounds):
                    step, start, peak = ours_train(options.ours, config, size, threads, options.device)
                    own.append(step), first.append(start), memory.append(peak)
                    for peer in peers if options.only != "sampling" else []:
                        of_peers[peer].append(asked(peer, "train", size, [batch, data], threads))
                if options.only != "sampling":
                    step = median_of(own)
                    times = [median_of([seconds for seconds, _ in of_peers[peer]]) for peer in peers]
                    peaks = [max(memory), *(max(peak for _, peak in of_peers[peer]) for peer in peers)]
                    cells = [f"{1e3 * step:.2f}", *(f"{1e3 * time:.2f} | {time / step:.2f}" for time in times)]
                    cells += [f"{peak:.0f}" for peak in peaks] + [f"{median_of(first):.2f}"]
                    training.append(f"| {size} | {threads} | " + " | ".join(cells) + " |")
                    print(training[-1], file=sys.stderr)
                if options.only == "training":
                    continue
                own, memory, of_peers = [], [], {peer: {} for peer in peers}
                for _ in range(options.rounds):
                    run_directory, out = os.path.join(folder, size), os.path.join(folder, "x.npy")
                    seconds, peak = ours_sample(options.ours, run_directory, out, threads, options.device)
                    own.append(seconds), memory.append(peak)
                    for peer in peers:
                        for tile in map(int, options.tiles.split(",")):
                            of_peers[peer].setdefault(tile, []).append(asked(peer, "sample", size, [tile], threads))
                seconds, cells, peaks = median_of(own), [], [max(memory)]
                for peer in peers:
                    of_tiles = {tile: median_of([time for time, _ in found]) for tile, found in of_peers[peer].items()}
                    tile = min(of_tiles, key=of_tiles.get)
                    cells.append(f"{of_tiles[tile]:.2f} ({tile}) | {of_tiles[tile] / seconds:.2f}")
                    peaks.append(max(peak for _, peak in of_peers[peer][tile]))
                cells = [f"{seconds:.2f}", *cells, *(f"{peak:.0f}" for peak in peaks)]
                sampling.append(f"| {size} | {threads} | " + " | ".join(cells) + " |")
                print(sampling[-1], file=sys.stderr)
    if options.only != "sampling":
        print("\n".join(training))
    if options.only != "training":
        print(("\n" if options.only is None else "") + "\n".join(sampling))


if __name__ == "__main__":
    main()
