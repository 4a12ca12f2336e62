"""The comparison as a page and pictures: a table with intervals, confusion matrices, what each class gains."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from model_export.studies.two_surveys.judge import STRATEGIES
from model_export.studies.two_surveys.network import SURVEYS

Figures = dict[str, Any]

# Macro-F1 [percent] that the paper reports on real light curves (arXiv:2507.11711), for the order, not the level.
PUBLISHED: Final = {
    "raw-ztf": 57.0, "raw-atlas": 49.6, "ztf": 64.9, "atlas": 54.0, "averaged": 68.9, "forest": 68.7, "stacked": 59.0,
    "joint-linear": 69.9, "joint-mlp": 69.8,
}  # fmt: skip
_NAMES: Final = {"ztf": "ZTF", "atlas": "ATLAS"}
_INK: Final = {"Transient": "#c44e52", "Stochastic": "#8172b2", "Periodic": "#4c72b0"}


def write_report(figures: Figures, folder: Path) -> None:
    """`report.md`, `strategies.png`, `classes.png` and `confusion-*.png` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(page(figures))
    _plot_strategies(figures, folder / "strategies.png")
    _plot_classes(figures, folder / "classes.png")
    for name in figures["confusion"]:
        _plot_confusion(figures, name, folder / f"confusion-{name}.png")


def page(figures: Figures) -> str:
    """The tables in Markdown."""
    both, everyone = figures["both"], figures["all"]
    lines = [
        "# Two surveys: strategies compared",
        "",
        "Simulated objects. Macro-F1 in percent over 21 classes, mean of"
        f" {len(figures['seeds'])} seeds; in brackets the 95 % interval of a bootstrap over test objects and seeds.",
        "",
        f"Objects: {_counts(figures['objects'])}; of the test objects {_counts(figures['test_objects'])}.",
        "",
        "| strategy | seen by both | spread of seeds | all objects | transient | stochastic | periodic"
        " | paper, real data |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, what in STRATEGIES.items():
        mine, groups = both["macro_f1"][name], both["groups"][name]
        lines.append(
            f"| {what} | {_shown(mine)} | {mine['seed_spread']:.1f} | {_shown(everyone['macro_f1'][name])}"
            f" | {groups['Transient']} | {groups['Stochastic']} | {groups['Periodic']} | {PUBLISHED.get(name, '')} |"
        )
    lines += [
        "",
        "A strategy that reads one survey says nothing of objects that only the other saw: among all objects they count"
        " as wrong.",
        "",
        "## Differences",
        "",
        "Paired: the same resampled objects and seeds on both sides, in points of macro-F1.",
        "",
        "| difference | seen by both | all objects |",
        "|---|---|---|",
    ]
    for name, mine in both["differences"].items():
        label = name.replace("best single", f"best single ({_NAMES[both['best_single']]})")
        lines.append(f"| {label} | {_shown(mine, '+.1f')} | {_shown(everyone['differences'][name], '+.1f')} |")
    lines += [
        "",
        "## One survey hidden",
        "",
        "The joint model, linear head, on every test object that the survey saw, the other survey hidden.",
        "",
        "| shown | joint model | trained on it alone | difference | answered by, per seed |",
        "|---|---|---|---|---|",
    ]
    for survey in SURVEYS:
        mine = figures["dropped"][survey]
        heads = ", ".join(row[survey] for row in figures["alone"])
        lines.append(
            f"| {_NAMES[survey]} | {_shown(mine['joint model shown this survey alone'])}"
            f" | {_shown(mine['model trained on it alone'])} | {_shown(mine['difference'], '+.1f')} | {heads} |"
        )
    lines += [
        "",
        "*own* is that survey's own head, *joint* the joint head with the learnt vector in the other's place; the"
        " better one on the validation split answers.",
        "",
        "## Cost",
        "",
        "Core-seconds of training, mean over seeds: "
        + ", ".join(f"{name} {seconds:.0f}" for name, seconds in figures["core_seconds"].items())
        + ".",
        "",
    ]
    return "\n".join(lines)


def _shown(figure: Figures, form: str = ".1f") -> str:
    low, high = figure["interval"]
    return f"{figure['mean']:{form}} [{low:{form}}, {high:{form}}]"


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items())


def _plot_strategies(figures: Figures, path: Path) -> None:
    names = list(STRATEGIES)[::-1]
    figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for y, name in enumerate(names):
        mine = figures["both"]["macro_f1"][name]
        low, high = mine["interval"]
        axis.plot([low, high], [y, y], color="#4c72b0", lw=3, alpha=0.5, solid_capstyle="round")
        axis.plot(mine["seeds"], np.full(len(mine["seeds"]), y), ".", color="#4c72b0", ms=4)
        axis.plot(mine["mean"], y, "o", color="#2b3f66")
    axis.set(yticks=range(len(names)), xlabel="macro-F1 [percent]")
    axis.set_title("simulated objects that both surveys saw", fontsize=9)
    axis.set_yticklabels([STRATEGIES[name] for name in names])
    axis.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_classes(figures: Figures, path: Path) -> None:
    """F1 per class: each survey alone, and both joined."""
    classes, parents = list(figures["classes"]), list(figures["classes"].values())
    ways = {"ztf": ("ZTF alone", "s"), "atlas": ("ATLAS alone", "^"), "joint-linear": ("joint", "o")}
    figure, axis = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
    ink = [_INK[parent] for parent in parents]
    for name, (label, marker) in ways.items():
        face = ink if name == "joint-linear" else "none"
        scores = figures["per_class"][name]
        axis.scatter(range(len(classes)), scores, marker=marker, c=face, edgecolors=ink, label=label)
    axis.set(xticks=range(len(classes)), ylabel="F1 [percent]", ylim=(0, 102))
    axis.set_xticklabels(classes, rotation=70)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, ncols=3, loc="lower left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_confusion(figures: Figures, name: str, path: Path) -> None:
    table = np.array(figures["confusion"][name], dtype=float)
    share = 100 * table[:, :-1] / np.maximum(table.sum(axis=1, keepdims=True), 1)
    classes = list(figures["classes"])
    figure, axis = plt.subplots(figsize=(7.6, 7), layout="constrained")
    axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for y, x in zip(*np.nonzero(share >= 1), strict=True):
        axis.text(
            x, y, f"{share[y, x]:.0f}", ha="center", va="center", fontsize=6, color="w" if share[y, x] > 60 else "k"
        )
    axis.set(xticks=range(len(classes)), yticks=range(len(classes)), xlabel="decided", ylabel="true")
    axis.set_xticklabels(classes, rotation=70, fontsize=7)
    axis.set_yticklabels(classes, fontsize=7)
    axis.set_title(f"{STRATEGIES[name]}: percent of each true class, all seeds")
    figure.savefig(path, dpi=100)
    plt.close(figure)
