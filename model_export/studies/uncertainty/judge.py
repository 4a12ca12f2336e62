"""Which uncertainty detects the classifier's own mistakes best? Judged on real held-out light curves.

Methods: Monte Carlo dropout (whole network, head only), a deep ensemble, hierarchical stochastic attention, and both
together. Everything is tuned on the validation split: dropout rate, temperatures, and the score used for each method.
The figure is the ROC-AUC of detecting a method's own misclassifications, and its difference from that of 1 - max p of
the plain calibrated network, with bootstrap intervals over objects, the same objects drawn for both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_export.data.bins import bin_of
from model_export.data.prior import published_prior
from model_export.data.scores import expected_calibration_error, half_prior_decision, macro_f1, softmax
from model_export.data.tables import Dataset
from model_export.judging.calibrate import apply, calibrate, conformal_sets, fit_softening, soften
from model_export.judging.evaluate import ENOUGH
from model_export.judging.examples import PREFIXES, examples
from model_export.judging.out_of_distribution import Ask
from model_export.network.encoder import AlertClassifier
from model_export.network.predict import ALL, Answers, predict
from model_export.network.stochastic_passes import Method, predict_passes, together
from model_export.studies.uncertainty.scores import rejection_curve, roc_auc, uncertainty
from model_export.training.run import FinetuneConfig, load_run

SEEN: Final = (ALL, 8, 3)  # detections at which methods are judged
RATES: Final = (0.05, 0.1, 0.2, 0.3, 0.5)
TUNING_PASSES: Final = 8
BOOTSTRAPS: Final = 2000
FEWEST: Final = 5  # objects of a class to be counted in macro-F1
REJECTED: Final = (0.1, 0.2, 0.3)
SEED: Final = 0  # of the noise of all passes, as a bundle has it by default


@dataclass(frozen=True)
class PublishedPasses:
    """A method's answers for n objects at one number of detections: calibrated passes (n, P, C), set sizes (n,)."""

    passes: NDArray[np.float64]
    labels: NDArray[np.int64]
    set_size: NDArray[np.int64]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return self.passes.mean(axis=1)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        return self.probabilities.argmax(axis=1) != self.labels

    def scores(self) -> dict[str, NDArray[np.float64]]:
        return uncertainty(self.passes) | {"set_size": self.set_size.astype(np.float64)}


@dataclass(frozen=True)
class JudgedMethod:
    """A method on validation and test objects, by number of detections; `score` was chosen on validation."""

    name: str
    reference: str  # the plain network it is compared with
    rate: float | None
    passes: int
    score: str
    validation: dict[int, PublishedPasses]
    test: dict[int, PublishedPasses]


class Bench:
    """The held-out objects, and the published prior."""

    def __init__(self, data: Dataset, alert_share: float) -> None:
        known = (data.labels >= 0) & (data.objects["table"] != "forced_tde").to_numpy()
        self.validation, self.test = (data.where(data.in_split(name) & known) for name in ("validation", "test"))
        self.prior = published_prior(data.split("train"), alert_share)

    def judge(
        self, name: str, reference: str, ask: Ask, rate: float | None = None, quick: bool = False
    ) -> JudgedMethod:
        """Compute answers, calibrate on the validation split, and choose the method's score there.

        `quick`, for tuning, skips the test split and calibrates only at the judged numbers of detections.
        """
        found = ask(self.validation, SEEN if quick else PREFIXES)
        seen = examples(found, self.prior)
        scale = fit_softening(seen)
        calibration = calibrate(replace(seen, logits=soften(seen.logits, scale)))

        def publish(answers: dict[int, Answers]) -> dict[int, PublishedPasses]:
            told = {}
            for k in SEEN:
                enough = answers[k].n_detections >= ENOUGH
                logits = soften(answers[k].logits[enough] + np.log(self.prior), scale)
                n_seen = answers[k].n_seen[enough]
                members = conformal_sets(calibration, apply(calibration, logits, n_seen), n_seen)
                passes = logits if logits.ndim == 3 else logits[:, None]
                temperature = np.array(calibration.temperature)[bin_of(n_seen)][:, None, None]
                told[k] = PublishedPasses(softmax(passes / temperature), answers[k].labels[enough], members.sum(axis=1))
            return told

        validation = publish(found)
        test = {} if quick else publish(ask(self.test, SEEN))
        each = validation[ALL].passes.shape[1]
        score = max(mean_auc(validation), key=mean_auc(validation).__getitem__) if each > 1 else "maximum"
        return JudgedMethod(name, reference, rate, each, score, validation, test)

    def tuned(self, name: str, reference: str, ask: Callable[[float, int], Ask], passes: int) -> JudgedMethod:
        """Choose the rate with the best validation figure with few passes, and judge it with all passes."""
        tried = [self.judge(name, reference, ask(rate, TUNING_PASSES), rate, quick=True) for rate in RATES]
        best = max(tried, key=lambda judged: mean_auc(judged.validation)[judged.score])
        assert best.rate is not None
        return self.judge(name, reference, ask(best.rate, passes), best.rate)


