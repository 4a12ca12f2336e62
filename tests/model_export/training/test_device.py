"""Training on a CUDA device, as far as it can be tested without one: with tensors that have a device and no values.

Every operation on such fake tensors checks that its operands are on the same device, which is what goes wrong.
"""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from model_export.data.batches import length_batches
from model_export.network.encoder import AlertClassifier
from model_export.training.finetune import Targets, training_loss
from model_export.training.pretrain import PretrainConfig, Pretrainer, nt_xent
from model_export.training.run import FinetuneConfig, portable_weights
from service.inference.preprocessing.alert_clr import alert_tokens
from tests.model_export.two_kinds import TINY, two_kinds

CONFIG = FinetuneConfig(encoder=TINY)


def fake_tensors() -> FakeTensorMode:
    return FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv(allow_dynamic_output_shape_ops=True))


@pytest.fixture
def data(rng):
    data = two_kinds(rng, 40)
    data.objects.loc[::3, "fine"] = 2
    data.objects.loc[::2, "redshift"] = 0.05
    return data


@pytest.fixture
def batch(data):
    tokens = alert_tokens(data.points, data.counts, CONFIG.parameters)
    (batch,) = length_batches(tokens, np.arange(len(data)), len(data), CONFIG.window)
    assert batch.bias is not None
    return batch


def test_the_loss_of_a_step_stays_on_the_device(data, batch):
    targets = Targets.of(data, np.full(TINY.classes, 1 / TINY.classes))
    with fake_tensors():
        with torch.device("cuda"):
            there = AlertClassifier(TINY)
        soft = torch.empty(len(data), TINY.classes, device="cuda")
        loss = training_loss(there, batch.to("cuda"), targets.to("cuda"), soft, CONFIG)
        assert loss.device.type == "cuda"
        with pytest.raises(RuntimeError, match="device"):  # the check itself works
            training_loss(there, batch, targets.to("cuda"), soft, CONFIG)


def test_the_contrastive_loss_stays_on_the_device(batch):
    with fake_tensors():
        with torch.device("cuda"):
            there = Pretrainer(replace(PretrainConfig(), encoder=TINY))
        loss = nt_xent(torch.stack([there(batch.to("cuda")) for _ in range(3)]))
        assert loss.device.type == "cuda"


def test_auxiliary_losses_count_what_is_known_alone(data, batch):
    targets = Targets.of(data, np.full(TINY.classes, 1.0))
    model = AlertClassifier(replace(TINY, dropout=0.0))
    rows = batch.rows
    with torch.no_grad():
        embedding = model.encoder(batch.points, batch.context, batch.bias)
        expected = torch.nn.functional.cross_entropy(model.head(embedding), targets.labels[rows])
        fine, known = 0.0, torch.isfinite(targets.log_redshift[rows])
        for row, label in zip(model.fine_head(embedding), targets.fine[rows], strict=True):
            fine -= float(row.log_softmax(dim=0)[label]) if label >= 0 else 0.0
        redshift = torch.nn.functional.smooth_l1_loss(
            model.redshift_head(embedding)[known, 0], targets.log_redshift[rows][known], beta=0.2, reduction="sum"
        )
        found = training_loss(model, batch, targets, None, CONFIG)
    assert 0 < int(known.sum()) < len(rows)
    total = expected + (CONFIG.fine_weight * fine + CONFIG.redshift_weight * redshift) / len(rows)
    assert float(found) == pytest.approx(float(total), rel=1e-5)


def test_weights_are_written_for_machines_without_the_device():
    with fake_tensors():
        with torch.device("cuda"):
            there = AlertClassifier(TINY)
        assert {tensor.device.type for tensor in there.state_dict().values()} == {"cuda"}
        assert {tensor.device.type for tensor in portable_weights(there).values()} == {"cpu"}
