"""Writes datasets/digits.npz, the same bytes each time: `python datasets/make_digits.py` (needs scikit-learn)."""

import hashlib
import io
import pathlib
import zipfile

import numpy
from sklearn.datasets import load_digits

path = pathlib.Path(__file__).with_name("digits.npz")
digits = load_digits()
arrays = {"images": digits.images.astype("uint8"), "label": digits.target.astype("uint8")}
assert (arrays["images"] == digits.images).all() and (arrays["label"] == digits.target).all()

# What numpy.savez_compressed does, with the date and the level of compression stated.
with zipfile.ZipFile(path, "w") as archive:
    for name, array in arrays.items():
        content = io.BytesIO()
        numpy.lib.format.write_array(content, array, version=(1, 0))
        entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
        entry.create_system = 3
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, content.getvalue(), compresslevel=9)

print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")
