"""Means, covariances and log-likelihood of scikit-learn's GaussianMixture after 50 steps from given starts, as JSON on stdout.

    pip install scikit-learn==1.9.1 && python crates/measure/tests/gaussian_mixture.py >crates/measure/tests/gaussian_mixture.json

The start is one maximisation from responsibilities that put point i into component i mod K, as is ours in the test. No covariance is regularised.
"""

import json
import warnings

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

warnings.simplefilter("ignore", ConvergenceWarning)

STEPS = 50


def points(rng, n, d, k):
    """Overlapping clusters of different shapes."""
    centres = 3.0 * rng.standard_normal((k, d))
    shapes = rng.standard_normal((k, d, d)) / np.sqrt(d) + 0.3 * np.eye(d)
    return np.concatenate([centres[j] + rng.standard_normal((n // k, d)) @ shapes[j].T for j in range(k)])


def fitted(x, k, kind):
    """50 steps from the start: `tol=0` never stops early."""
    n, d = x.shape
    shares = np.zeros((n, k))
    shares[np.arange(n), np.arange(n) % k] = 1.0
    model = GaussianMixture(k, covariance_type=kind, tol=0.0, reg_covar=0.0, max_iter=STEPS)
    model._initialize_parameters = lambda x, random_state, **_: model._initialize(x, shares)
    model.fit(x)
    covariances = {
        "full": lambda: model.covariances_,
        "diag": lambda: np.stack([np.diag(v) for v in model.covariances_]),
        "tied": lambda: np.stack([model.covariances_] * k),
    }[kind]()
    return {
        "kind": {"full": "full", "diag": "diagonal", "tied": "tied"}[kind],
        "components": k,
        "weights": model.weights_.tolist(),
        "means": model.means_.tolist(),
        "covariances": covariances.tolist(),
        "log_likelihood": float(model.score(x)),
    }


def main():
    rng = np.random.default_rng(0)
    cases = []
    for n, d, k in [(300, 2, 3), (400, 5, 4)]:
        x = points(rng, n, d, k)
        cases.append({"points": x.tolist(), "fits": [fitted(x, k, kind) for kind in ("full", "diag", "tied")]})
    print(json.dumps({"scikit_learn": sklearn.__version__, "steps": STEPS, "cases": cases}))


main()
