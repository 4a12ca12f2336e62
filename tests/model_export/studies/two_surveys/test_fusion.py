"""Fusion keeps its promises: the loss is what it says, any subset is answered, by one graph that the service runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from fastapi.testclient import TestClient
from sklearn.metrics import f1_score

from model_export.bundles.graph import parity
from model_export.network.encoder import EncoderConfig
from model_export.studies.two_surveys.bundle import (
    INPUTS,
    TwoSurveyGraph,
    bundle_two_surveys,
    example_feeds,
    export_two_surveys,
)
from model_export.studies.two_surveys.judge import (
    NOBODY,
    STRATEGIES,
    compare_strategies,
    judge_seed,
    resampled,
    scores_of,
)
from model_export.studies.two_surveys.network import SURVEYS, Answers, FusionConfig, MultiSurvey, decide, loss
from model_export.studies.two_surveys.report import page, write_report
from model_export.studies.two_surveys.simulate import CLASSES, load_two_surveys, simulate
from model_export.studies.two_surveys.strategies import CompareConfig, Task, run_networks
from model_export.studies.two_surveys.training import (
    LightCurveBranch,
    Sequences,
    TrainingConfig,
    predict_multisurvey,
    presence,
)
from service.api import create_app
from service.config import Device, Settings
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.inference.preprocessing.two_survey import two_survey
from service.inference.registry import ModelRegistry
from service.photometry import BANDS, LightCurve
from service.store import open_store

TINY = CompareConfig(
    per_class=12,
    seeds=[1, 2],
    trees=5,
    resamples=20,
    training=TrainingConfig(
        steps=3,
        batch_size=16,
        window=12,
        max_windows=3,
        encoder=EncoderConfig(width=16, layers=1, heads=2, feed_forward=16, embedding=8, dropout=0.0),
    ),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Task]:
    """A comparison of two seeds on a small simulation, no cadence at hand."""
    out = tmp_path_factory.mktemp("comparison")
    return out, run_networks(out, None, TINY, lambda line: None)


@pytest.fixture(scope="module")
def bundle(finished: tuple[Path, Task], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    out, task = finished
    bundle_two_surveys(out, task, TINY, 1, folder, "0.0.1")
    return folder


@pytest.fixture(scope="module")
def data(finished: tuple[Path, Task]):
    return load_two_surveys(finished[0] / "tables")


def model(joint: str = "linear", seed: int = 0, **fusion) -> MultiSurvey:
    torch.manual_seed(seed)
    made = MultiSurvey(LightCurveBranch(TINY.training.encoder), FusionConfig(len(CLASSES), joint=joint, **fusion))
    torch.nn.init.normal_(made.absent)
    return made.eval()


def curves_of(data) -> list[LightCurve]:
    stops = np.cumsum(data.counts)
    return [LightCurve(data.points[stop - n : stop]) for stop, n in zip(stops, data.counts, strict=True)]


def test_the_loss_is_the_sum_of_the_heads_cross_entropies() -> None:
    torch.manual_seed(1)
    present = torch.tensor([[1.0, 1], [1, 0], [0, 1], [1, 1], [1, 0]])
    labels = torch.tensor([0, 2, 1, 1, 0])
    own, joint = torch.randn(5, 2, 3), torch.randn(5, 3)
    expected = 0.0
    for s in range(2):
        each = [-own[b, s].log_softmax(0)[labels[b]] for b in range(5) if present[b, s]]
        expected += sum(each) / len(each)
    expected += sum(-joint[b].log_softmax(0)[labels[b]] for b in range(5)) / 5
    assert loss(Answers(own, joint, joint), present, labels).item() == pytest.approx(float(expected), rel=1e-5)


def test_a_survey_that_saw_nobody_adds_nothing_to_the_loss() -> None:
    own, joint, labels = torch.randn(4, 2, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    present = torch.tensor([[1.0, 0]]).repeat(4, 1)
    changed = own.clone()
    changed[:, 1] = 100.0
    assert loss(Answers(own, joint, joint), present, labels) == loss(Answers(changed, joint, joint), present, labels)


def test_survey_dropout_shows_one_survey_that_saw_the_object() -> None:
    fused = model(survey_dropout=0.4)
    present = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]).repeat(4000, 1)
    shown = fused.hide(present)
    assert torch.all(shown <= present)
    assert torch.all(shown.sum(dim=1) >= 1)
    alone = shown[0::3].sum(dim=1) == 1
    assert alone.float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert shown[0::3][alone].mean(dim=0).tolist() == pytest.approx([0.5, 0.5], abs=0.05)
    assert torch.equal(shown[1::3], present[1::3])


@pytest.mark.parametrize("joint", ["linear", "mlp"])
def test_what_an_absent_survey_is_fed_changes_nothing(joint: str, rng: np.random.Generator) -> None:
    fused = model(joint)
    points = [torch.from_numpy(rng.standard_normal((3, 1, 6, 19))).float() for _ in SURVEYS]
    context = [torch.from_numpy(rng.standard_normal((3, 12))).float() for _ in SURVEYS]
    for absent in range(2):
        present = torch.ones(3, 2)
        present[:, absent] = 0
        with torch.no_grad():
            one = fused([*zip(points, context, strict=True)], present)
            other = list(points)
            other[absent] = torch.zeros(3, 1, 1, 19)
            two = fused([*zip(other, context, strict=True)], present)
        assert torch.equal(one.joint, two.joint)
        assert torch.equal(one.embedding, two.embedding)
        assert torch.equal(one.own[:, 1 - absent], two.own[:, 1 - absent])


def test_the_better_head_answers_where_one_survey_saw_the_object() -> None:
    own, joint = torch.randn(4, 2, 3), torch.randn(4, 3)
    present = torch.tensor([[1.0, 1], [1, 0], [0, 1], [1, 1]])
    answers = Answers(own, joint, joint)
    assert torch.equal(decide(answers, present, ("joint", "joint")), joint)
    chosen = decide(answers, present, ("own", "joint"))
    assert torch.equal(chosen[1], own[1, 0])
    assert torch.equal(chosen[[0, 2, 3]], joint[[0, 2, 3]])
    assert torch.equal(decide(answers, present, ("own", "own"))[2], own[2, 1])


def test_an_unknown_joint_head_is_refused() -> None:
    with pytest.raises(ValueError, match="linear, mlp"):
        FusionConfig(3, joint="attention")


def test_training_batches_say_what_the_service_says(data) -> None:
    """Padded chunks of windows, as in training and judging, against the exact inputs of each light curve alone."""
    fused, parameters = model(), TINY.training.parameters
    surveys = [Sequences(data, (survey,), parameters) for survey in SURVEYS]
    rows = np.arange(0, len(data), 5)
    answers = predict_multisurvey(fused, surveys, rows, presence(surveys)[rows])
    curves = curves_of(data)
    for place, row in enumerate(rows):
        inputs = {name: torch.from_numpy(array)[None] for name, array in two_survey(curves[row], parameters).items()}
        with torch.no_grad():
            alone = fused([(inputs[f"{s}_points"], inputs[f"{s}_context"]) for s in SURVEYS], inputs["present"])
        assert torch.allclose(alone.joint[0], answers.joint[place], atol=1e-4)
        assert torch.allclose(alone.embedding[0], answers.embedding[place], atol=1e-4)


def test_the_baseline_sees_the_raw_columns_alone(rng: np.random.Generator) -> None:
    branch = LightCurveBranch(TINY.training.encoder, ("days", "flux", "g")).eval()
    points = torch.from_numpy(rng.standard_normal((1, 1, 5, 19))).float()
    with torch.no_grad():
        one = branch(points, torch.randn(1, 12))
        points[..., 5] += 3.0  # faintness
        assert torch.equal(one, branch(points, torch.randn(1, 12)))
        points[..., 4] += 3.0  # flux
        assert not torch.equal(one, branch(points, torch.randn(1, 12)))


def test_the_graph_says_what_torch_says(tmp_path: Path) -> None:
    """With an MLP and both rules at once; the linear head is checked where the bundle is written."""
    served = TwoSurveyGraph(model("mlp"), ("own", "joint"))
    export_two_surveys(served, tmp_path / "model.onnx")
    assert parity(tmp_path / "model.onnx", served, example_feeds()) <= 1e-5


def test_the_bundle_is_served_with_both_surveys_or_either(bundle: Path, data, finished) -> None:
    """Given an object that both saw, when one survey's points are taken away, then the other's alone are answered."""
    out, task = finished
    loaded = load_bundle(bundle)
    classifier = Classifier(loaded, Device.CPU, threads=1)
    alone = tuple(json.loads((bundle / "metrics.json").read_text())["alone"].values())
    with np.load(out / "seed-1" / "joint-linear.npz") as found:
        state = {n.removeprefix("state/"): torch.from_numpy(found[n]) for n in found.files if n.startswith("state/")}
    fused = model()
    fused.load_state_dict(state)
    served = TwoSurveyGraph(fused, alone)
    curves = [c for c, both in zip(curves_of(data), task.present.all(axis=1), strict=True) if both][:20]
    subsets = curves + [c.select(c.band < 2) for c in curves] + [c.select(c.band >= 2) for c in curves]
    predictions = classifier.classify(subsets)
    for prediction, light_curve in zip(predictions, subsets, strict=True):
        inputs = two_survey(light_curve, loaded.manifest.preprocessing.parameters)
        with torch.no_grad():
            logits = served(*(torch.from_numpy(inputs[name])[None] for name in INPUTS))[0][0]
        expected = (logits / loaded.manifest.calibration.temperature[0]).softmax(0)
        assert prediction.probabilities == pytest.approx(expected.numpy(), abs=1e-4)
        assert not set(prediction.flags) & {"unknown_band", "unusable_photometry", "no_detection"}
    whole, ztf, atlas = (np.stack([p.probabilities for p in predictions[k::20]]) for k in (0, 1, 2))
    assert not np.allclose(whole, ztf)
    assert not np.allclose(ztf, atlas)


def test_the_api_answers_for_both_surveys_and_for_each(bundle: Path, data, finished) -> None:
    _, task = finished
    row = int(np.flatnonzero(task.present.all(axis=1))[0])
    points = curves_of(data)[row].points

    def sent(mine: np.ndarray, survey: str) -> dict[str, object]:
        columns = [
            {"mjd": float(p["mjd"]), "band": BANDS[p["band"]], "limit": float(p["limit"])}
            | (
                {}
                if np.isnan(p["mag"])
                else {"mag": float(p["mag"]), "magerr": float(p["magerr"]), "sign": int(p["sign"])}
            )
            for p in mine
        ]
        return {"object_id": survey, "points": columns}

    store = open_store("sqlite://")
    requests = [
        sent(points, "both"),
        sent(points[points["band"] < 2], "ztf"),
        sent(points[points["band"] >= 2], "atlas"),
    ]
    with TestClient(create_app(Settings(), ModelRegistry(load_bundle(bundle), threads=1), store, None)) as client:
        answers = []
        for request in requests:
            answer = client.post("/v1/classify", json=request)
            assert answer.status_code == 200, answer.text
            answers.append(answer.json())
    store.close()
    for answer in answers:
        assert set(answer["probabilities"]) == set(CLASSES)
        assert sum(answer["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)
    assert len({json.dumps(answer["probabilities"]) for answer in answers}) == 3


def test_a_finished_comparison_is_not_trained_again_and_another_one_is_refused(finished: tuple[Path, Task]) -> None:
    out, _ = finished
    answers = sorted(out.glob("seed-*/*.npz"))
    before = [path.stat().st_mtime_ns for path in answers]
    said: list[str] = []
    run_networks(out, None, TINY, said.append)
    assert said == []
    assert [path.stat().st_mtime_ns for path in answers] == before
    with pytest.raises(ValueError, match="another configuration"):
        run_networks(out, None, replace(TINY, dropout=0.5), said.append)


def test_one_that_was_stopped_goes_on_where_it_was(finished: tuple[Path, Task]) -> None:
    out, _ = finished
    lost = out / "seed-2" / "atlas.npz"
    with np.load(lost) as found:
        before = found["logits"]
    lost.unlink()
    said: list[str] = []
    run_networks(out, None, TINY, said.append)
    assert [line.split(" in ")[0] for line in said] == ["seed 2: atlas"]
    with np.load(lost) as found:
        assert np.allclose(found["logits"], before, atol=1e-5)  # the same seed, the same model


def test_strategies_are_judged_on_the_same_objects(finished: tuple[Path, Task], tmp_path: Path) -> None:
    out, task = finished
    test = task.rows("test")
    seed = judge_seed(out, task, TINY, 1)
    assert set(seed.decided) == set(STRATEGIES)
    for name, decided in seed.decided.items():
        assert decided.shape == test.shape
        (survey,) = [s for s in SURVEYS if name.endswith(s)] or [None]
        silent = np.zeros(len(test), bool) if survey is None else ~task.present[test, SURVEYS.index(survey)]
        assert np.array_equal(decided == NOBODY, silent)
    figures = compare_strategies(out, task, TINY)
    both = task.present[test].all(axis=1)
    expected = f1_score(
        task.labels[test][both],
        seed.decided["averaged"][both],
        labels=np.unique(task.labels[test][both]),
        average="macro",
    )
    assert figures["both"]["macro_f1"]["averaged"]["seeds"][0] == pytest.approx(100 * expected, abs=0.01)
    write_report(json.loads(json.dumps(figures)), tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert all(what in page for what in STRATEGIES.values())
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "strategies.png", "classes.png", "confusion-ztf.png", "confusion-averaged.png", "confusion-joint-linear.png"
    }  # fmt: skip


def test_the_bootstrap_is_paired_and_covers_the_score(rng: np.random.Generator) -> None:
    truth = np.repeat(np.arange(21), 40)
    right = rng.random((3, len(truth))) < 0.7
    decided = np.where(right, truth, rng.integers(0, 21, (3, len(truth))))
    samples = resampled(truth, {"a": decided, "again": decided.copy()}, 200)
    assert np.array_equal(samples["a"], samples["again"])
    low, high = np.percentile(samples["a"], [2.5, 97.5])
    assert low < scores_of(truth, decided).mean() < high
    assert scores_of(truth, truth[None]).tolist() == [100.0]
    assert scores_of(truth, np.full((1, len(truth)), NOBODY)).tolist() == [0.0]


def test_the_small_simulation_is_the_one_of_the_comparison(finished: tuple[Path, Task], tmp_path: Path) -> None:
    simulate(tmp_path, None, TINY.per_class, TINY.simulation_seed)
    assert len(load_two_surveys(tmp_path)) == len(finished[1].labels)


def test_the_page_shows_the_committed_figures() -> None:
    root = Path(__file__).resolve().parents[4]
    figures = json.loads((root / "model_export/results/two-surveys.json").read_text())
    text = (root / "docs/multi-survey.md").read_text()
    rows = [line for line in page(figures).splitlines() if line.startswith("| ")]
    assert len(rows) > 15
    for row in rows:
        assert row in text, row
