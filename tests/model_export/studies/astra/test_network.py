"""Astra-CLR is what was published: sizes, encoding, mask, loss, and an imported encoder is served as one graph."""

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import onnxruntime

from model_export.bundles.graph import export_graph
from model_export.studies.astra.bundle import import_astra
from model_export.studies.astra.network import AstraClassifier, AstraConfig, AstraEncoder, ProjectionHead, time_encoding
from model_export.studies.astra.views import ANCHOR, HARD, OUTLIER, SHORT, draw_view
from model_export.training.pretrain import noam, nt_xent
from service.inference.preprocessing.alert_clr import astra_clr
from service.photometry import LightCurve

SMALL = AstraConfig(width=32, layers=2, heads=4, feed_forward=64, band_hidden=8)


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def star(rng, g: int, r: int, i: int) -> LightCurve:
    band = np.repeat([0, 1, 2], [g, r, i])
    mjd = 58300 + rng.uniform(0, 1000, len(band))
    return LightCurve.from_columns(
        mjd, band, mag=15 + 0.3 * np.sin(mjd) + 0.5 * band, magerr=rng.uniform(0.01, 0.05, len(band))
    )


def sequence(rng, points: int, length: int = 40):
    real = torch.zeros(1, length, 1)
    arrays = [real.clone() for _ in range(3)]
    for array in arrays:
        array[0, :points, 0] = torch.from_numpy(rng.standard_normal(points)).float()
    mask = torch.ones(1, length)
    mask[0, :points] = 0
    return [*arrays, mask]


def test_the_encoder_and_the_projection_head_have_the_published_number_of_parameters():
    assert count(AstraEncoder()) == 12_627_520
    assert count(ProjectionHead()) == 393_984


