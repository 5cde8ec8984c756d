"""Maps with a known answer: the Wasserstein-2 benchmark in 2 and 8 dimensions, the table of README.

    cargo build --release --workspace --bins --examples && python3 crates/cli/benches/benchmark_maps.py [--dims 2,8] [--seeds 2] [--rows 20,60]

From the same 60,000 points and the same reference: the network that descends the semi-dual, for so many CPU-seconds (`20`, `60`, `180`); the map
of Algorithm 1 with its default potential (`stages`); the Gaussian map (`gaussian`); and the extension of the exact discrete dual (`discrete`, see
crates/eval/examples/discrete_dual.rs). Each run is configs/monge_ampere/benchmark_2d.json or benchmark_8d.json on one thread; a seed splits the points
and learns. L2-UVP and cosine are those of `train evaluate RUN --pairs`; CPU-seconds are those of training. Needs nothing but Python.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TRAIN = ROOT / "target/release/train"
METHOD = "method.monge_ampere_logistic"
# Stages that take so many CPU-seconds, by dimension.
STAGES = {2: {20: 19}, 8: {20: 7, 60: 20, 180: 66}}
DEFAULT = {"coordinates": "dual", "step": "newton", "potential": "ridges"}
OTHERS = {
    "stages": {**DEFAULT, "stages": 60, "patience": 20},
    "gaussian": {**DEFAULT, "step": "logistic", "discriminator": "quadratic", "stages": 60},
}


def call(*arguments, environment=None):
    command = [str(word) for word in arguments]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    if answer.returncode:
        raise RuntimeError(answer.stderr.strip().splitlines()[-1] if answer.stderr.strip() else f"exit {answer.returncode}")
    return answer.stdout


def learn(dim, settings, seed):
    """L2-UVP and its standard error, the cosine, and the CPU-seconds of training."""
    pairs = ROOT / f"datasets/mix3_to_mix10_{dim}.npz"
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        sets = {"evaluation.count": 200, "output.figures": False, "output.checkpoint_every": 1000}
        sets |= {f"{METHOD}.{key}": value for key, value in settings.items()}
        flags = [word for key, value in sets.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        config = f"configs/monge_ampere/benchmark_{dim}d.json"
        call(TRAIN, "run", config, "--run-dir", run, "--seed", seed, "--threads", 1, "-q", *flags)
        asked = (TRAIN, "evaluate", run, "--pairs", pairs, "--only", "l2_uvp,cosine", "--threads", 1, "-q", "--json")
        metrics = json.loads(call(*asked))["metrics"]
        seconds = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["cpu_seconds"]
    uvp = metrics["l2_uvp"]
    return uvp["value"], uvp["std_error"], metrics["cosine"]["value"], seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", default="2,8")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rows", default="20,60,180,stages,gaussian,discrete")
    arguments = parser.parse_args()
    for dim in map(int, arguments.dims.split(",")):
        for row in arguments.rows.split(","):
            if row == "discrete":
                points = 50_000 if dim == 2 else 20_000
                example = [ROOT / "target/release/examples/discrete_dual", f"datasets/mix3_to_mix10_{dim}.npz"]
                environment = {**os.environ, "RAYON_NUM_THREADS": "1"}
                try:
                    text = call(*example, "--points", points, "--seeds", arguments.seeds, environment=environment)
                except (OSError, RuntimeError) as failure:
                    text = f"failed: {failure}\n"
                print("".join(f"D = {dim}, discrete: {line}\n" for line in text.splitlines()), end="", flush=True)
                continue
            if row.isdigit():
                if int(row) not in STAGES[dim]:
                    continue
                settings = {"stages": STAGES[dim][int(row)]}
            else:
                settings = OTHERS[row]
            for seed in range(arguments.seeds):
                try:
                    uvp, error, cosine, seconds = learn(dim, settings, seed)
                    text = f"L2-UVP {uvp:.3f} ± {error:.3f} %, cosine {cosine:.4f}, {seconds:.1f} CPU-s"
                except RuntimeError as failure:
                    text = f"failed: {failure}"
                print(f"D = {dim}, {row}, seed {seed}: {text}", flush=True)


if __name__ == "__main__":
    main()
