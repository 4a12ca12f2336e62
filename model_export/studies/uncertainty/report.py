"""Tables and figure of `docs/uncertainty.md`, from the results of `model-export uncertainty`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from model_export.network.predict import ALL
from model_export.studies.uncertainty.judge import JudgedMethod
from model_export.studies.uncertainty.scores import rejection_curve

SEEN: Final = {"all": "all detections", "8": "the first 8", "3": "the first 3"}
SCORES: Final = ("maximum", "entropy", "variance", "bald", "set_size")


def tables(told: dict[str, Any]) -> dict[str, str]:
    """Title -> Markdown table."""
    found = {}
    for k, words in SEEN.items():
        found[f"ROC-AUC of finding own mistakes, {words}"] = _table(
            ["method", "rate", "mistakes", *SCORES, "chosen", "gain over the softmax"],
            [
                [
                    name,
                    "" if m["rate"] is None else str(m["rate"]),
                    str(m[k]["errors"]),
                    *(f"{m[k]['auc'][score][0]:.3f}" if score in m[k]["auc"] else "" for score in SCORES),
                    m["chosen"],
                    "" if name == m["reference"] else _interval(m[k]["gain"][m["chosen"]], sign=True),
                ]
                for name, m in told["methods"].items()
            ],
        )
    found["How good the answers are"] = _table(
        ["method", "detections", "accuracy", "macro-F1", "NLL", "ECE", "accuracy without the least sure 20 %"],
        [
            [
                name, SEEN[k], _interval(m[k]["accuracy"]), f"{m[k]['macro_f1']:.3f}", _interval(m[k]["nll"]),
                f"{m[k]['ece']:.3f}", f"{m[k]['accuracy_when_rejecting']['20%']:.3f}",
            ]
            for k in SEEN
            for name, m in told["methods"].items()
        ],
    )  # fmt: skip
    return found


def cost_table(told: dict[str, Any]) -> str:
    """The results of `model-export uncertainty-cost` in Markdown."""
    return _table(
        ["method", "ms", "times the softmax"],
        [
            [name, f"{value:.2f}", f"{told['times_the_softmax'][name]:.1f}"]
            for name, value in told["milliseconds"].items()
        ],
    )


def draw_figure(judged: list[JudgedMethod], path: Path) -> None:
    """Left: accuracy after rejecting the least sure answers. Right: reliability. With all and with 3 detections."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "uncertainty"  # the same figure, the same file
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained", sharex="col")
    for (curves, reliability), k in zip(axes, (ALL, 3), strict=True):
        for each in judged:
            told = each.test[k]
            kept = rejection_curve(told.scores()[each.score], told.wrong)
            share = 1.0 - np.arange(1, len(kept) + 1) / len(kept)
            some = np.linspace(len(kept) // 10, len(kept) - 1, 100).astype(int)
            plain = each.name == each.reference
            style: dict[str, Any] = {"lw": 2.0 if plain else 1.0, "ls": "-" if plain else "--"}
            curves.plot(100 * share[some], kept[some], label=f"{each.name} ({each.score})", **style)
            confidence = told.probabilities.max(axis=1)
            cells = np.array_split(np.argsort(confidence), 8)
            reliability.plot(
                [confidence[c].mean() for c in cells], [1.0 - told.wrong[c].mean() for c in cells], marker=".", **style
            )
        reliability.plot([0.2, 1], [0.2, 1], color="grey", lw=0.8)
        words = SEEN["all" if k == ALL else str(k)]
        curves.set(ylabel="accuracy of what is kept", title=words)
        reliability.set(ylabel="accuracy", title=words)
    axes[1, 0].set_xlabel("least sure answers rejected [%]")
    axes[1, 1].set_xlabel("greatest probability")
    axes[0, 0].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _interval(value: list[float], sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{value[0]:{form}} ({value[1]:{form}} to {value[2]:{form}})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