def mean_auc(published: dict[int, PublishedPasses]) -> dict[str, float]:
    """ROC-AUC of each sampled score, mean over the numbers of detections."""
    return {
        score: float(np.mean([roc_auc(p.scores()[score], p.wrong) for p in published.values()]))
        for score in uncertainty(next(iter(published.values())).passes)
    }


def plain(run: Path) -> Ask:
    model, config = load_run(run)
    return lambda data, ks: predict(model, data, config.parameters, ks)


def ensemble(runs: list[Path]) -> Ask:
    members = [plain(run) for run in runs]
    return lambda data, ks: together([ask(data, ks) for ask in members])


def sampled(model: AlertClassifier, config: FinetuneConfig, method: Method, passes: int) -> Ask:
    noise = method.draws(model, config.window, passes, SEED)
    return lambda data, ks: predict_passes(model, data, config.parameters, ks, noise)


def judge_all(
    bench: Bench, shipped: Path, members: list[Path], stochastic: Path | None, passes: int, kept: Path
) -> Iterator[JudgedMethod]:
    """Every method possible with the given runs: of the shipped network, its stochastic variants, and an ensemble.

    Answers are cached in the folder `kept`.
    """

    def once(name: str, judge: Callable[[], JudgedMethod]) -> JudgedMethod:
        path = kept / f"{name.replace(', ', '-').replace(' ', '-')}.npz"
        if not path.exists():
            save(judge(), path)
        return load(path)

    for base, run in {"shipped": shipped, **({"member": members[0]} if members else {})}.items():
        model, config = load_run(run)
        yield once(base, lambda base=base, run=run: bench.judge(base, base, plain(run)))
        for kind in ("mc-dropout", "mc-dropout-points", "head-dropout") if base == "shipped" else ("mc-dropout",):
            name, ask = f"{base}, {kind}", with_rate(model, config, kind)
            yield once(name, lambda name=name, base=base, ask=ask: bench.tuned(name, base, ask, passes))
    if stochastic:
        model, config = load_run(stochastic)
        yield once("hsa", lambda: bench.judge("hsa", "shipped", sampled(model, config, Method("hsa"), passes)))
        yield once("ha-mc", lambda: bench.tuned("ha-mc", "shipped", with_rate(model, config, "ha-mc"), passes))
    if len(members) > 1:
        alone, joined = f"ensemble of {len(members)}", f"shipped and {len(members)} members"
        yield once(alone, lambda: bench.judge(alone, "member", ensemble(members)))
        yield once(joined, lambda: bench.judge(joined, "shipped", ensemble([shipped, *members])))


def save(judged: JudgedMethod, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{split} {k} {name}": getattr(told, name)
        for split in ("validation", "test")
        for k, told in getattr(judged, split).items()
        for name in ("passes", "labels", "set_size")
    }
    about = {name: getattr(judged, name) for name in ("name", "reference", "rate", "passes", "score")}
    np.savez(path, about=json.dumps(about), **arrays)


