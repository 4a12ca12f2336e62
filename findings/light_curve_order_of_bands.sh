#!/bin/sh
# light-curve==0.13.3
# Expected: features that depend on the order of time treat unsorted times in one way: one band raises
# ValueError (t must be in ascending order).
# Seen: with bands=[...] nothing is checked: the same points in another order give other numbers, and no error.
# Why it matters here: points of several bands come in the order of packets, not of time.
# Exits with 1 where it is no longer so.
set -eu
sed -n '2,/^# Exits/s/^# //p' "$0"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --no-compile --disable-pip-version-check light-curve==0.13.3
environment/bin/python - <<'END'
import light_curve
import numpy as np

generator = np.random.default_rng(1)
t = np.sort(generator.uniform(0, 90, 30))
m = 18 + 0.02 * t + generator.normal(0, 0.02, 30)
error = np.full(30, 0.02)
band = np.array(["g", "r"] * 15)
order = generator.permutation(30)
try:
    light_curve.EtaE()(t[order], m[order], error[order])
except ValueError as refused:
    print("one band, shuffled:", refused)
else:
    raise SystemExit("one band is taken unsorted now")
feature = light_curve.EtaE(bands=["g", "r"])
sorted_, shuffled = feature(t, m, error, band), feature(t[order], m[order], error[order], band[order])
print("two bands, in order:", sorted_, "shuffled:", shuffled)
assert np.all(np.abs(sorted_ - shuffled) > 0.2 * np.abs(sorted_))
END
