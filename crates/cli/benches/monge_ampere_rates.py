#!/usr/bin/env python3
"""Rates of the Monge-Ampère flow under the schedules of the theory, as tables in Markdown.

Runs `train run` on configs/monge_ampere/theory_gaussian.json (quadratic stages, exact expectations) and
configs/monge_ampere/theory_gmm4.json (sums of ridges, draws) for T stages under every schedule, and prints the divergence of the last law, its mean over all stages and over the later half, the bound that the
theorem gives for the mean, and the largest excess of the left over the right side of the variational inequality. Below a
table: the slope of the mean against T in logarithms, between the two longest runs.

    cargo build --locked --release --workspace
    python3 crates/cli/benches/monge_ampere_rates.py
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
TRAIN = ROOT / "target/release/train"
KEY = "method.monge_ampere_logistic."
LENGTHS = {"gaussian": [20, 80, 320, 1280], "gmm4": [25, 100]}
SCHEDULES = {
    "constant .1": {"constant": {"value": 0.1}},
    "1/√T": {"inverse_square_root": {"scale": 1}},
    "½/(k+1)": {"harmonic": {"first": 0.5}},
    "adaptive": {"adaptive": {"first": 0.1, "most": 0.5}},
}


def run(target, schedule, stages, folder):
    """The lines of metrics.jsonl."""
    sets = {
        "name": "rates",
        "output.directory": folder,
        "output.figures": False,
        "output.checkpoint_every": stages,
        "evaluation.count": 100,
        "evaluation.log_density.points": 100,
        KEY + "step_size": schedule,
        KEY + "stages": stages,
    }
    if target == "gaussian":
        # As exact as 200 for a bulk of the law as wide as this.
        sets[KEY + "expectations.nodes"] = 60
    command = [TRAIN, "run", ROOT / f"configs/monge_ampere/theory_{target}.json", "--quiet"]
    for key, value in sets.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    lines = (pathlib.Path(folder) / "rates/metrics.jsonl").read_text().splitlines()
    # Over draws they are estimates, and say so.
    lines = [{key.removesuffix("_estimate"): value for key, value in json.loads(line).items()} for line in lines]
    return [line for line in lines if "kl_before" in line]


def table(target):
    print(f"\n{target}\n")
    print("| schedule | T | last KL | mean KL | later half | bound on the mean | largest excess |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    slopes, lengths = [], LENGTHS[target]
    for name, schedule in SCHEDULES.items():
        means = []
        for stages in lengths:
            with tempfile.TemporaryDirectory() as folder:
                lines = run(target, schedule, stages, folder)
            last = lines[-1]
            excess = max(line["inequality_excess"] for line in lines)
            numbers = [last["kl"], last["kl_mean"], last["kl_tail_mean"], last["kl_mean_bound"], excess]
            # Below rounding there is no number.
            cells = ["0" if abs(x) < 1e-14 else f"{x:.2g}" for x in numbers]
            print(f"| {name} | {stages} | " + " | ".join(cells) + " |", flush=True)
            means.append(last["kl_mean"])
        slope = math.log(means[-1] / means[-2]) / math.log(lengths[-1] / lengths[-2])
        slopes.append(f"{name}: {slope:.2f}")
    print("\nslope of the mean against T: " + "; ".join(slopes), flush=True)


if __name__ == "__main__":
    for target in LENGTHS:
        table(target)
