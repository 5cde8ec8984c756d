#!/usr/bin/env python3
"""Times `train metrics` beside SciPy, POT and OTT-JAX: same points, same answer, interleaved rounds.

Every solver runs in a process of its own that reads the same two .npy files. Of each process we take CPU seconds
and peak memory as the kernel counted them. A Python process also reports the CPU seconds of its solver alone, the
cost matrix included: ratios divide that by all of our process, so nobody pays for starting an interpreter but we
pay for starting ours. JAX is compiled before its clock starts. README.md says how to run it.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

# NumPy and the peers are imported in child processes only: Linux hands the peak memory of a parent to its children.

SEED = 0
EXACT = 1e-9  # relative: exact solvers answer the same question
SINKHORN_TOLERANCE = 1e-6  # marginal error: L1 in ours and OTT, the smaller L2 in POT
SINKHORN_EPSILON = 0.05  # in units of the mean cost; passed on as an absolute number
SINKHORN_AGREEMENT = 1e-5  # of the mean cost
ITERATIONS = 10_000
NEIGHBOURS = 5


@dataclass
class Instance:
    """Two clouds, the distance between them, and who is asked."""

    name: str
    metric: str  # w1, w2, sinkhorn_divergence, energy_distance, kl_knn
    clouds: str  # what `draw` draws
    n: int
    m: int
    dim: int
    solvers: tuple
    slow: bool = False  # a peer takes minutes: peers run in the first round only
    quick: bool = False  # part of --quick


INSTANCES = [
    Instance("Gaussians", "w2", "gaussians", 1000, 1000, 2, ("ours", "scipy", "pot"), quick=True),
    Instance("Gaussians", "w2", "gaussians", 1000, 1000, 64, ("ours", "scipy", "pot"), quick=True),
    Instance("Gaussians", "w2", "gaussians", 1000, 800, 2, ("ours", "pot"), quick=True),
    Instance("Gaussians", "sinkhorn_divergence", "gaussians", 1000, 1000, 2, ("ours", "pot", "ott"), quick=True),
    Instance("Gaussians", "w2", "gaussians", 5000, 5000, 2, ("ours", "scipy", "pot")),
    Instance("Gaussians, scales 1 and 3", "w2", "scales", 5000, 5000, 2, ("ours", "scipy", "pot")),
    Instance("rings of 8 and 6 modes", "w2", "rings", 5000, 5000, 2, ("ours", "scipy", "pot")),
    Instance("Gaussians", "w2", "gaussians", 5000, 5000, 64, ("ours", "scipy", "pot")),
    Instance("Gaussians", "w2", "gaussians", 10_000, 10_000, 64, ("ours", "scipy", "pot"), slow=True),
    Instance("Gaussians", "w2", "gaussians", 5000, 4000, 2, ("ours", "pot")),
    Instance("Gaussians", "w2", "gaussians", 5000, 4000, 64, ("ours", "pot")),
    Instance("Gaussians", "w1", "gaussians", 5000, 5000, 2, ("ours", "scipy", "pot")),
    Instance("Gaussians", "w2", "gaussians", 50_000, 50_000, 2, ("ours", "ours on 2 threads")),
    Instance("Gaussians", "w2", "gaussians", 50_000, 50_000, 3, ("ours", "ours on 2 threads")),
    Instance("Gaussians", "sinkhorn_divergence", "gaussians", 5000, 5000, 2, ("ours", "ours on 2 threads", "pot", "ott"), slow=True),
    Instance("Gaussians", "sinkhorn_divergence", "gaussians", 5000, 5000, 64, ("ours", "ours on 2 threads", "pot", "ott"), slow=True),
    Instance("Gaussians", "energy_distance", "gaussians", 5000, 5000, 2, ("ours", "scipy")),
    Instance("Gaussians", "energy_distance", "gaussians", 5000, 5000, 64, ("ours", "scipy")),
    Instance("Gaussians", "kl_knn", "gaussians", 50_000, 50_000, 2, ("ours", "scipy")),
]


# --- What the child processes do -------------------------------------------------------------------------------------


def draw(clouds, n, m, dim, a_path, b_path):
    """Writes both clouds; prints the mean squared distance between them."""
    import numpy as np

    rng = np.random.Generator(np.random.PCG64([SEED, n, m, dim]))

    def ring(count, modes):
        angle = 2 * np.pi * rng.integers(modes, size=count) / modes
        return np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * rng.standard_normal((count, 2))

    if clouds == "rings":
        a, b = ring(n, 8), ring(m, 6)
    else:
        a, b = rng.standard_normal((n, dim)), rng.standard_normal((m, dim))
        if clouds == "scales":
            b[:, 0] *= 3.0
    np.save(a_path, a)
    np.save(b_path, b)
    mean_cost = (a**2).sum(1).mean() + (b**2).sum(1).mean() - 2 * a.mean(0) @ b.mean(0)
    return {"mean_cost": float(mean_cost)}


def squared_distances(a, b):
    """|x_i - y_j|² by one matrix product, faster than SciPy's cdist above a few dimensions."""
    import numpy as np
    from scipy.spatial.distance import cdist

    if a.shape[1] <= 8:
        return cdist(a, b, "sqeuclidean")
    a, b = a - a.mean(0), b - a.mean(0)
    costs = a @ b.T
    costs *= -2.0
    costs += (a**2).sum(1)[:, None]
    costs += (b**2).sum(1)[None, :]
    return np.maximum(costs, 0.0, out=costs)


