#!/bin/sh
# astropy==8.0.2
# Expected: LombScargleMultiband takes normalization= as LombScargle does (standard, model, log, psd).
# Seen: the constructor takes it and power() ignores it: all four give the power of 'standard', where
# LombScargle gives four different ones.
# Why it matters here: a threshold in another normalization, such as psd, would never be reached, with no
# warning.
# Exits with 1 where it is no longer so.
set -eu
sed -n '2,/^# Exits/s/^# //p' "$0"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --no-compile --disable-pip-version-check astropy==8.0.2
environment/bin/python - <<'END'
import numpy as np
from astropy.timeseries import LombScargle, LombScargleMultiband

generator = np.random.default_rng(1)
t = np.sort(generator.uniform(0, 90, 50))
m = 18 + 0.3 * np.sin(2 * np.pi * t / 2.3)
error, band, frequency = np.full(50, 0.02), np.array(["g", "r"] * 25), np.linspace(0.01, 2, 500)
names = ("standard", "model", "log", "psd")
multi = [LombScargleMultiband(t, m, band, error, normalization=name).power(frequency).max() for name in names]
single = [LombScargle(t, m, error, normalization=name).power(frequency).max() for name in names]
for name, one, several in zip(names, single, multi):
    print(f"{name}: LombScargle {one:.4g}, LombScargleMultiband {several:.4g}")
assert len({round(value, 6) for value in single}) == 4 and len({round(value, 9) for value in multi}) == 1
END
