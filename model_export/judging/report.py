"""Plots, a Markdown report and the model card from `metrics.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

from model_export.data.tables import CLASSES
from model_export.judging.card import WAYS, model_card
from service.inference.bundle import seal_bundle
from service.inference.manifest import Manifest

mpl.use("Agg")
import matplotlib.pyplot as plt

Figures = dict[str, Any]
_INK: Final = ("#1b6ca8", "#c8553d", "#588b3a", "#7a5195")


def write_report(metrics_path: Path, bundle: Path, out: Path) -> None:
    """`report.md` and PNGs in `out`, `MODEL_CARD.md` in the bundle."""
    figures = json.loads(metrics_path.read_text())
    out.mkdir(parents=True, exist_ok=True)
    _plot_by_detections(figures, out / "by_detections.png")
    _plot_reliability(figures, out / "reliability.png")
    _plot_confusion(figures, out / "confusion.png")
    for curve in figures.get("label_curves", ()):
        _plot_label_curve(curve, out / f"label_curve_{next(iter(curve.values()))['steps']}.png")
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    card = model_card(figures, manifest)
    (bundle / "MODEL_CARD.md").write_text(card)
    seal_bundle(bundle)
    pictures = sorted(path.name for path in out.glob("*.png"))
    (out / "report.md").write_text(card + "\n## Plots\n\n" + "".join(f"![{p}]({p})\n\n" for p in pictures))


def _plot_by_detections(figures: Figures, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, block, names in (
        (axes[0], "supernovae", ("accuracy", "macro_f1")),
        (axes[1], "alert_objects", ("superclass_accuracy", "accuracy", "macro_f1")),
    ):
        rows = {k: row for k, row in figures[block].items() if names[0] in row}
        if not rows:  # none in the test split
            continue
        for name, ink in zip(names, _INK, strict=False):
            value, low, high = zip(*[row[name] for row in rows.values()], strict=True)
            axis.plot(list(rows), value, "o-", color=ink, label=name.replace("_", " "))
            axis.fill_between(list(rows), low, high, color=ink, alpha=0.15)
        axis.set(title=block.replace("_", " "), xlabel="detections shown", ylim=(0, 1))
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_reliability(figures: Figures, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(4.2, 4), layout="constrained")
    axis.plot([0, 1], [0, 1], color="0.6", lw=1)
    for name, ink in zip(("overall", "3+", "1+", "alert_objects"), _INK, strict=True):
        if not figures["calibration"][name]["objects"]:
            continue
        confidence, correct, _ = zip(*figures["calibration"][name]["reliability"], strict=True)
        axis.plot(confidence, correct, "o-", color=ink, label=name.replace("_", " "), ms=4)
    axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title="reliability")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_confusion(figures: Figures, path: Path) -> None:
    table = figures["per_class"]["confusion_half_prior"]
    figure, axis = plt.subplots(figsize=(6.5, 6), layout="constrained")
    for y, truth in enumerate(CLASSES):
        total = max(sum(table.get(truth, {}).values()), 1)
        for x, decided in enumerate(CLASSES):
            number = table.get(truth, {}).get(decided, 0)
            axis.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, color=plt.cm.Blues(number / total)))
            if number:
                axis.text(x, y, str(number), ha="center", va="center", fontsize=7)
    ticks = range(len(CLASSES))
    axis.set(xlim=(-0.5, 13.5), ylim=(13.5, -0.5), xlabel="decided", ylabel="true", xticks=ticks, yticks=ticks)
    axis.set_xticklabels(CLASSES, rotation=60)
    axis.set_yticklabels(CLASSES)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_label_curve(curve: Figures, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(4.8, 3.6), layout="constrained")
    sizes = [int(size) for size in curve]
    for way, ink in zip(WAYS, _INK, strict=True):
        mean, spread = zip(*[row[way]["balanced_accuracy"] for row in curve.values()], strict=True)
        axis.errorbar(sizes, mean, spread, fmt="o-", color=ink, label=way.replace("_", ", "), capsize=2)
    axis.set(xscale="log", xlabel="labels per class", ylabel="balanced accuracy", title="few labels")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
