#!/usr/bin/env python3
"""Measures sampling grids with trained networks: W2 to fresh points at a few network evaluations, seed by seed.

    cargo build --release && python3 crates/cli/benches/sampling_grids.py --train target/release/train

trains one network for each target and seed with `train run`, samples it with `train sample` on every grid at equal numbers of network
evaluations, and asks `train metrics` for exact W2 to points that nobody has seen. Karras is also tuned: rho, sigma_min and sigma_max
with the least W2 to validation points of the first seed's network. All grids of a network share their noise and their test points, so
differences between grids are sharper than the spread over seeds. Beside W2 stands the solver's own error: the root mean square
distance between a sample and the end of the same network's ODE from the same noise (Heun, 200 steps).

A second part trains on localized noise levels and on those of Karras et al., for equal steps, and compares the score errors.

Needs nothing but Python. Everything is kept under --work, and a second call goes on where the first one stopped.
"""

import argparse
import array
import concurrent.futures
import json
import math
import os
import random
import re
import statistics
import struct
import subprocess
import threading
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
EVALUATIONS = (5, 10, 20, 40)
ODE = ("euler", "heun", "dpm_solver_2m")
SDE = ("euler_maruyama", "ancestral")
DEFAULT = {"grid": "karras", "sigma_min": 0.002, "sigma_max": 80.0}
UNTUNED = {
    "karras": DEFAULT,
    "log_snr": {**DEFAULT, "grid": "log_snr"},
    "time": {**DEFAULT, "grid": {"time": {"schedule": {"ornstein_uhlenbeck": {}}}}},
    "localized": {"grid": "localized"},
    "localized_optimized": {"grid": "localized_optimized"},
}
TUNED = [
    {"grid": {"karras": {"rho": rho}}, "sigma_min": low, "sigma_max": high}
    for rho in (3.0, 7.0, 15.0)
    for low in (0.002, 0.02, 0.08)
    for high in (80.0, 10.0)
]
COUNT, TUNING_COUNT, FLOORS = 5000, 2000, 4
SHORT = 3000  # steps of the comparison of noise levels
NOISE_LEVELS = {
    "edm": {"log_normal": {"mean": -1.2, "sd": 1.2}},
    "localized": {"localized": {}},
}


def mixture(weights, means, variances):
    covariances = [[[v * (i == j) for j in range(2)] for i in range(2)] for v in variances]
    return {"gaussian_mixture": {"weights": weights, "means": means, "covariances": covariances}}


def targets():
    """Name -> (config, target or None where the config's own is a mixture that is read from it)."""
    spots = mixture([0.25, 0.25, 0.5], [[2.0, 0.0], [-1.0, 1.5], [0.0, 0.0]], [4e-4, 4e-4, 1.0])
    return {"ring": ("ring", None), "widths": ("ring", spots), "gaussian_mixture": ("gaussian_mixture", None), "digits": ("digits", None)}


def config_of(name):
    return ROOT / "configs" / "score_matching" / f"{targets()[name][0]}.json"


def components(name):
    """Weights, means and the Cholesky factors of a target that is a mixture of Gaussians in the plane."""
    target = targets()[name][1] or json.loads(config_of(name).read_text())["target"]
    if "ring" in target:
        angles = [math.tau * k / 8 for k in range(8)]
        target = mixture([0.125] * 8, [[math.sqrt(2) * math.cos(a), math.sqrt(2) * math.sin(a)] for a in angles], [0.01] * 8)
    target = target["gaussian_mixture"]
    factors = []
    for (a, b), (_, c) in target["covariances"]:
        factors.append((math.sqrt(a), b / math.sqrt(a), math.sqrt(c - b * b / a)))
    return target["weights"], target["means"], factors


def draws(name, count, seed):
    weights, means, factors = components(name)
    generator = random.Random(f"{name} {seed}")
    rows = []
    for k in generator.choices(range(len(weights)), weights, k=count):
        z, w = generator.gauss(0, 1), generator.gauss(0, 1)
        a, b, c = factors[k]
        rows.append((means[k][0] + a * z, means[k][1] + b * z + c * w))
    return rows