def scipy_w2(a, b, epsilon):
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(squared_distances(a, b))
    return np.sqrt(((a[rows] - b[columns]) ** 2).sum(1).mean())


def scipy_w1(a, b, epsilon):
    import numpy as np
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    rows, columns = linear_sum_assignment(cdist(a, b))
    return np.sqrt(((a[rows] - b[columns]) ** 2).sum(1)).mean()


def scipy_energy_distance(a, b, epsilon):
    from scipy.spatial.distance import cdist

    def mean(x, y):
        # A thousand rows at a time: in cache, and faster than one matrix.
        return sum(cdist(x[i : i + 1000], y).sum() for i in range(0, len(x), 1000)) / (len(x) * len(y))

    return 2 * mean(a, b) - mean(a, a) - mean(b, b)


def scipy_kl_knn(a, b, epsilon):
    import numpy as np
    from scipy.spatial import cKDTree

    own = cKDTree(a).query(a, NEIGHBOURS + 1)[0][:, -1]
    other = cKDTree(b).query(a, NEIGHBOURS)[0][:, -1]
    return a.shape[1] * np.log(other / own).mean() + np.log(len(b) / (len(a) - 1))


def pot_emd2(costs):
    import numpy as np
    import ot

    # The default stops after 100,000 pivots, with a warning and a wrong answer.
    value, log = ot.emd2([], [], costs, numItermax=10**10, numThreads=1, log=True, return_matrix=False)
    if log["warning"] is not None:
        sys.exit(f"POT: {log['warning']}")
    return value


def pot_w2(a, b, epsilon):
    import numpy as np

    return np.sqrt(pot_emd2(squared_distances(a, b)))


def pot_w1(a, b, epsilon):
    from scipy.spatial.distance import cdist

    return pot_emd2(cdist(a, b))


def pot_sinkhorn_divergence(a, b, epsilon):
    import numpy as np
    import ot

    def transport_cost(x, y):
        mass_x, mass_y = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
        costs = squared_distances(x, y)
        _, log = ot.bregman.sinkhorn_log(
            mass_x, mass_y, costs, epsilon, numItermax=ITERATIONS, stopThr=SINKHORN_TOLERANCE, log=True
        )
        if log["err"][-1] > SINKHORN_TOLERANCE:
            sys.exit("POT's Sinkhorn did not converge")
        # min <P, C> + ε KL(P | a ⊗ b) by its potentials ε(log u - log a), ε(log v - log b).
        f = epsilon * (log["log_u"] - np.log(mass_x))
        g = epsilon * (log["log_v"] - np.log(mass_y))
        return f.mean() + g.mean()

    return transport_cost(a, b) - (transport_cost(a, a) + transport_cost(b, b)) / 2


