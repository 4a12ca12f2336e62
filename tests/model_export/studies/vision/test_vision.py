"""The vision branch: weights from every form of file, training, one graph, and a bundle that the service serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")

import torch

from model_export.bundles.graph import parity
from model_export.studies.two_surveys.network import FusionConfig, MultiSurvey
from model_export.studies.two_surveys.simulate import CLASSES, load_two_surveys, simulate
from model_export.studies.two_surveys.training import OneInput
from model_export.studies.vision.bundle import IMAGES, PARITY, VisionGraph, example_feeds, export_vision, publish
from model_export.studies.vision.compare import Task, VisionCompare, build, compare_images, run_networks, table
from model_export.studies.vision.images import Pictures
from model_export.studies.vision.network import IMAGENET_MEAN, IMAGENET_STD, VisionBranch, VisionConfig
from model_export.studies.vision.training import VisionTraining, answers, fit
from model_export.studies.vision.weights import WeightsError, load_weights
from model_export.training.configuration import CONFIGS, read_config
from service.config import Device
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.manifest import Calibration
from service.inference.preprocessing.images import light_curve_image
from service.photometry import LightCurve

SMALL = VisionConfig(image=32, patch=4, width=8, depths=[1, 1], heads=[1, 2], window=4, drop_path=0.0)
TINY_RUN = VisionCompare(
    per_class=9,
    resamples=20,
    training=VisionTraining(learning_rate=2e-3, batch_size=16, steps=3, validate_every=2, vision=SMALL),
)


@pytest.fixture(scope="module")
def sky(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sky")
    simulate(folder, None, TINY_RUN.per_class, seed=1)
    return folder


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def drawn_branch(config: VisionConfig, seed: int = 0) -> VisionBranch:
    """Weights far from their start: a fresh SwinV2 has zeros in its norms, so that blocks would do nothing."""
    torch.manual_seed(seed)
    branch = VisionBranch(config).eval()
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return branch


def test_the_full_network_is_swinv2_tiny_and_normalises_bytes_itself(images: torch.Tensor) -> None:
    branch = VisionBranch(VisionConfig()).eval()
    assert branch.embedding_size == 768
    assert sum(p.numel() for p in branch.parameters()) == 27_578_154  # timm's swinv2_tiny_window8_256 without its head
    mean, std = (torch.tensor(x).reshape(1, 3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        expected = branch.swin((images / 255 - mean) / std)
        assert torch.allclose(branch(images), expected, atol=1e-5)


def test_weights_as_torchvision_publishes_them_give_its_answers(images: torch.Tensor, tmp_path: Path) -> None:
    from torchvision.models import swin_v2_t

    torch.manual_seed(1)
    published = swin_v2_t(weights=None).eval()
    with torch.no_grad():
        for parameter in published.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    torch.save(published.state_dict(), tmp_path / "swin_v2_t.pth")
    branch = VisionBranch(VisionConfig(), tmp_path / "swin_v2_t.pth").eval()
    published.head = torch.nn.Identity()
    with torch.no_grad():
        expected = published((images.float() - branch.mean) / branch.std)
        assert torch.allclose(branch(images), expected, atol=1e-4)


def test_weights_as_transformers_publishes_them_give_its_answers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import save_file

    settings = transformers.Swinv2Config(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, drop_path_rate=0.0
    )
    torch.manual_seed(2)
    published = transformers.Swinv2ForImageClassification(settings).eval()
    with torch.no_grad():
        for parameter in published.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    path = tmp_path / "model.safetensors"
    save_file({name: value.contiguous() for name, value in published.state_dict().items()}, path)
    branch = VisionBranch(SMALL, path).eval()
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected = published.swinv2((image.float() - branch.mean) / branch.std).pooler_output
        assert torch.allclose(branch(image), expected, atol=1e-4)


def test_weights_as_timm_and_the_authors_publish_them_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from timm.models import SwinTransformerV2

    torch.manual_seed(3)
    published = SwinTransformerV2(
        img_size=32, patch_size=4, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4, num_classes=1000
    )
    state = {name: value.clone() for name, value in published.state_dict().items()}
    save_file(state, tmp_path / "timm.safetensors")
    # the authors shrink at the end of a stage, timm at the start of the next
    authors = {name.replace("layers.1.downsample", "layers.0.downsample"): value for name, value in state.items()}
    authors["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16)
    torch.save({"model": authors}, tmp_path / "authors.pth")
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        one, other = (VisionBranch(SMALL, tmp_path / n).eval()(image) for n in ("timm.safetensors", "authors.pth"))
    assert torch.equal(one, other)
    assert not torch.equal(one, VisionBranch(SMALL).eval()(image))


def test_wrong_weights_are_refused_with_the_names_that_are_missing_unknown_or_misshapen(tmp_path: Path) -> None:
    branch = drawn_branch(SMALL)
    state = dict(branch.swin.state_dict())
    state["layers.0.blocks.0.attn.qkv.weight"] = torch.zeros(3, 8)
    del state["norm.bias"]
    state["surplus.weight"] = torch.zeros(1)
    path = tmp_path / "wrong.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError) as error:
        load_weights(branch.swin, path)
    told = str(error.value)
    assert "wrong.pth" in told
    assert "lacks norm.bias" in told
    assert "has besides surplus.weight" in told
    assert "layers.0.blocks.0.attn.qkv.weight (3, 8), not (24, 8)" in told
    deeper = VisionConfig(**(vars(SMALL) | {"depths": [1, 2]}))
    torch.save(branch.swin.state_dict(), path)
    with pytest.raises(WeightsError, match=r"lacks layers\.1\.blocks\.1"):
        VisionBranch(deeper, path)


@pytest.mark.parametrize(("name", "content"), [("x.pth", b"no weights"), ("x.safetensors", b"no weights")])
def test_a_file_that_holds_no_weights_is_refused_in_a_sentence(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name} can't be read as weights"):
        VisionBranch(SMALL, tmp_path / name)
    with pytest.raises(WeightsError, match="can't be read as weights"):
        VisionBranch(SMALL, tmp_path / "absent" / name)


def test_an_image_is_embedded_the_same_whatever_stands_beside_it_and_black_is_survived() -> None:
    branch = drawn_branch(SMALL)
    image = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    image[1] = 0
    with torch.no_grad():
        together = branch(image)
        assert torch.allclose(together[:1], branch(image[:1]), atol=1e-6)
    assert torch.isfinite(together).all()


def test_training_learns_what_images_show_and_keeps_the_best_weights(sky: Path, tmp_path: Path) -> None:
    data = load_two_surveys(sky)
    rows = np.arange(len(data))
    groups = np.array([list(dict.fromkeys(parent_of())).index(parent) for parent in parent_of()])
    labels = groups[data.labels]  # three groups: what a minute of training can learn
    pictures = Pictures(data, {"ztf": "gr"}, SMALL.parameters({}))
    torch.manual_seed(0)
    model = OneInput(VisionBranch(SMALL), 3, dropout=0.0)
    config = VisionTraining(learning_rate=4e-3, batch_size=32, steps=120, warm_up=10, validate_every=40, vision=SMALL)
    best = fit(model, [pictures], labels, rows, rows, config, seed=0, history=tmp_path / "history.jsonl")
    seen = rows[pictures.present]
    decided = answers(model, [pictures], seen, 64).joint.argmax(dim=1).numpy()
    from model_export.data.scores import macro_f1

    assert best == pytest.approx(macro_f1(labels[seen], decided))
    assert best > 0.5
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 3


def test_training_stops_when_validation_no_longer_gains(sky: Path, tmp_path: Path) -> None:
    data = load_two_surveys(sky)
    rows = np.arange(len(data))
    model = OneInput(VisionBranch(SMALL), len(CLASSES), dropout=0.0)
    config = VisionTraining(learning_rate=0.0, batch_size=4, steps=50, validate_every=2, patience=3, vision=SMALL)
    pictures = Pictures(data, {"atlas": "co"}, SMALL.parameters({}))
    fit(model, [pictures], data.labels, rows, rows[:40], config, seed=0, history=tmp_path / "history.jsonl")
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 4  # the first is the best, three do not gain


def test_the_comparison_runs_resumes_and_judges_every_strategy(sky: Path, tmp_path: Path) -> None:
    said: list[str] = []
    task = run_networks(tmp_path, sky, TINY_RUN, None, said.append)
    assert len(said) == 4
    figures = compare_images(tmp_path, task, TINY_RUN)
    again = compare_images(tmp_path, run_networks(tmp_path, sky, TINY_RUN, None, said.append), TINY_RUN)
    assert len(said) == 4
    assert again == figures
    for population in ("both", "all"):
        for figure in figures[population]["macro_f1"].values():
            low, high = figure["interval"]
            assert 0 <= low <= high <= 100
    assert "Joint, linear head" in table(figures)
    with pytest.raises(ValueError, match="another configuration"):
        run_networks(tmp_path, sky, VisionCompare(per_class=8, training=TINY_RUN.training), None)


def test_the_configs_are_read() -> None:
    full = read_config(VisionCompare, CONFIGS / "vision-swinv2-tiny.toml").training
    assert full.vision == VisionConfig()
    assert (full.learning_rate, full.weight_decay, full.decay_steps) == (5e-6, 0.0, 0)  # Adam, constant
    small = read_config(VisionCompare, CONFIGS / "vision-small.toml").training
    branch = VisionBranch(small.vision)
    assert branch(torch.zeros(1, 3, small.vision.image, small.vision.image)).shape == (1, branch.embedding_size)


def test_a_bundle_of_a_small_model_is_served_and_says_what_torch_says(sky: Path, tmp_path: Path) -> None:
    model = drawn_multisurvey(SMALL)
    calibration = Calibration(
        edges=[1], temperature=[1.0], conformal_coverage=0.9, conformal_thresholds=[[0.9] * len(CLASSES)]
    )
    figures = {"objects_test": 0, "macro_f1_test": 0.0}
    publish(model, SMALL, calibration, figures, tmp_path / "bundle", "0.0.1", "0" * 64)
    classifier = Classifier(load_bundle(tmp_path / "bundle"), Device.CPU, threads=1)
    classifier.warm_up()
    data = load_two_surveys(sky)
    ends = np.cumsum(data.counts)
    curves = [LightCurve.from_points(data.points[e - n : e]) for e, n in zip(ends, data.counts, strict=True)][:40]
    predictions = classifier.classify([*curves, LightCurve.empty()])
    assert predictions[-1].flags[0] == "no_detection"
    seen = set()
    for curve, prediction in zip(curves, predictions, strict=False):
        inputs = light_curve_image(curve, SMALL.parameters(IMAGES))
        present = torch.from_numpy(inputs.pop("present"))[None]
        with torch.no_grad():
            said = model([(torch.from_numpy(image)[None],) for image in inputs.values()], present)
        expected = said.joint.softmax(dim=1)[0].numpy()
        assert np.allclose(prediction.probabilities, expected, atol=PARITY)
        assert np.allclose(prediction.embedding, said.embedding[0].numpy(), atol=PARITY)
        seen.add(tuple(present[0].tolist()))
    assert (1.0, 1.0) in seen
    assert len(seen) > 1  # some were seen by one survey alone


@pytest.mark.slow
def test_the_graph_of_swinv2_tiny_at_256_pixels_says_what_torch_says(tmp_path: Path) -> None:
    model, config = drawn_multisurvey(VisionConfig()), VisionConfig()
    export_vision(model, config, tmp_path / "model.onnx")
    assert parity(tmp_path / "model.onnx", VisionGraph(model), example_feeds(config)) <= PARITY


def drawn_multisurvey(config: VisionConfig) -> MultiSurvey:
    torch.manual_seed(0)
    model = MultiSurvey(drawn_branch(config), FusionConfig(len(CLASSES))).eval()
    with torch.no_grad():
        model.absent.normal_()
    return model


def parent_of() -> list[str]:
    from model_export.studies.two_surveys.simulate import TAXONOMY

    return list(TAXONOMY.values())


def test_a_task_draws_each_survey_and_the_stacked_image(sky: Path) -> None:
    task = Task.read(sky, TINY_RUN)
    assert set(task.pictures) == {("ztf",), ("atlas",), ("ztf", "atlas")}
    assert (task.pictures["ztf",].present | task.pictures["atlas",].present).tolist() == task.pictures[
        "ztf", "atlas"
    ].present.tolist()
    assert isinstance(build("joint-linear", TINY_RUN, None), MultiSurvey)
    assert isinstance(build("stacked", TINY_RUN, None), OneInput)
