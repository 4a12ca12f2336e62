#!/bin/sh
# light-curve==0.13.3 astropy==8.0.2
# Expected: the default Periodogram (fast=True) approximates the Lomb-Scargle power of a light curve.
# Seen: for alert-like light curves it does not: at 10 points the power is off by tenths, of a quantity between
# 0 and 1. fast=False equals astropy to rounding, at the very same frequencies.
# Why it matters here: alerts are short light curves, and periods are judged by that power.
# Exits with 1 where it is no longer so.
set -eu
sed -n '2,/^# Exits/s/^# //p' "$0"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --no-compile --disable-pip-version-check light-curve==0.13.3 astropy==8.0.2
environment/bin/python - <<'END'
import light_curve
import numpy as np
from astropy.timeseries import LombScargle

generator = np.random.default_rng(1)
worst = {}
for points in (10, 40):
    t = np.sort(generator.uniform(0, 90, points))
    m = 18 + 0.3 * np.sin(2 * np.pi * t / 2.3) + generator.normal(0, 0.02, points)
    for fast in (True, False):
        omega, power = light_curve.Periodogram(fast=fast, normalization="standard").freq_power(t, m)
        true = LombScargle(t, m, fit_mean=False).power(omega / (2 * np.pi))
        worst[points, fast] = np.abs(power - true)[omega > 0].max()  # astropy has no power at frequency 0
        print(f"{points} points, fast={fast}: differs from astropy by up to {worst[points, fast]:.2g}")
assert worst[10, True] > 0.2 and worst[40, True] > 0.05
assert worst[10, False] < 1e-9 and worst[40, False] < 1e-9
END
