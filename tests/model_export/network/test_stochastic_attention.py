"""Stochastic attention: random from pass to pass, near the plain network at its start, blind to padding."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from model_export.data.batches import PADDING_BIAS
from model_export.network.encoder import AlertClassifier
from model_export.network.predict import ALL, predict
from model_export.network.stochastic_attention import HierarchicalStochasticAttention
from model_export.training.centroids import with_centroids
from tests.model_export.two_kinds import TINY, two_kinds

STOCHASTIC = replace(TINY, centroids=8)


def without_noise(module: torch.nn.Module) -> torch.nn.Module:
    for part in module.modules():
        if isinstance(part, HierarchicalStochasticAttention):
            part.noise_centroids = part.noise_keys = torch.nn.Identity()
    return module


def inputs(rng, batch=3, length=9):
    return (
        torch.from_numpy(rng.standard_normal((batch, 1, length, 16))).float(),
        torch.from_numpy(rng.standard_normal((batch, 12))).float(),
    )


def test_two_passes_differ_even_when_dropout_is_off(rng):
    model = AlertClassifier(STOCHASTIC).eval()
    asked = inputs(rng)
    with torch.no_grad():
        assert not torch.allclose(model(*asked)[0], model(*asked)[0])


def test_without_noise_keys_are_mixtures_of_centroids_and_attention_the_usual_one(rng):
    attend = HierarchicalStochasticAttention(2, 4, 3, 0.5, 0.0)
    without_noise(attend)
    query, key, value = (torch.from_numpy(rng.standard_normal((1, 2, 5, 4))).float() for _ in range(3))
    with torch.no_grad():
        found = attend(query, key, value, None)
        centroids = attend.centroids.detach()
        for head in range(2):
            weights = np.exp(key[0, head].numpy() @ centroids[head].numpy().T / 0.5)
            rebuilt = weights / weights.sum(1, keepdims=True) @ centroids[head].numpy()
            scores = np.exp(query[0, head].numpy() @ rebuilt.T / 2.0)
            expected = scores / scores.sum(1, keepdims=True) @ value[0, head].numpy()
            assert np.allclose(found[0, head].numpy(), expected, atol=1e-5)


def test_padding_is_not_attended_to(rng):
    model = without_noise(AlertClassifier(STOCHASTIC).eval())
    points, context = inputs(rng, 1)
    bias = torch.zeros(1, 1, 1, 9)
    bias[..., 6:] = PADDING_BIAS
    with torch.no_grad():
        exact = model.encoder(points[:, 0, :6], context)
        assert torch.allclose(model.encoder(points[:, 0], context, bias), exact, atol=1e-5)


def test_centroids_of_the_networks_own_keys_start_nearer_to_it_than_random_ones(rng):
    torch.manual_seed(0)
    plain = AlertClassifier(TINY).eval()
    with torch.no_grad():  # keys that spread as far as those of a trained network
        for block in plain.encoder.blocks:
            block.query_key_value.weight *= 4.0
    parameters = {"window": 128, "max_windows": 4}
    data = two_kinds(rng, 80)
    clustered = without_noise(with_centroids(plain, STOCHASTIC, data, parameters)).eval()
    random = AlertClassifier(STOCHASTIC).eval()
    random.load_state_dict(plain.state_dict(), strict=False)
    without_noise(random)
    expected, near, far = (
        predict(model, data, parameters, (ALL,))[ALL].embedding for model in (plain, clustered, random)
    )
    assert np.linalg.norm(near - expected) < 0.7 * np.linalg.norm(far - expected)


def test_centroids_are_not_given_to_a_network_of_another_shape(rng):
    with pytest.raises((ValueError, RuntimeError)):
        with_centroids(AlertClassifier(STOCHASTIC), STOCHASTIC, two_kinds(rng, 40), {"window": 128, "max_windows": 4})
