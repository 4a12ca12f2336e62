"""The network says the same however it is asked: padded or exact, in windows or not, in torch or in ONNX Runtime."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.bundles.graph import Publication, Served, export_alert_clr, latency, parity
from model_export.data.batches import PADDING_BIAS, length_batches, sampling_weights
from model_export.data.tables import CLASSES, Dataset
from model_export.network.encoder import AlertClassifier
from model_export.network.predict import ALL, predict
from model_export.training.configuration import CONFIGS, read_config
from model_export.training.finetune import finetune
from model_export.training.pretrain import PretrainConfig, pretrain
from model_export.training.run import FinetuneConfig
from service.inference.preprocessing.alert_clr import alert_tokens
from service.photometry import POINT
from tests.model_export.two_kinds import TINY, two_kinds


@pytest.fixture
def model():
    torch.manual_seed(0)
    return AlertClassifier(TINY).eval()


def test_padding_changes_no_embedding(model, end_to_end):
    tokens = alert_tokens(*end_to_end, {})
    stops = np.cumsum(tokens.counts)
    with torch.no_grad():
        (batch,) = length_batches(tokens, np.arange(len(stops)), 100, 128)
        assert batch.bias is not None
        padded = model.encoder(batch.points, batch.context, batch.bias)
        for place, row in enumerate(batch.rows):
            exact = torch.from_numpy(tokens.points[stops[row] - tokens.counts[row] : stops[row]])[None]
            alone = model.encoder(exact, torch.from_numpy(tokens.context[row])[None])
            assert torch.allclose(alone[0], padded[place], atol=1e-5)


def test_what_stands_on_padding_does_not_matter(model, rng):
    points = torch.from_numpy(rng.standard_normal((1, 9, 16))).float()
    bias = torch.zeros(1, 1, 1, 9)
    bias[..., 6:] = PADDING_BIAS
    context = torch.zeros(1, 12)
    with torch.no_grad():
        one = model.encoder(points, context, bias)
        points[:, 6:] = 3.0
        assert torch.allclose(one, model.encoder(points, context, bias), atol=1e-5)


def test_windows_are_fused_by_the_mean_of_their_embeddings(model, rng):
    points = torch.from_numpy(rng.standard_normal((2, 3, 7, 16))).float()
    context = torch.from_numpy(rng.standard_normal((2, 12))).float()
    with torch.no_grad():
        fused = model.embed(points, context)
        single = torch.stack([model.encoder(points[:, w], context) for w in range(3)]).mean(0)
    assert torch.allclose(fused, single, atol=1e-6)


def test_the_order_of_points_does_not_matter_only_their_times(model, rng):
    points = torch.from_numpy(rng.standard_normal((1, 11, 16))).float()
    context = torch.zeros(1, 12)
    with torch.no_grad():
        assert torch.allclose(
            model.encoder(points, context), model.encoder(points[:, torch.randperm(11)], context), atol=1e-5
        )


def test_the_exported_graph_agrees_with_torch_for_every_shape_and_carries_the_prior(model, rng, tmp_path: Path):
    prior = np.linspace(1, 2, len(CLASSES)) / np.linspace(1, 2, len(CLASSES)).sum()
    path = tmp_path / "model.onnx"
    publication = Publication(prior, softening=0.6)
    export_alert_clr(model, publication, path)
    shapes = [(1, 1, 1), (1, 1, 50), (5, 1, 17), (2, 4, 128)]
    days = np.array([900.0] + [1.0] * 15)
    feeds = [
        {
            "points": (rng.standard_normal((*s, 16)) * days).astype(np.float32),
            "context": rng.standard_normal((s[0], 12)).astype(np.float32),
        }
        for s in shapes
    ]
    assert parity(path, Served(model, publication), feeds) < 1e-5
    assert 0 < latency(path, 20, repeats=20) < 50
    text = path.read_bytes()
    assert b".py" not in text  # no file names of the machine it was made on


def test_training_learns_resumes_and_repeats_itself(rng, tmp_path: Path):
    data = two_kinds(rng, 160)
    config = FinetuneConfig(
        steps=120,
        decay_steps=60,
        warm_up=5,
        learning_rate=5e-3,
        batch_size=32,
        validate_every=60,
        average_decay=0.9,
        encoder=TINY,
    )
    model = finetune(data, None, config, tmp_path / "one")
    test = data.where((data.objects["split"] == "test").to_numpy())
    found = predict(model, test, config.parameters, (ALL, 3))
    assert np.mean(found[ALL].logits.argmax(axis=1) == test.labels) > 0.85
    assert np.all(found[3].n_seen <= 3)

    again = finetune(data, None, config, tmp_path / "two")
    same = zip(model.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)

    before = (tmp_path / "one" / "history.jsonl").read_text()
    resumed = finetune(data, None, config, tmp_path / "one")  # nothing is left to do
    assert (tmp_path / "one" / "history.jsonl").read_text() == before
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


def test_contrastive_pre_training_lowers_its_loss(rng, tmp_path: Path):
    data = two_kinds(rng, 200)
    config = PretrainConfig(steps=40, batch_size=32, warm_up=10, save_every=10, encoder=TINY, peak_learning_rate=5e-3)
    pretrain(data, None, config, tmp_path)
    losses = [float(line.split('"loss": ')[1].strip("}\n")) for line in (tmp_path / "history.jsonl").open()]
    assert losses[-1] < losses[0]
    assert (tmp_path / "encoder.pt").exists()


def test_rare_classes_are_drawn_more_often_than_their_share(rng):
    labels = np.repeat([0, 1], [900, 100])
    data = Dataset(
        np.zeros(1000, POINT), np.ones(1000, dtype=int), pd.DataFrame({"label": labels, "table": "transients"})
    )
    weights = sampling_weights(data, 0.5, 0.4)
    assert weights.sum() == pytest.approx(1)
    assert weights[labels == 1].sum() == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("finetune.toml", FinetuneConfig),
        ("member.toml", FinetuneConfig),
        ("early.toml", FinetuneConfig),
        ("pretrain.toml", PretrainConfig),
    ],
)
def test_the_checked_in_configurations_are_read(name: str, kind: type):
    assert read_config(kind, CONFIGS / name, steps=3).steps == 3


def test_an_unknown_setting_is_named(tmp_path: Path):
    (tmp_path / "c.toml").write_text("step = 3\n")
    with pytest.raises(ValueError, match=r"c.toml: unknown step; known are .*steps"):
        read_config(FinetuneConfig, tmp_path / "c.toml")
