#!/bin/sh
# scikit-learn==1.9.1 skl2onnx==1.20.0 onnxruntime==1.32.0 ml_dtypes==0.5.4 numpy==2.4.6 onnx==1.23.2 protobuf==6.33.6
# Expected: a random forest that was trained with missing values (NaN), as scikit-learn allows, gives the same
# probabilities once it is converted to ONNX. HistGradientBoostingClassifier does, on the same rows.
# Seen: the converted forest sends NaN another way than scikit-learn learned: probabilities of a great part of
# the rows with NaN change, up to nearly 1. The conversion says nothing; rows without NaN stay equal.
# Why it matters here: what a packet says of an object's surroundings is full of missing values, and forests on
# such columns are the usual model.
# Exits with 1 where it is no longer so.
set -eu
sed -n '2,/^# Exits/s/^# //p' "$0"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --no-compile --disable-pip-version-check scikit-learn==1.9.1 skl2onnx==1.20.0 onnxruntime==1.32.0 ml_dtypes==0.5.4 numpy==2.4.6 onnx==1.23.2 protobuf==6.33.6
environment/bin/python - <<'END'
import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

generator = np.random.default_rng(0)
x = generator.normal(18, 2, (4000, 4)).astype(np.float32)
y = (x[:, 0] + 0.3 * x[:, 1] + generator.normal(0, 0.5, 4000) > 24).astype(int)
x[::3, 1] = np.nan
has_nan = np.isnan(x).any(axis=1)
wrong = {}
for model in (RandomForestClassifier(50, random_state=0), HistGradientBoostingClassifier(random_state=0)):
    graph = to_onnx(model.fit(x, y), x[:1], options={"zipmap": False}).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    difference = np.abs(session.run(None, {"X": x})[1] - model.predict_proba(x)).max(axis=1)
    name = type(model).__name__
    wrong[name] = (difference > 1e-3) & has_nan
    print(f"{name}: {wrong[name].sum()} of {has_nan.sum()} rows with NaN differ, by up to {difference.max():.3f};"
          f" {((difference > 1e-3) & ~has_nan).sum()} of the others do")
    assert not ((difference > 1e-3) & ~has_nan).any()
assert wrong["RandomForestClassifier"].sum() > 300 and not wrong["HistGradientBoostingClassifier"].any()
END