def load(path: Path) -> JudgedMethod:
    with np.load(path) as kept:
        splits = {
            split: {
                k: PublishedPasses(*(kept[f"{split} {k} {n}"] for n in ("passes", "labels", "set_size"))) for k in SEEN
            }
            for split in ("validation", "test")
        }
        return JudgedMethod(**json.loads(str(kept["about"])), **splits)


def with_rate(model: AlertClassifier, config: FinetuneConfig, name: str) -> Callable[[float, int], Ask]:
    return lambda rate, passes: sampled(model, config, Method(name, rate), passes)


def figures(judged: list[JudgedMethod], prior: NDArray[np.float64]) -> dict[str, Any]:
    """All figures as [value, low, high] with 95 % intervals; differences are paired with the reference's softmax."""
    by_name = {each.name: each for each in judged}
    told: dict[str, Any] = {
        "about": "test split by object, real objects with 5 detections or more, at all and at the first 8 and 3; rates,"
        " temperatures and the chosen score are from the validation split; [value, low, high] are 95 % bootstrap"
        " intervals over objects; gains are differences of ROC-AUC from 1 - max p of the reference, same objects drawn",
        "objects": len(judged[0].test[ALL].labels),
        "methods": {},
    }
    for each in judged:
        told["methods"][each.name] = {
            "reference": each.reference, "rate": each.rate, "passes": each.passes, "chosen": each.score,
            "validation_auc": {name: round(value, 4) for name, value in mean_auc(each.validation).items()},
            **{_name(k): _figures(each, by_name[each.reference], k, prior) for k in SEEN},
        }  # fmt: skip
    return told


def _figures(judged: JudgedMethod, reference: JudgedMethod, k: int, prior: NDArray[np.float64]) -> dict[str, Any]:
    mine, theirs = judged.test[k], reference.test[k]
    p, labels, wrong = mine.probabilities, mine.labels, mine.wrong
    common = np.flatnonzero(np.bincount(labels, minlength=p.shape[1]) >= FEWEST)
    decided = half_prior_decision(p, prior)
    draws = np.random.default_rng(0).integers(0, len(labels), (BOOTSTRAPS, len(labels)))

    def interval(of: Callable[[NDArray[np.int64]], float]) -> list[float]:
        samples = [of(draw) for draw in draws]
        return [round(float(x), 4) for x in (of(np.arange(len(labels))), *np.nanpercentile(samples, [2.5, 97.5]))]

    scores, softmax_score, softmax_wrong = mine.scores(), theirs.scores()["maximum"], theirs.wrong
    reference_auc = [roc_auc(softmax_score[draw], softmax_wrong[draw]) for draw in draws]
    found: dict[str, Any] = {
        "errors": int(wrong.sum()),
        "accuracy": interval(lambda rows: float(np.mean(~wrong[rows]))),
        "macro_f1": round(macro_f1(labels, decided, common), 4),
        "nll": interval(lambda rows: float(-np.log(np.maximum(p[rows, labels[rows]], 1e-12)).mean())),
        "ece": round(expected_calibration_error(p, labels), 4),
        "auc": {},
        "gain": {},
    }
    for name, score in scores.items():
        samples = np.array([roc_auc(score[draw], wrong[draw]) for draw in draws])
        value, whole = roc_auc(score, wrong), roc_auc(softmax_score, softmax_wrong)
        found["auc"][name] = _rounded(value, samples)
        found["gain"][name] = _rounded(value - whole, samples - reference_auc)
    curve = rejection_curve(scores[judged.score], wrong)
    found["accuracy_when_rejecting"] = {
        f"{share:.0%}": round(float(curve[round((1 - share) * len(curve)) - 1]), 4) for share in REJECTED
    }
    found["rejection_curve"] = [round(float(x), 4) for x in curve[np.linspace(0, len(curve) - 1, 50).astype(int)]]
    return found


def _rounded(value: float, samples: NDArray[np.float64]) -> list[float]:
    return [round(float(x), 4) for x in (value, *np.nanpercentile(samples, [2.5, 97.5]))]


def _name(k: int) -> str:
    return "all" if k == ALL else str(k)
