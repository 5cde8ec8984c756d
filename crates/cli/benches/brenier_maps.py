"""Brenier maps from samples, and score networks beside them: the table of README.

    cargo build --release --bin train && python3 crates/cli/benches/brenier_maps.py [--seeds 2] [--seconds 20] [--only ring]

Each run is a config of configs/monge_ampere on one thread, from N(0, I), with one of the three steps, or with Newton's from a mixture that is
fitted first; a seed draws the points, splits them and draws the reference. What counts is the last stage within so many `cpu_seconds`, the CPU time of training alone, and of that stage the most
likely iterate so far. A score network is that of configs/score_matching/two_moons.json, with as many steps as take that time on the same
points. Needs nothing but Python.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TRAIN = ROOT / "target/release/train"
METHOD = "method.monge_ampere_logistic"
STEPS = {"gaussian_2d": ["newton"], "gaussian_8d": ["newton"]}
EVERY_STEP = ["newton", "semi_implicit", "logistic", "from_mixture", "score_network"]
MIXTURE = {"fitted_mixture": {"components": [8, 16, 32], "shrinkage": 5, "restarts": 1}}
PROBE = 300
METRICS = "kl_forward,density_valid,optimality_gap,l2_uvp"


def train(*arguments, codes=(0,)):
    answer = subprocess.run([str(word) for word in (TRAIN, *arguments)], cwd=ROOT, capture_output=True, text=True)
    if answer.returncode not in codes:
        raise SystemExit(answer.stderr)
    return answer.stdout


def learn(config, step, seed, seconds, run):
    """Trains past the limit, and gives the last stage within it with its seconds."""
    path = ROOT / f"configs/monge_ampere/{config}.json"
    target = json.loads(path.read_text())["target"]
    if "drawn" in target:
        target["drawn"]["seed"] = seed
    settings = {
        "target": target,
        "evaluation.log_density.points": 20_000,
        "output.figures": False,
        "output.checkpoint_every": 1,
        "output.keep_last": 100_000,
        f"{METHOD}.step": "newton" if step == "from_mixture" else step,
        f"{METHOD}.reference": MIXTURE if step == "from_mixture" else "standard_normal",
        f"{METHOD}.stages": 100_000,
        f"{METHOD}.patience": None,
    }
    command = ["run", path, "--run-dir", run, "--threads", "1", "-q", "--seed", seed]
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    # The limit is one of wall time, which also passes while states are stored.
    train(*command, "--max-time", f"{round(2 * seconds + 5)}s", codes=(75,))
    stages = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    within = [line for line in stages if line["cpu_seconds"] <= seconds]
    return within[-1]["step"], within[-1]["cpu_seconds"]


def learn_network(config, seed, seconds, run):
    """A network with the steps that a probe says take so long; its steps and its seconds."""
    target = json.loads((ROOT / f"configs/monge_ampere/{config}.json").read_text())["target"]
    target["drawn"]["seed"] = seed

    def fit(run, steps):
        settings = {
            "target": target,
            "training.steps": steps,
            # The density of a network is an ODE for every point.
            "evaluation.log_density.points": 5000,
            "evaluation.count": 2000,
            "output.figures": False,
            "output.log_every": min(steps, 100),
        }
        command = ["run", ROOT / "configs/score_matching/two_moons.json", "--run-dir", run, "--threads", "1", "-q", "--seed", seed]
        for key, value in settings.items():
            command += ["--set", f"{key}={json.dumps(value)}"]
        train(*command, *(["--set", "evaluation.log_density=null"] if steps == PROBE else []))
        return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["cpu_seconds"]

    steps = int(seconds / fit(run.with_name("probe"), PROBE) * PROBE)
    return steps, fit(run, steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="two_moons,ring,checkerboard,gaussian_2d,gaussian_8d")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    for config in arguments.only.split(","):
        for step in STEPS.get(config, EVERY_STEP):
            for seed in range(arguments.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    run = Path(folder) / "run"
                    if step == "score_network":
                        stage, cpu = learn_network(config, seed, arguments.seconds, run)
                        found = json.loads((run / "evaluation.json").read_text())["metrics"]
                        found = {"kl_forward": found["kl_forward"]}
                    else:
                        stage, cpu = learn(config, step, seed, arguments.seconds, run)
                        only = METRICS if config in STEPS else METRICS.removesuffix(",l2_uvp")
                        asked = ["evaluate", run, "--checkpoint", stage, "--only", only, "--count", 2000]
                        found = json.loads(train(*asked, "--json", "-q", "--threads", "1"))["metrics"]
                    began = time.monotonic()
                    which = [] if step == "score_network" else ["--checkpoint", stage]
                    drawn = ["sample", run, *which, "--count", 10_000, "--out", run / "s.npy"]
                    train(*drawn, "--threads", "1", "-q")
                    sampled = time.monotonic() - began
                numbers = ", ".join(f"{name} {metric['value']:.4g} ± {metric['std_error']:.2g}" for name, metric in found.items())
                row = f"{config:12} {step:13} seed {seed}: stage {stage} after {cpu:.1f} CPU-s"
                print(f"{row}, {numbers}, 10,000 samples in {sampled:.2f} s", flush=True)


main()
