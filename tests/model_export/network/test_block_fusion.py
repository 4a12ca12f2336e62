"""Blocks are fused late: one block is answered as without any fusion, several by what is kept of the finished ones."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.bundles.bundle import served_network
from model_export.bundles.graph import Padded, Publication, Served, export_alert_clr, open_graph, parity
from model_export.data.tables import CLASSES
from model_export.network.block_fusion import BlockClassifier
from model_export.network.encoder import AlertClassifier
from model_export.training.fuse_blocks import (
    block_parameters,
    fit_correction,
    fused,
    load_blocks,
    write_fused_run,
)
from model_export.training.run import FinetuneConfig
from service.inference.preprocessing.blocks import KEPT_INPUT, kept_input
from tests.model_export.two_kinds import TINY, two_kinds

PRIOR = np.linspace(1, 2, len(CLASSES)) / np.linspace(1, 2, len(CLASSES)).sum()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BlockClassifier(AlertClassifier(TINY)).eval()


def test_one_block_is_answered_bit_for_bit_as_without_fusion(model, rng, tmp_path: Path):
    publication = Publication(PRIOR, 0.6)
    export_alert_clr(model.network, publication, tmp_path / "windows.onnx")
    export_alert_clr(model, publication, tmp_path / "blocks.onnx")
    windows, blocks = open_graph(tmp_path / "windows.onnx"), open_graph(tmp_path / "blocks.onnx")
    for shape in ((1, 1, 1), (1, 1, 50), (5, 1, 17)):
        feed = {
            "points": rng.standard_normal((*shape, 16)).astype(np.float32),
            "context": rng.standard_normal((shape[0], 12)).astype(np.float32),
        }
        alone = {KEPT_INPUT: np.zeros((shape[0], model.kept_size), np.float32)}
        for theirs, ours in zip(windows.run(None, feed), blocks.run(None, feed | alone), strict=True):
            np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize("padded", [False, True])
def test_the_exported_graph_agrees_with_torch(model, rng, tmp_path: Path, padded: bool):
    publication = Publication(PRIOR, 0.6)
    export_alert_clr(model, publication, tmp_path / "blocks.onnx", padded=padded)
    feeds = [
        {
            "points": rng.standard_normal((batch, 1, length, 16)).astype(np.float32),
            "context": rng.standard_normal((batch, 12)).astype(np.float32),
            KEPT_INPUT: rng.random((batch, model.kept_size), dtype=np.float32),
        }
        | ({"lengths": rng.integers(1, length + 1, batch)} if padded else {})
        for batch, length in ((1, 1), (3, 20), (7, 9))
    ]
    served = Served(Padded(model) if padded else model, publication)
    assert parity(tmp_path / "blocks.onnx", served, feeds) < 1e-5


def test_what_is_kept_stands_for_the_embeddings_of_the_finished_blocks(model, rng):
    """Mean and standard deviation over all blocks, newest included, are those of the embeddings side by side."""
    embeddings = rng.random((4, TINY.embedding)).astype(np.float32)
    facts = np.column_stack(([4, 9, 2, 5], [18.0, 16.0, 17.0, 16.5], [0, 10, 20, 30], [9, 19, 29, 39.0]))
    kept = torch.from_numpy(kept_input(facts, embeddings[:3], TINY.embedding))[None]
    size = TINY.embedding
    own = torch.from_numpy(embeddings[3:])
    mean, told = model.fuse(
        own, kept[:, :size], kept[:, size : 2 * size], kept[:, 2 * size, None], kept[:, 2 * size + 1 :]
    )
    weight = facts[:, 0] * 10 ** (-0.4 * facts[:, 1])
    weight /= weight.sum()
    expected = weight @ embeddings
    np.testing.assert_allclose(mean[0].numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(
        told[0, size : 2 * size].numpy(), np.sqrt(weight @ (embeddings - expected) ** 2), atol=1e-6
    )


def test_a_fusion_is_fitted_written_and_read(rng, tmp_path: Path):
    torch.manual_seed(0)
    network = AlertClassifier(TINY).eval()
    data = two_kinds(rng, 60)
    parameters = block_parameters(6, TINY.embedding) | {"cell_days": 16.0}
    found = fused(network, data, parameters)
    assert found.several.sum() > 20
    rows = np.flatnonzero(found.several)
    logits = found.logits[rows] + np.log(PRIOR)
    weight, bias = fit_correction(found.told[rows], logits, data.labels[rows], np.ones(len(rows)), penalty=0.1)

    def loss(answers):
        return -torch.from_numpy(answers).log_softmax(1)[np.arange(len(rows)), data.labels[rows]].mean()

    assert loss(logits + found.told[rows] @ weight.T + bias) < 0.7 * loss(logits)

    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    (before / "config.json").write_text("{}")
    write_fused_run(before, after, (weight, bias), parameters, PRIOR)
    assert (after / "config.json").read_text() == "{}"
    read, preprocessing, prior = served_network(after, network, FinetuneConfig())
    assert preprocessing == ("alert-clr/2", parameters)
    np.testing.assert_array_equal(prior, PRIOR)
    assert served_network(before, network, FinetuneConfig())[0] is network
    corrected = load_blocks(after, network)[0].correction(torch.from_numpy(found.told[rows]).float())
    np.testing.assert_allclose(corrected.detach().numpy(), found.told[rows] @ weight.T + bias, atol=1e-4)
    assert isinstance(read, BlockClassifier)
