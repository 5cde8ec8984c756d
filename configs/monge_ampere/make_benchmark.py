"""Prints a config for one pair of measures of the Wasserstein-2 benchmark: python configs/monge_ampere/make_benchmark.py datasets/mix3_to_mix10_8.npz

The archive holds the reference (`reference_weights` [3], `reference_means` [3, D], `reference_covariances` [3, D, D]) and points of the target
(`target_samples` [n, D]). Another dimension changes `name`, `target.dataset.path` and `reference` alone; above three the stages are those of eight.
Standard library only.
"""

import ast
import json
import re
import struct
import sys
import zipfile

# Twenty and sixty CPU-seconds on a core of 2024.
STAGES = {2: 19, 8: 20}


def array(archive, name):
    """The shape and the numbers of a little-endian npy array in C order."""
    data = archive.read(name + ".npy")
    length, = struct.unpack_from("<H", data, 8)
    header = ast.literal_eval(data[10:10 + length].decode())
    assert data[6] == 1 and not header["fortran_order"] and header["descr"] in ("<f4", "<f8"), header
    count = 1
    for size in header["shape"]:
        count *= size
    kind = {"<f4": "f", "<f8": "d"}[header["descr"]]
    return header["shape"], struct.unpack_from(f"<{count}{kind}", data, 10 + length)


def rows(numbers, width):
    return [list(numbers[i:i + width]) for i in range(0, len(numbers), width)]


path = sys.argv[1]
with zipfile.ZipFile(path) as archive:
    (k, d), means = array(archive, "reference_means")
    _, weights = array(archive, "reference_weights")
    _, covariances = array(archive, "reference_covariances")
config = {
    "$schema": "../schema.json",
    "name": f"monge_ampere_benchmark_{d}d",
    "seed": 0,
    "device": "cpu",
    "target": {
        "dataset": {
            "path": path,
            "columns": ["target_samples"],
            "standardize": "global",
            "split": {"train": 0.94, "validation": 0.03, "test": 0.03},
        }
    },
    "method": {
        "monge_ampere_logistic": {
            "coordinates": "primal",
            "step": "semi_dual",
            "potential": {"input_convex": {}},
            "reference": {
                "gaussian_mixture": {
                    "weights": list(weights),
                    "means": rows(means, d),
                    "covariances": rows(rows(covariances, d), d),
                }
            },
            "semi_dual": {},
            "stages": STAGES[2 if d <= 3 else 8],
            "patience": None,
        }
    },
    "evaluation": {"count": 1800, "best_by": "held_out_loss"},
    "output": {
        "directory": "checkpoints",
        "log_every": 1,
        "checkpoint_every": 1,
        "keep_last": 3,
        "tensorboard": False,
        "figures": True,
    },
}
text = json.dumps(config, indent=2)
# A row of numbers on one line.
print(re.sub(r"\[\s+([^\[\]{}]+?)\s+\]", lambda row: "[" + re.sub(r"\s+", " ", row[1]) + "]", text))