def test_time_is_encoded_in_interleaved_sines_and_cosines_of_shared_rates():
    days = 123.456
    encoded = time_encoding(torch.tensor([[[days]]], dtype=torch.float64), 512)[0, 0]
    for k in (0, 1, 2, 3, 100, 101, 510, 511):
        angle = days * 10000 ** (-2 * (k // 2) / 512)
        assert encoded[k].item() == pytest.approx(math.sin(angle) if k % 2 == 0 else math.cos(angle), abs=1e-9)


def test_a_padded_window_and_one_of_exact_length_get_the_same_embedding(rng):
    torch.manual_seed(0)
    encoder = AstraEncoder(AstraConfig(layers=2)).eval()
    padded = sequence(rng, 17)
    exact = [x[:, :17] for x in padded]
    with torch.no_grad():
        assert torch.allclose(encoder(*padded), encoder(*exact), atol=1e-5)


def test_what_stands_on_padding_does_not_matter(rng):
    torch.manual_seed(0)
    encoder = AstraEncoder(SMALL).eval()
    padded = sequence(rng, 17)
    with torch.no_grad():
        before = encoder(*padded)
        for array in padded[:3]:
            array[0, 17:] = 5.0
        assert torch.allclose(before, encoder(*padded), atol=1e-5)


def test_an_empty_window_is_zero_and_not_nan(rng):
    assert torch.equal(AstraEncoder(SMALL).eval()(*sequence(rng, 0)), torch.zeros(1, 32))


def test_fusion_concatenates_or_averages_the_same_three_windows(rng):
    torch.manual_seed(0)
    windows = [torch.stack(x, dim=1) for x in zip(*[sequence(rng, n) for n in (10, 20, 30)], strict=True)]
    one, other = AstraClassifier(5, SMALL), AstraClassifier(5, SMALL, fusion="average")
    other.encoder.load_state_dict(one.encoder.state_dict())
    with torch.no_grad():
        concatenated, averaged = one.eval().embed(*windows), other.eval().embed(*windows)
    assert concatenated.shape == (1, 96)
    assert torch.allclose(concatenated.unflatten(1, (3, 32)).mean(1), averaged, atol=1e-6)
    with pytest.raises(ValueError, match="sum"):
        AstraClassifier(5, SMALL, fusion="sum")


def test_partial_fine_tuning_freezes_layers_one_and_two_alone():
    model = AstraClassifier(12, AstraConfig(width=32, heads=4, feed_forward=64))
    model.freeze_lower_layers()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(name.startswith(("encoder.layers.0.", "encoder.layers.1.")) for name in frozen)
    assert {name for name, _ in model.named_parameters() if name.startswith("encoder.layers.1.")} <= frozen


def test_the_loss_is_that_of_a_brute_force_loop_over_all_ordered_pairs(rng):
    views = torch.from_numpy(rng.standard_normal((3, 5, 8)))
    unit = views / views.norm(dim=-1, keepdim=True)
    losses = []
    for a in range(3):
        for b in range(3):
            for n in range(5):
                if a == b:
                    continue
                others = [
                    math.exp(float(unit[a, n] @ unit[c, m]) / 0.1)
                    for c in range(3)
                    for m in range(5)
                    if (c, m) != (a, n)
                ]
                losses.append(-math.log(math.exp(float(unit[a, n] @ unit[b, n]) / 0.1) / sum(others)))
    assert nt_xent(views).item() == pytest.approx(np.mean(losses), rel=1e-9)


def test_the_schedule_rises_for_a_thousand_steps_and_falls_as_a_root():
    assert noam(1000, 512) == pytest.approx(512**-0.5 * 1000**-0.5)
    assert noam(500, 512) == pytest.approx(noam(1000, 512) / 2)
    assert noam(4000, 512) == pytest.approx(noam(1000, 512) / 2)


def test_views_differ_as_the_paper_says(rng):
    mjd = np.sort(rng.uniform(58200, 59700, 900))
    band = rng.choice(3, 900, p=[0.45, 0.45, 0.1])
    magnitude = np.zeros(900)
    anchor, short, hard = (draw_view(rng, mjd, magnitude, band, view) for view in (ANCHOR, SHORT, HARD))
    assert (1 - short["mask"]).sum() == 150 + 175 + 25
    assert np.all(short["input"] == 0)
    assert np.std(anchor["input"][anchor["mask"] == 0]) == pytest.approx(0.05, rel=0.15)
    full = (1 - anchor["mask"]).sum()
    assert 0.35 * full < (1 - hard["mask"]).sum() < 0.65 * full
    assert np.sum(hard["input"] <= OUTLIER) == 1


def test_three_windows_reach_from_the_first_to_the_last_point_of_each_band(rng):
    curve = star(rng, g=900, r=100, i=60)
    arrays = astra_clr(curve, {})
    assert arrays["input"].shape == (3, 700, 1)
    assert arrays["mask"].shape == (3, 700)
    g = curve.mjd[curve.band == 0] - 58000
    assert arrays["times"][0, 0, 0] == np.float32(g[0])
    assert arrays["times"][2, 299, 0] == np.float32(g[-1])
    assert np.all((1 - arrays["mask"]).sum(axis=1) == 300 + 100 + 50)
    weight = curve.points["magerr"].astype(float) ** -2
    mean = np.sum(curve.points["mag"] * weight) / weight.sum()
    assert arrays["input"][0, 0, 0] == pytest.approx(curve.points["mag"][curve.band == 0][0] - mean, abs=1e-4)


@pytest.mark.parametrize("fusion", ["concatenate", "average"])
def test_an_imported_encoder_and_head_answer_like_torch_in_one_graph(rng, tmp_path: Path, fusion: str):
    torch.manual_seed(0)
    model = AstraClassifier(3, SMALL, fusion=fusion).eval()
    batch = torch.export.Dim("batch", min=1)
    example = (*(torch.zeros(2, 700, 1) for _ in range(3)), torch.zeros(2, 700))
    export_graph(
        model.encoder, example, tmp_path / "astra.onnx", ["input", "times", "band_info", "mask"],
        tuple({0: batch} for _ in range(4)), ["embedding"],
    )  # fmt: skip
    np.savez(
        tmp_path / "head.npz", weight=model.head.weight.detach().numpy(), bias=model.head.bias.detach().numpy(),
        classes=["RR", "ECL", "LPV"], superclasses=["Periodic"] * 3,
    )  # fmt: skip
    manifest = import_astra(tmp_path / "astra.onnx", tmp_path / "head.npz", tmp_path / "bundle", "1.0.0")
    assert manifest.classes == ("RR", "ECL", "LPV")
    arrays = astra_clr(star(rng, 400, 380, 20), {})
    session = onnxruntime.InferenceSession(str(tmp_path / "bundle" / "model.onnx"), providers=["CPUExecutionProvider"])
    logits, embedding = session.run(["logits", "embedding"], {name: x[None] for name, x in arrays.items()})
    inputs = [torch.from_numpy(arrays[name])[None] for name in ("input", "times", "band_info", "mask")]
    with torch.no_grad():
        expected = model(*inputs)
    assert np.abs(logits - expected[0].numpy()).max() < 1e-4
    assert np.abs(embedding - expected[1].numpy()).max() < 1e-4


def test_a_head_that_does_not_fit_is_refused_with_its_shape(tmp_path: Path):
    np.savez(tmp_path / "head.npz", weight=np.zeros((3, 96)), bias=np.zeros(2), classes=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"bias \(2,\) for 3 classes"):
        import_astra(tmp_path / "missing.onnx", tmp_path / "head.npz", tmp_path / "bundle", "1.0.0")
