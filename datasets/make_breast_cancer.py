"""Writes breast_cancer.csv, the Wisconsin diagnostic breast cancer data as scikit-learn carries them, and prints its SHA-256.

pip install scikit-learn && python datasets/make_breast_cancer.py
"""
import hashlib
import pathlib

from sklearn.datasets import load_breast_cancer

data = load_breast_cancer()
names = [name.replace(" ", "_") for name in data.feature_names]
lines = [",".join([*names, "diagnosis"])]
for row, target in zip(data.data, data.target):
    lines.append(",".join([*(repr(float(value)) for value in row), str(data.target_names[target])]))
path = pathlib.Path(__file__).parent / "breast_cancer.csv"
path.write_bytes(("\n".join(lines) + "\n").encode())
print(hashlib.sha256(path.read_bytes()).hexdigest(), path)
