"""Writes breast_cancer_posterior.json: what the posterior of configs/density/bayesian_logistic_breast_cancer.json is, twice over.

log Z: importance sampling from Student's t (8 degrees of freedom) at the Laplace fit, ten million draws.
Means and standard deviations: NUTS by nuts-rs through nutpie, four chains.

pip install numpy scipy nutpie && python crates/training/tests/breast_cancer_posterior.py
"""
import csv
import json
import pathlib

import arviz
import numpy as np
import nutpie
import nutpie.compiled_pyfunc
from scipy.special import gammaln

here = pathlib.Path(__file__).parent
rows = list(csv.reader((here / "../../../datasets/breast_cancer.csv").open()))
points = np.array([[float(cell) for cell in row[:-1]] for row in rows[1:]])
signs = np.array([1.0 if row[-1] == "malignant" else -1.0 for row in rows[1:]])
points = (points - points.mean(0)) / points.std(0)
signed = np.c_[np.ones(len(points)), points] * signs[:, None]
d = signed.shape[1]


def log_density(w):
    return -np.logaddexp(0, -w @ signed.T).sum(-1) - (w**2).sum(-1) / 2 - d / 2 * np.log(2 * np.pi)


def gradient(w):
    return (1 / (1 + np.exp(signed @ w))) @ signed - w


mode = np.zeros(d)
for _ in range(50):
    share = 1 / (1 + np.exp(signed @ mode))
    hessian = (signed.T * (share * (1 - share))) @ signed + np.eye(d)
    mode = mode + np.linalg.solve(hessian, gradient(mode))
factor = np.linalg.cholesky(hessian)

nu, draws, batch = 8.0, 10_000_000, 50_000
rng = np.random.default_rng(0)
log_weights = []
for _ in range(draws // batch):
    e = rng.normal(size=(batch, d)) * np.sqrt(nu / rng.chisquare(nu, size=batch))[:, None]
    log_q = gammaln((nu + d) / 2) - gammaln(nu / 2) - d / 2 * np.log(nu * np.pi) + np.log(np.diag(factor)).sum()
    log_q = log_q - (nu + d) / 2 * np.log1p((e**2).sum(1) / nu)
    log_weights.append(log_density(mode + e @ np.linalg.inv(factor)) - log_q)
log_weights = np.concatenate(log_weights)
largest = log_weights.max()
weights = np.exp(log_weights - largest)
log_z = largest + np.log(weights.mean())
std_error = weights.std() / weights.mean() / np.sqrt(draws)

make = lambda: lambda w: (float(log_density(w)), gradient(w))
expand = lambda *_: lambda w: {"w": w}
model = nutpie.compiled_pyfunc.from_pyfunc(d, make, expand, [np.dtype("float64")], [(d,)], ["w"])
trace = nutpie.sample(model, draws=10_000, tune=1_000, chains=4, seed=0, progress_bar=False)
w = np.asarray(trace.posterior["w"])
ess = min(float(arviz.ess(w[:, :, j])) for j in range(d))
flat = w.reshape(-1, d)
answer = {"log_z": log_z, "std_error": std_error, "draws": draws, "nuts_ess": ess,
          "mean": flat.mean(0).tolist(), "sd": flat.std(0).tolist()}
(here / "breast_cancer_posterior.json").write_text(json.dumps(answer, indent=1) + "\n")
print(log_z, std_error, ess)
