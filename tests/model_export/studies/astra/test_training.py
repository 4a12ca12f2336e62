"""Astra-CLR's two stages run from stars to a head that import-astra takes, in a small configuration."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.bundles.graph import export_graph
from model_export.cli import main
from model_export.data.tables import CLASSES, Dataset
from model_export.studies.astra.bundle import Head
from model_export.studies.astra.network import AstraConfig
from model_export.studies.astra.training import (
    AstraFinetuneConfig,
    AstraPretrainConfig,
    finetune_astra,
    pretrain_astra,
    well_sampled,
)
from service.photometry import POINT, Kind

SMALL = AstraConfig(width=16, layers=3, heads=2, feed_forward=32, band_hidden=4, projection=8)


@pytest.fixture
def stars(rng) -> Dataset:
    points, labels = [], np.array([CLASSES.index("RR"), CLASSES.index("LPV")] * 6)
    for label in labels:
        own = np.zeros(120, dtype=POINT)
        own["mjd"] = 58300 + np.sort(rng.uniform(0, 900, 120))
        own["band"] = np.arange(120) % 2
        period = 0.55 if label == CLASSES.index("RR") else 300.0
        own["mag"] = 16 + 0.5 * np.sin(2 * np.pi * own["mjd"] / period) + 0.3 * (own["band"] == 0)
        own["magerr"] = 0.02
        own["kind"] = Kind.DETECTION
        points.append(own)
    points[-1] = points[-1][points[-1]["band"] == 0]  # one star was never seen in r
    objects = pd.DataFrame({"object_id": [f"s{i}" for i in range(12)], "label": labels, "split": "train"})
    return Dataset(np.concatenate(points), np.array([len(p) for p in points]), objects)


def test_a_star_needs_points_in_both_bands(stars, tmp_path: Path):
    assert len(well_sampled(stars, 50)) == 11
    with pytest.raises(ValueError, match="0 stars have 200 points"):
        pretrain_astra(stars, AstraPretrainConfig(encoder=SMALL), tmp_path)


def test_from_stars_to_a_head_that_can_be_imported(stars, tmp_path: Path):
    pre = AstraPretrainConfig(steps=3, batch_size=4, fewest_points=50, save_every=1, encoder=SMALL)
    encoder = pretrain_astra(stars, pre, tmp_path / "pre")
    assert len((tmp_path / "pre" / "history.jsonl").read_text().splitlines()) == 3

    fine = AstraFinetuneConfig(steps=3, batch_size=4, learning_rate=1e-2, fewest_points=50, encoder=SMALL)
    model = finetune_astra(stars, fine, tmp_path / "fine", tmp_path / "pre" / "encoder.pt")
    before, after = encoder.state_dict(), model.encoder.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith(("layers.0.", "layers.1.")) for name in moved)
    assert any(name.startswith("layers.2.") for name in moved)
    head = Head.read(tmp_path / "fine" / "head.npz")
    assert head.weight.shape == (len(CLASSES), 3 * SMALL.width)

    batch = torch.export.Dim("batch", min=1)
    example = (*(torch.zeros(2, 700, 1) for _ in range(3)), torch.zeros(2, 700))
    names = ["input", "times", "band_info", "mask"]
    export_graph(
        model.encoder, example, tmp_path / "astra.onnx", names, tuple({0: batch} for _ in names), ["embedding"]
    )
    arguments = ["import-astra", "--encoder", tmp_path / "astra.onnx", "--head", tmp_path / "fine" / "head.npz"]
    result = CliRunner().invoke(main, [str(a) for a in (*arguments, "--out", tmp_path / "bundle")])
    assert result.exit_code == 0, result.output
    assert "14 classes" in result.output


def test_a_head_without_weights_is_refused_in_one_sentence(tmp_path: Path):
    np.savez(tmp_path / "head.npz", bias=np.zeros(2))
    (tmp_path / "astra.onnx").write_bytes(b"")
    arguments = [
        "import-astra",
        "--encoder",
        tmp_path / "astra.onnx",
        "--head",
        tmp_path / "head.npz",
        "--out",
        tmp_path,
    ]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 1
    assert "has no array weight, classes; it has bias" in result.output