def write_npy(path, rows):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
    header = header.ljust(117) + "\n"
    values = array.array("f", (value for row in rows for value in row))
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + values.tobytes())


def read_npy(path):
    data = path.read_bytes()
    start = 10 + struct.unpack("<H", data[8:10])[0]
    shape = re.search(rb"'shape': \((\d+), (\d+)\)", data[:start])
    values = array.array("f" if b"'<f4'" in data[:start] else "d")
    values.frombytes(data[start:])
    return values, int(shape[2])


def root_mean_square(a, b):
    (x, dim), (y, _) = read_npy(a), read_npy(b)
    return math.sqrt(sum((p - q) ** 2 for p, q in zip(x, y)) / (len(x) // dim))


class Laboratory:
    def __init__(self, train, work, threads):
        self.train_binary, self.work = train, work
        self.kept, self.lock = work / "results.jsonl", threading.Lock()
        self.results = {}
        if self.kept.exists():
            for line in self.kept.read_text().splitlines():
                entry = json.loads(line)
                self.results[entry["key"]] = entry["value"]
        self.pool = concurrent.futures.ThreadPoolExecutor(threads)

    def train(self, *arguments):
        command = [str(self.train_binary), *map(str, arguments), "--threads", "1", "-q"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        return done.stdout

    def once(self, key, work):
        if key not in self.results:
            value = work()
            with self.lock:
                self.results[key] = value
                with self.kept.open("a") as file:
                    file.write(json.dumps({"key": key, "value": value}) + "\n")
        return self.results[key]

    def every(self, work, items):
        return list(self.pool.map(lambda item: work(*item), items))

    # -- data

    def parts(self, seed):
        """The digits of one seed: what is trained on (an eighth of it chooses the checkpoint), what tunes, what tests."""
        files = {part: self.work / f"digits-{part}-{seed}.npy" for part in ("train", "validation", "test")}
        if not all(file.exists() for file in files.values()):
            data = zipfile.ZipFile(ROOT / "datasets/digits.npz").read("images.npy")
            start = 10 + struct.unpack("<H", data[8:10])[0]
            rows = [data[start + 64 * i : start + 64 * (i + 1)] for i in range((len(data) - start) // 64)]
            random.Random(f"digits {seed}").shuffle(rows)
            for part, rows in zip(files, (rows[:1258], rows[1258:1438], rows[1438:])):
                write_npy(files[part], rows)
        return files

    def points(self, name, part, seed, count):
        """A file of points of a target: `validation`, `test` or `fresh-k`."""
        if name == "digits":
            return self.parts(seed)[part]
        path = self.work / f"{name}-{part}-{seed}-{count}.npy"
        if not path.exists():
            write_npy(path, draws(name, count, f"{part} {seed}"))
        return path

    def count(self, name):
        return 359 if name == "digits" else COUNT

    # -- networks

    def run(self, name, levels, seed, steps=None):
        directory = self.work / "runs" / f"{name}-{levels}-{seed}"
        sets = ["evaluation.count=100", "evaluation.log_density=null", "output.figures=false"]
        if targets()[name][1]:
            sets += [f"target={json.dumps(targets()[name][1])}", f"name={name}"]
        if name == "digits":
            sets += [f"target.dataset.path={self.parts(seed)['train']}", "target.dataset.label=null", "target.dataset.split.train=0.875"]
            sets += ["target.dataset.split.validation=0.125", "target.dataset.split.test=0"]
        if levels != "given":
            sets += [f"method.denoising_score_matching.noise_levels={json.dumps(NOISE_LEVELS[levels])}", f"training.steps={steps}"]
        if not (directory / "samples.npy").exists():
            arguments = [part for value in sets for part in ("--set", value)]
            self.train("run", config_of(name), "--seed", seed, "--run-dir", directory, "--resume", *arguments)
        return directory

    # -- numbers

    def sample(self, run, sampler, steps, grid, count, seed, out):
        choice = grid["grid"] if isinstance(grid["grid"], str) else json.dumps(grid["grid"])
        arguments = ["--sampler", sampler, "--grid", choice, "--steps", steps, "--count", count, "--seed", seed, "--out", out]
        for end in ("sigma_min", "sigma_max"):
            if end in grid:
                arguments += [f"--{end.replace('_', '-')}", grid[end]]
        self.train("sample", run, *arguments)

    def w2(self, a, b):
        return json.loads(self.train("metrics", a, b, "--only", "w2", "--json"))["w2"]

    def measure(self, name, levels, seed, sampler, evaluations, grid, part, count):
        def work():
            run = self.work / "runs" / f"{name}-{levels}-{seed}"
            reference = self.work / f"ode-{name}-{levels}-{seed}.npy"
            if part == "test" and not reference.exists():
                scratch = reference.with_suffix(f".{threading.get_ident()}.npy")
                self.sample(run, "heun", 200, DEFAULT, count, seed, scratch)
                os.replace(scratch, reference)
            out = self.work / f"samples-{os.getpid()}-{threading.get_ident()}.npy"
            steps = (evaluations + 1) // 2 if sampler == "heun" else evaluations
            self.sample(run, sampler, steps, grid, count, seed, out)
            found = {"w2": self.w2(out, self.points(name, part, seed, count))}
            if part == "test" and sampler in ODE:
                found["error"] = root_mean_square(out, reference)
            return found

        return self.once(f"{name} {levels} {seed} {sampler} {evaluations} {json.dumps(grid)} {part}", work)

    def floor(self, name, seed):
        """W2 between two sets of points of the target; of digits, between as many training points and the test points."""

        def one(repeat):
            test = self.points(name, "test", seed, COUNT)
            if name != "digits":
                return self.w2(self.points(name, f"fresh-{repeat}", seed, COUNT), test)
            values, dim = read_npy(self.parts(seed)["train"])
            rows = [values[i : i + dim] for i in range(0, len(values), dim)]
            path = self.work / f"digits-floor-{seed}-{repeat}.npy"
            write_npy(path, random.Random(repeat).sample(rows, 359))
            return self.w2(path, test)

        return self.once(f"{name} {seed} floor", lambda: statistics.mean(one(repeat) for repeat in range(FLOORS)))

    def tuned(self, name, sampler, evaluations):
        """The range and rho of Karras with the least W2 to validation points, for the first seed's network."""
        count = 180 if name == "digits" else TUNING_COUNT

        def score(grid):
            return self.measure(name, "given", 0, sampler, evaluations, grid, "validation", count)["w2"]

        return min(TUNED, key=score)

    def score_error(self, name, levels, seed):
        """`sum E|D - D*|^2/sigma^2 dlog sigma`, which bounds KL (nats) of the reverse SDE, from `train evaluate`."""

        def work():
            run = self.work / "runs" / f"{name}-{levels}-{seed}"
            report = json.loads(self.train("evaluate", run, "--only", "denoising_loss", "--count", 100, "--json"))
            found = report["denoising_loss"]
            spacing = math.log(found[1]["sigma"] / found[0]["sigma"])
            return sum(2 * level["excess"]["value"] / level["sigma"] ** 2 for level in found) * spacing

        return self.once(f"{name} {levels} {seed} score error", work)


def spread(values, digits=3):
    sd = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.{digits}f} ± {sd:.{digits}f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, default=ROOT / "target/release/train", help="the binary")
    parser.add_argument("--work", type=Path, default=ROOT / "target/sampling_grids", help="where everything is kept")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--targets", default="ring,widths,gaussian_mixture,digits")
    parser.add_argument("--parts", default="grids,noise_levels", help="which of the two comparisons")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, one thread each")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    laboratory = Laboratory(arguments.train.resolve(), arguments.work.resolve(), arguments.jobs)
    names, seeds = arguments.targets.split(","), range(arguments.seeds)
    if "grids" in arguments.parts:
        for name in names:
            laboratory.every(laboratory.run, [(name, "given", seed) for seed in seeds])
            grids(laboratory, name, seeds)
    if "noise_levels" in arguments.parts:
        for name in names:
            noise_levels(laboratory, name, seeds)


def grids(laboratory, name, seeds):
    count = laboratory.count(name)
    tuning = [(s, e, g) for s in (*ODE, *SDE) for e in EVALUATIONS for g in TUNED]
    tuning_count = 180 if name == "digits" else TUNING_COUNT
    laboratory.points(name, "validation", 0, tuning_count)
    laboratory.every(lambda s, e, g: laboratory.measure(name, "given", 0, s, e, g, "validation", tuning_count), tuning)
    for seed in seeds:
        laboratory.points(name, "test", seed, count)
    floors = laboratory.every(lambda seed: laboratory.floor(name, seed), [(seed,) for seed in seeds])
    items, cells = [], {}
    for sampler in (*ODE, *SDE):
        for evaluations in EVALUATIONS:
            choices = {**UNTUNED, "karras, tuned": laboratory.tuned(name, sampler, evaluations)}
            if sampler not in ODE:
                del choices["localized_optimized"]
            cells[sampler, evaluations] = choices
            items += [(name, "given", seed, sampler, evaluations, grid, "test", count) for grid in choices.values() for seed in seeds]
    # The first one of each network makes its reference solution; the others find it there.
    laboratory.every(laboratory.measure, [item for item in items if item[3:6] == ("heun", 5, DEFAULT)])
    laboratory.every(laboratory.measure, items)
    columns = ["karras", "karras, tuned", "log_snr", "time", "localized", "localized_optimized"]
    for kind, title in (("w2", f"W2 (floor {spread(floors)})"), ("error", "error of the solver")):
        print(f"\n### {name}: {title}\n\n| solver | evaluations | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns))
        for (sampler, evaluations), choices in cells.items():
            row = []
            for column in columns:
                found = [
                    laboratory.measure(name, "given", seed, sampler, evaluations, choices[column], "test", count).get(kind)
                    for seed in seeds
                    if column in choices
                ]
                row.append(spread(found) if found and found[0] is not None else "")
            if any(row):
                print(f"| {sampler} | {evaluations} | " + " | ".join(row) + " |")
    print(f"\nkarras, tuned, of {name}:")
    for (sampler, evaluations), choices in cells.items():
        print(f"- {sampler}, {evaluations}: {json.dumps(choices['karras, tuned'])}")


def noise_levels(laboratory, name, seeds):
    items = [(name, levels, seed, SHORT if name != "digits" else 2000) for levels in NOISE_LEVELS for seed in seeds]
    laboratory.every(laboratory.run, items)
    count = laboratory.count(name)
    print(f"\n### {name}: noise levels of training, {items[0][3]} steps\n")
    print("| noise levels | score error, nats | W2, heun, 39 evaluations | W2, dpm_solver_2m, 10, localized |\n|---|---|---|---|")
    for levels in NOISE_LEVELS:
        errors = []
        if name != "digits":
            errors = laboratory.every(lambda seed: laboratory.score_error(name, levels, seed), [(seed,) for seed in seeds])
        settings = [("heun", 40, DEFAULT), ("dpm_solver_2m", 10, UNTUNED["localized"])]
        columns = [spread(errors) if errors else ""]
        for sampler, evaluations, grid in settings:
            asked = [(name, levels, seed, sampler, evaluations, grid, "test", count) for seed in seeds]
            columns.append(spread([found["w2"] for found in laboratory.every(laboratory.measure, asked)]))
        print(f"| {levels} | " + " | ".join(columns) + " |")


if __name__ == "__main__":
    main()
