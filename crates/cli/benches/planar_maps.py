"""Maps in the plane from 500 to 20,000 points, beside a mixture and a score network: the scoreboard of README.

    cargo build --release --bin train && python3 crates/cli/benches/planar_maps.py [--sizes 500,2000,20000] [--targets ring] [--seeds 2]
    python3 crates/cli/benches/planar_maps.py --only energy          # the mixture of 2603.25182, mapped to N(0, I)

Each run is a config of this repository with another `drawn` target, on one thread; a seed draws the points, splits them (90 % to train on, 10 % to
judge) and learns. What is compared: `automatic` (potential and reference chosen by the program), a log-sum-exp potential from N(0, I)
(`log_sum_exp`), ridges on a mixture that follows them (`on_mixture`), a mixture by expectation and maximisation (`mixture`), a stack of densities without a map (`stack`), stages of Algorithm 1 from
N(0, I) without a polish (`stages`), a score network (`network`). All numbers are those of `evaluation.json`; CPU-seconds are those of training.
A row that fails says so and leaves the others. Needs nothing but Python.
"""

import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TRAIN = ROOT / "target/release/train"
METHOD = "method.monge_ampere_logistic"
SIZES = [4, 8, 16, 32, 64]
AUTOMATIC = {f"{METHOD}.potential": "automatic", f"{METHOD}.reference": "automatic"}
MIXTURE = {"fitted_mixture": {"components": [8, 16, 24, 32], "shrinkage": 3, "restarts": 2}}
METHODS = {
    "automatic": ("monge_ampere/two_moons", AUTOMATIC),
    "log_sum_exp": ("monge_ampere/two_moons", {f"{METHOD}.potential": "automatic"}),
    "on_mixture": ("monge_ampere/two_moons", {f"{METHOD}.potential": "automatic", f"{METHOD}.reference": MIXTURE}),
    "stack": (
        "monge_ampere/two_moons",
        # One update at no rate of ridges that hardly bend: the law is the reference, with a map or without.
        {
            f"{METHOD}.reference": {"stack": {}},
            f"{METHOD}.ridges": {"directions": 2, "knots": 1, "least_width": 10},
            f"{METHOD}.stages": 0,
            f"{METHOD}.polish": {"steps": 1, "rate": 1e-12},
        },
    ),
    "mixture": ("mixture/two_moons", {"method.gaussian_mixture.components": SIZES, "method.gaussian_mixture.restarts": 1}),
    "stages": ("monge_ampere/two_moons", {f"{METHOD}.stages": 1000, f"{METHOD}.patience": 40}),
    "network": ("score_matching/two_moons", {"evaluation.log_density.points": 5000}),
}
SHOWN = {
    500: ["automatic", "stack", "mixture"],
    2000: ["automatic", "on_mixture", "stack", "mixture"],
    20_000: ["automatic", "log_sum_exp", "mixture", "stages", "network"],
}
# Steps of a network that take about 20 CPU-seconds.
NETWORK_STEPS = 2500
FOUR = {
    "gaussian_mixture": {
        "weights": [0.3, 0.2, 0.3, 0.2],
        "means": [[-2, -2], [-1, 2], [2, -3], [2, 2]],
        "covariances": [[[0.1, 0.06], [0.06, 0.1]], [[0.1, 0.01], [0.01, 0.5]], [[0.1, 0.03], [0.03, 0.1]], [[0.1, 0], [0, 0.1]]],
    }
}
SPLIT = {"train": 0.9, "validation": 0.1}


def train(*arguments, codes=(0,)):
    answer = subprocess.run([str(word) for word in (TRAIN, *arguments)], cwd=ROOT, capture_output=True, text=True)
    if answer.returncode not in codes:
        raise RuntimeError(answer.stderr.strip().splitlines()[-1] if answer.stderr.strip() else f"exit {answer.returncode}")
    return answer.stdout


def learn(method, target, points, seed, seconds, run):
    """A run to its end or its limit; its metrics, and the CPU-seconds of its training."""
    config, settings = METHODS[method]
    settings = {
        "target": {"drawn": {"target": target, "points": points, "seed": seed, "split": SPLIT}},
        "evaluation.count": 5000,
        "evaluation.log_density": {"points": 20_000},
        "output.figures": False,
        **settings,
    }
    if method == "network":
        settings["training.steps"] = NETWORK_STEPS
    command = ["run", f"configs/{config}.json", "--run-dir", run, "--threads", "1", "-q", "--seed", seed]
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    stopped = method == "stages"
    train(*command, *(["--max-time", f"{seconds}s"] if stopped else []), codes=(0, 75))
    spent = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["cpu_seconds"]
    if stopped:
        return json.loads(train("evaluate", run, "--json", "-q", "--threads", "1", "--count", 5000))["metrics"], spent
    return json.loads((run / "evaluation.json").read_text())["metrics"], spent