def ott_sinkhorn_divergence(a, b, epsilon):
    """Returns the compiled function: JAX compiles outside the clock."""
    import jax
    from ott.geometry import costs, pointcloud
    from ott.tools.sinkhorn_divergence import sinkhorn_divergence

    @jax.jit
    def divergence(x, y):
        value, output = sinkhorn_divergence(
            pointcloud.PointCloud,
            x,
            y,
            cost_fn=costs.SqEuclidean(),
            epsilon=epsilon,
            solve_kwargs={"threshold": SINKHORN_TOLERANCE, "max_iterations": ITERATIONS},
        )
        return value, output.converged

    x, y = jax.numpy.asarray(a), jax.numpy.asarray(b)
    compiled = divergence.lower(x, y).compile()

    def solve(*_):
        value, converged = jax.block_until_ready(compiled(x, y))
        if not all(converged):
            sys.exit("OTT's Sinkhorn did not converge")
        return value

    return solve


def solve(solver, metric, a_path, b_path, epsilon):
    """One peer, timed inside."""
    import numpy as np

    a, b = np.load(a_path), np.load(b_path)
    function = globals()[f"{solver}_{metric}"]
    # What it imports is loaded before its clock starts.
    import scipy.optimize, scipy.spatial.distance  # noqa: E401, F401

    if solver == "pot":
        import ot  # noqa: F401
    if solver == "ott":
        function = function(a, b, epsilon)
    cpu, wall = time.process_time(), time.perf_counter()
    value = function(a, b, epsilon)
    return {
        "value": float(value),
        "solver_cpu": time.process_time() - cpu,
        "solver_wall": time.perf_counter() - wall,
    }


# --- The process that starts them ------------------------------------------------------------------------------------


