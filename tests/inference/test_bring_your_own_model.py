"""The example of docs/bring-your-own-model.md does what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from service.config import Device
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.photometry import BANDS, LightCurve
from tests.inference.tiny_bundle import draw_light_curve

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "bring-your-own-model.md"


def write_tables(folder: Path) -> list[LightCurve]:
    """Two classes in the tables' columns: sources that only brighten and fade, and sources of both signs."""
    rng = np.random.default_rng(0)
    points, labels, curves = ["object_id,mjd,band,mag,magerr,limit,sign"], ["object_id,label"], []
    for number in range(60):
        label = ("SNIa", "RR")[number % 2]
        curve = draw_light_curve(rng, int(rng.integers(3, 25)), 2)
        curves.append(curve)
        labels.append(f"object{number:02},{label}")
        for point in curve.points:
            detected = not np.isnan(point["mag"])
            sign = 0 if not detected else 1 if label == "SNIa" else rng.choice([-1, 1])
            values = (f"{point['mag']:.4f}", f"{point['magerr']:.4f}") if detected else ("", "")
            band = BANDS[point["band"]]
            points.append(f"object{number:02},{point['mjd']},{band},{','.join(values)},{point['limit']:.3f},{sign}")
    (folder / "points.csv").write_text("\n".join(points) + "\n")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    return curves


@pytest.mark.torch
def test_the_example_makes_a_bundle_that_is_served(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the example trains with torch: install the extra 'train'")
    pytest.importorskip("onnxscript", reason="the example exports with torch: install the extra 'train'")
    curves = write_tables(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    classifier = Classifier(load_bundle(tmp_path / "my-model"), Device.CPU, threads=1)
    classifier.warm_up()
    predictions = classifier.classify(curves)
    assert {prediction.classifier for prediction in predictions} == {"my-model"}
    assert {prediction.top_class for prediction in predictions} == {"SNIa", "RR"}
    assert classifier.bundle.metrics["held_out_accuracy"] > 0.7


def test_every_field_of_the_manifest_is_told() -> None:
    from service.inference.manifest import Manifest

    page = PAGE.read_text()
    assert [field for field in Manifest.model_fields if f"`{field}`" not in page] == []
