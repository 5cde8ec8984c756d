"""Forward KL of a Gaussian mixture fitted to few points of targets in the plane: the table of README.

    cargo build --release --bin train && python3 crates/cli/benches/few_points.py [--sizes 500,2000] [--targets ring] [--seeds 2]

Each run is configs/mixture/two_moons.json with another `drawn` target and sizes up to 128, on one thread; a seed draws the points and
splits them. Needs nothing but Python.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TRAIN = ROOT / "target/release/train"


def forward_kl(target, points, seed, folder):
    """Forward KL with its standard error, the number of components, and the seconds of the fit."""
    run = Path(folder) / f"{target}_{points}_{seed}"
    drawn = {"drawn": {"target": {target: {}}, "points": points, "seed": seed}}
    sizes = [1, 2, 4, 8, 16, 32, 64, 128]
    settings = {
        "target": drawn,
        "method.gaussian_mixture.components": sizes,
        "evaluation.count": 1000,
        "output.figures": False,
    }
    command = [TRAIN, "run", "configs/mixture/two_moons.json", "--run-dir", run, "--threads", "1", "-q", "--seed", seed]
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True)
    kl = json.loads((run / "evaluation.json").read_text())["metrics"]["kl_forward"]
    step = int((run / "best").read_text().split()[0])
    state = json.loads((run / f"checkpoint-{step:08}/state.json").read_text())
    seconds = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["elapsed_seconds"]
    return kl["value"], kl["std_error"], len(state["best"]["moments"]["weights"]), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default="two_moons,ring,checkerboard")
    parser.add_argument("--sizes", default="500,2000,20000")
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for target in arguments.targets.split(","):
            for points in map(int, arguments.sizes.split(",")):
                for seed in range(arguments.seeds):
                    kl, error, components, seconds = forward_kl(target, points, seed, folder)
                    row = f"{target:13} {points:6} points, seed {seed}: {kl:.4f} ± {error:.4f}"
                    print(f"{row}, {components} components, {seconds:.1f} s", flush=True)


main()