def environment(threads):
    """One thread for every library that we know to start more."""
    one = str(threads)
    names = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR", "RAYON")
    return os.environ | {f"{name}_NUM_THREADS": one for name in names} | {
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads={one}",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run(command, threads):
    """What the command printed, as JSON, with the CPU seconds, wall seconds and peak memory of its process."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

    def pin():
        if cores:
            os.sched_setaffinity(0, cores[-threads:])

    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, env=environment(threads), preexec_fn=pin)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"error: exit status {process.returncode} of {shlex.join(command)}")
        output.seek(0)
        text = output.read().decode()
    answer = json.loads(text)
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return answer | {
        "cpu": usage.ru_utime + usage.ru_stime,
        "wall": wall,
        "peak_mib": usage.ru_maxrss * bytes_per_unit / 2**20,
    }


def child(*arguments):
    return [sys.executable, os.path.abspath(__file__), "--child", json.dumps(arguments)]


def measure(train, instance, solver, paths, epsilon):
    if not solver.startswith("ours"):
        return run(child("solve", solver, instance.metric, *paths, epsilon), 1)
    threads = 2 if solver.endswith("2 threads") else 1
    command = [train, "metrics", *paths, "--only", instance.metric, "--json", "--threads", str(threads)]
    if instance.metric == "sinkhorn_divergence":
        command += ["--epsilon", repr(epsilon)]
    answer = run(command, threads)
    report = answer["metrics"][instance.metric]
    kept = {name: answer[name] for name in ("cpu", "wall", "peak_mib")}
    return kept | {"value": report["value"], "report": report, "solver_cpu": kept["cpu"], "solver_wall": kept["wall"]}


def check(instance, answers, mean_cost):
    """Fails unless all solvers gave one answer."""
    values = {solver: runs[0]["value"] for solver, runs in answers.items()}
    lowest, highest = min(values.values()), max(values.values())
    allowed = SINKHORN_AGREEMENT * mean_cost if instance.metric == "sinkhorn_divergence" else EXACT * abs(highest)
    if not highest - lowest <= allowed:
        sys.exit(f"error: the answers differ by {highest - lowest}, allowed are {allowed}: {title(instance)}: {values}")


def title(instance):
    size = f"n = {instance.n}" if instance.n == instance.m else f"n = {instance.n}, m = {instance.m}"
    return f"{instance.metric}, {instance.name}, {size}, d = {instance.dim}"


def seconds(value):
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def versions():
    code = (
        "import json,importlib.metadata as m;"
        "print(json.dumps({p:m.version(p) for p in ('numpy','scipy','POT','jax','jaxlib','ott-jax')}))"
    )
    return json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", default="target/release/train", help="the binary [target/release/train]")
    parser.add_argument("--rounds", type=int, default=5, help="runs of every solver, interleaved [5]")
    parser.add_argument("--quick", action="store_true", help="n = 1000, one round: does everything work?")
    parser.add_argument("--only", default="", help="instances whose title contains this, such as 'w2' or 'd = 64'")
    parser.add_argument("--solvers", default="ours,scipy,pot,ott", help="whom to ask [ours,scipy,pot,ott]")
    parser.add_argument("--output", default="target/peers/transport", help="writes OUTPUT.md and OUTPUT.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, *arguments = json.loads(options.child)
        print(json.dumps({"draw": draw, "solve": solve}[what](*arguments)))
        return

    rounds = 1 if options.quick else options.rounds
    asked = options.solvers.split(",")
    chosen = [x for x in INSTANCES if x.quick == options.quick and options.only in title(x)]
    if not chosen:
        sys.exit("error: no instance has such a title; titles are:\n" + "\n".join(title(x) for x in INSTANCES))
    table = [
        "| instance | solver | value | CPU s, solver | CPU s, process | wall s, process | peak MiB | CPU s against ours |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    records = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("a.npy", "b.npy")]
        for instance in chosen:
            solvers = [s for s in instance.solvers if s.split()[0] in asked]
            if not solvers:
                continue
            drawn = child("draw", instance.clouds, instance.n, instance.m, instance.dim, *paths)
            mean_cost = run(drawn, 1)["mean_cost"]
            epsilon = SINKHORN_EPSILON * mean_cost
            answers = {solver: [] for solver in solvers}
            for number in range(rounds):
                for solver in solvers:
                    if number > 0 and instance.slow and not solver.startswith("ours"):
                        continue
                    print(f"round {number + 1} of {rounds}: {title(instance)}: {solver}", file=sys.stderr)
                    answers[solver].append(measure(options.train, instance, solver, paths, epsilon))
            check(instance, answers, mean_cost)
            ours = statistics.median(x["cpu"] for x in answers["ours"]) if "ours" in answers else None
            for solver, runs in answers.items():
                median = {k: statistics.median(x[k] for x in runs) for k in ("solver_cpu", "cpu", "wall", "peak_mib")}
                ratio = median["solver_cpu"] / ours if ours else float("nan")
                table.append(
                    f"| {title(instance)} | {solver} | {runs[0]['value']:.12g} | {seconds(median['solver_cpu'])} "
                    f"| {seconds(median['cpu'])} | {seconds(median['wall'])} | {median['peak_mib']:.0f} | {ratio:.1f} |"
                )
                records.append(
                    {"instance": vars(instance) | {"title": title(instance)}, "solver": solver, "median": median}
                    | {"ratio": ratio if ours else None, "mean_cost": mean_cost, "runs": runs}
                    | ({"epsilon": epsilon} if instance.metric == "sinkhorn_divergence" else {})
                )
    context = {
        "command": shlex.join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
        "seed": SEED,
        "rounds": rounds,
        "sinkhorn_divergence": {"tolerance": SINKHORN_TOLERANCE, "epsilon_over_mean_cost": SINKHORN_EPSILON},
    }
    note = (
        f"Medians of {rounds} interleaved rounds (slow peers: 1), one thread unless said, {context['processor']}; "
        + ", ".join(f"{name} {version}" for name, version in context["versions"].items())
        + f"; {context['date']}. `{context['command']}`"
    )
    text = "\n".join(table) + "\n\n" + note + "\n"
    print(text)
    os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
    with open(options.output + ".md", "w") as file:
        file.write(text)
    with open(options.output + ".json", "w") as file:
        json.dump({"context": context, "results": records}, file, indent=1)


if __name__ == "__main__":
    main()
