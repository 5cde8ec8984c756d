"""Writes the targets of gmm40_2d.json and eight_modes_10d.json as JSON: every number of a mixture stands in its config.

pip install numpy && python configs/density/make_mixtures.py
"""
import json

import numpy as np


def mixture(weights, means, sd):
    d = means.shape[1]
    covariance = [[sd * sd if i == j else 0.0 for j in range(d)] for i in range(d)]
    return {"gaussian_mixture": {
        "weights": [float(w) for w in weights],
        "means": [[round(float(x), 6) for x in mean] for mean in means],
        "covariances": [covariance for _ in weights],
    }}


# Forty equal Gaussians of unit covariance, means uniform in [-40, 40]².
gmm40 = mixture(np.full(40, 1 / 40), np.random.default_rng(0).uniform(-40, 40, (40, 2)), 1.0)
# Eight Gaussians in ten dimensions, means uniform on the sphere of radius 4, sd ½, weights proportional to 1, …, 8.
directions = np.random.default_rng(0).normal(size=(8, 10))
eight = mixture(np.arange(1, 9) / 36, 4 * directions / np.linalg.norm(directions, axis=1, keepdims=True), 0.5)
print(json.dumps({"gmm40_2d": gmm40, "eight_modes_10d": eight}))