def shown(metrics, name, percent=False):
    metric = metrics.get(name)
    if metric is None:
        return "–"
    if metric["value"] is None:
        # "infinite: 100 of 5000 samples lie where the target has no mass"
        words = (metric["note"] or "").split()
        numbers = [int(word) for word in words if word.isdigit()]
        return f"{numbers[0] / numbers[1]:.1%} outside" if len(numbers) == 2 else "undefined"
    if percent:
        return f"{metric['value']:.1%}"
    return f"{metric['value']:.3f} ± {metric['std_error']:.3f}"


def scoreboard(arguments):
    print("| points | target | method | seed | forward KL | reverse KL | ESS | density valid | optimality gap | modes | CPU-s |")
    print("|--:|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for points in map(int, arguments.sizes.split(",")):
        for target in arguments.targets.split(","):
            for method in SHOWN[points]:
                if arguments.methods and method not in arguments.methods.split(","):
                    continue
                for seed in range(arguments.seeds):
                    with tempfile.TemporaryDirectory() as folder:
                        try:
                            found, spent = learn(method, {target: {}}, points, seed, arguments.seconds, Path(folder) / "run")
                        except (RuntimeError, OSError, KeyError) as error:
                            print(f"| {points} | {target} | {method} | {seed} | {error} |", flush=True)
                            continue
                    cells = [points, target, method, seed, shown(found, "kl_forward"), shown(found, "kl_reverse")]
                    cells += [shown(found, name, True) for name in ("ess_reverse", "density_valid")]
                    gap = found.get("optimality_gap")
                    cells.append("–" if gap is None or gap["value"] is None else f"{gap['value']:.1e}")
                    cells.append(f"{found['modes_hit']['value']:g}" if "modes_hit" in found else "–")
                    print("| " + " | ".join(map(str, [*cells, f"{spent:.1f}"])) + " |", flush=True)


def energy(arguments):
    """The energy distance (V-statistic) of 10,000 mapped points from as many normal ones, mean of ten."""
    only = ["--only", "energy_distance", "--repeats", 2, "--json", "-q"]
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            _, spent = learn("log_sum_exp", FOUR, 100_000, seed, arguments.seconds, folder / "run")
            mapped, perfect = [], []
            for repeat in range(10):
                draws = random.Random(1000 * seed + repeat)
                x, y, z, normal = (folder / name for name in ("x.csv", "y.npy", "z.csv", "n.csv"))
                write(x, (mixture_draw(draws) for _ in range(10_000)))
                for path in (z, normal):
                    write(path, ((draws.gauss(0, 1), draws.gauss(0, 1)) for _ in range(10_000)))
                train("transport", folder / "run", "--inverse", "--in", x, "--out", y, "-q")
                for found, path in ((mapped, y), (perfect, z)):
                    answer = json.loads(train("metrics", path, normal, *only))
                    found.append(answer["metrics"]["energy_distance"]["value"])
        means = [sum(found) / len(found) for found in (mapped, perfect)]
        print(f"seed {seed}: mapped {means[0]:.6f}, normal points {means[1]:.6f}, {spent:.1f} CPU-s", flush=True)


def mixture_draw(draws):
    """A point of the mixture of 2603.25182."""
    parameters = FOUR["gaussian_mixture"]
    (k,) = draws.choices(range(4), parameters["weights"])
    (a, b), (_, c) = parameters["covariances"][k]
    first = draws.gauss(0, 1)
    second = b / a**0.5 * first + (c - b * b / a) ** 0.5 * draws.gauss(0, 1)
    return parameters["means"][k][0] + a**0.5 * first, parameters["means"][k][1] + second


def write(path, points):
    path.write_text("a,b\n" + "".join(f"{x!r},{y!r}\n" for x, y in points))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default="ring,two_moons,pinwheel,checkerboard")
    parser.add_argument("--sizes", default="500,2000,20000")
    parser.add_argument("--methods", default="")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--only", choices=["scoreboard", "energy"], default="scoreboard")
    arguments = parser.parse_args()
    (energy if arguments.only == "energy" else scoreboard)(arguments)


main()
