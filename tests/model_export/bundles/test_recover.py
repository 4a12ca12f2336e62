"""A bundle's graph gives its network back, and a run folder that every command takes."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.bundles.graph import Publication, export_alert_clr, parity, write_manifest
from model_export.bundles.recover import RecoveryError, recover, recover_run
from model_export.data.tables import CLASSES
from model_export.network.encoder import AlertClassifier
from model_export.training.run import load_run
from service.inference.bundle import default_bundle_folder
from service.inference.manifest import Calibration
from tests.model_export.two_kinds import TINY

CALIBRATION = Calibration(
    edges=[1], temperature=[1.0], conformal_coverage=0.9, conformal_thresholds=[[0.9] * len(CLASSES)]
)


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, AlertClassifier, Publication]:
    torch.manual_seed(3)
    model = AlertClassifier(TINY).eval()
    with torch.no_grad():  # as after training: the exporter stores equal tensors, such as norms of ones, only once
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    shares = np.linspace(1, 3, len(CLASSES))
    publication = Publication(shares / shares.sum(), softening=0.7)
    export_alert_clr(model, publication, tmp_path / "model.onnx")
    write_manifest(
        tmp_path,
        name="tiny",
        version="1",
        description="",
        prior=publication.prior,
        preprocessing=("alert-clr/1", {"window": 64, "max_windows": 2}),
        calibration=CALIBRATION,
        out_of_distribution=None,
        data_digest="0" * 64,
        minimum_detections=1,
    )
    return tmp_path, model, publication


def test_every_weight_comes_back_but_those_of_the_auxiliary_heads(bundle):
    folder, model, publication = bundle
    found, told = recover(folder, dropout=TINY.dropout)
    assert found.config == TINY
    assert told.softening == pytest.approx(publication.softening, abs=1e-6)
    expected = model.state_dict()
    for name, value in found.state_dict().items():
        if not name.startswith(("fine_head", "redshift_head")):
            assert torch.allclose(value, expected[name], atol=1e-6, rtol=0), name


def test_a_recovered_run_is_read_like_any_other(bundle, tmp_path: Path):
    folder, model, _ = bundle
    recover_run(folder, tmp_path / "run", dropout=0.25)
    found, config = load_run(tmp_path / "run")
    assert config.window == 64
    assert config.encoder.dropout == 0.25
    assert torch.equal(found.head.weight, model.head.weight)
    assert json.loads((tmp_path / "run" / "calibration.json").read_text())["calibration"]["edges"] == [1]


def test_the_shipped_bundle_says_the_same_through_torch(rng):
    folder = default_bundle_folder()
    model, publication = recover(folder)
    shapes = [(1, 1, 1), (3, 1, 40), (2, 3, 128)]
    inputs = [
        (rng.standard_normal((b, w, n, 16)).astype(np.float32), rng.standard_normal((b, 12)).astype(np.float32))
        for b, w, n in shapes
    ]
    assert parity(folder / "model.onnx", model, publication, inputs) < 5e-6  # float32 rounds a logit of 10 by 1e-6


def test_another_graph_is_refused_in_one_sentence(bundle):
    folder, _, _ = bundle
    import onnx

    graph = onnx.load(folder / "model.onnx")
    product = next(node for node in graph.graph.node if node.op_type == "MatMul")
    product.op_type = "MatMulInteger"
    onnx.save(graph, folder / "model.onnx")
    with pytest.raises(RecoveryError, match="not an alert-clr"):
        recover(folder)
