#!/bin/sh
# nifty-ls==1.1.0 astropy==8.0.2 numpy==2.4.6
# Expected: a periodogram of float32 photometry is right to some 1e-5, as astropy's own method gives it for the
# same float32 arrays.
# Seen: astropy's method='fastnifty' (nifty-ls) computes in single precision: the power is off by a tenth of its
# whole range, and the best frequency may be another. In float64 the two agree to 1e-9.
# Why it matters here: photometry mostly comes as float32 columns, and it raises nothing.
# Exits with 1 where it is no longer so.
set -eu
sed -n '2,/^# Exits/s/^# //p' "$0"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --no-compile --disable-pip-version-check nifty-ls==1.1.0 astropy==8.0.2 numpy==2.4.6
environment/bin/python - <<'END'
import nifty_ls
import numpy as np
from astropy.timeseries import LombScargle

generator = np.random.default_rng(1)
t = np.sort(generator.uniform(0, 90, 50))
m = 18 + 0.3 * np.sin(2 * np.pi * t / 2.3)
frequency = np.linspace(0.01, 2, 500)
differences = {}
for kind in (np.float64, np.float32):
    curve = LombScargle(t.astype(kind), m.astype(kind))
    fast, slow = (curve.power(frequency, method=name, assume_regular_frequency=True) for name in ("fastnifty", "cython"))
    differences[kind] = np.abs(fast - slow).max()
    print(f"{kind.__name__}: differs by up to {differences[kind]:.2g} of a power between 0 and 1")
assert differences[np.float64] < 1e-8 and differences[np.float32] > 0.03
END
