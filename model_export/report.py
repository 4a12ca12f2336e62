"""Plots, a Markdown report and the model card from `metrics.json`: nothing is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

from model_export.data import CLASSES
from service.inference.manifest import Manifest

mpl.use("Agg")
import matplotlib.pyplot as plt

Figures = dict[str, Any]
_WAYS: Final = ("finetune_pretrained", "finetune_scratch", "probe_pretrained", "probe_random")
_INK: Final = ("#1b6ca8", "#c8553d", "#588b3a", "#7a5195")


def write_report(metrics_path: Path, bundle: Path, out: Path) -> None:
    """`report.md` and PNGs in `out`, `MODEL_CARD.md` in the bundle."""
    figures = json.loads(metrics_path.read_text())
    out.mkdir(parents=True, exist_ok=True)
    _plot_by_detections(figures, out / "by_detections.png")
    _plot_reliability(figures, out / "reliability.png")
    _plot_confusion(figures, out / "confusion.png")
    if "label_curve" in figures:
        _plot_label_curve(figures["label_curve"], out / "label_curve.png")
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    card = model_card(figures, manifest)
    (bundle / "MODEL_CARD.md").write_text(card)
    pictures = sorted(path.name for path in out.glob("*.png"))
    (out / "report.md").write_text(card + "\n## Plots\n\n" + "".join(f"![{p}]({p})\n\n" for p in pictures))


def model_card(figures: Figures, manifest: Manifest) -> str:
    """The card as Markdown."""
    parts = [
        f"# {manifest.name} {manifest.version}\n",
        _WHAT.format(classes=", ".join(f"{c} ({p})" for c, p in manifest.taxonomy.items())),
        "## Figures\n\n" + _HOW + "\n",
        _table_supernovae(figures),
        _table_alerts(figures),
        _table_calibration(figures),
        _table_classes(figures),
    ]
    if "optional_context" in figures:
        parts.append(_table_context(figures["optional_context"]))
    if "baselines" in figures:
        parts.append(_table_baselines(figures))
    parts += [_table_label_curve(figures[name]) for name in ("label_curve", "label_curve_longer") if name in figures]
    parts += [
        _PRIOR.format(prior=", ".join(f"{c} {p:.3f}" for c, p in zip(manifest.classes, manifest.prior, strict=True)))
    ]
    parts += [_LIMITS]
    return "\n".join(parts)


_WHAT: Final = """A transformer over the points of one object's partial ZTF light curve: difference photometry of both
signs, the upper limits next to its detections, and the magnitude of the reference source. It answers from the first
detection up, with calibrated probabilities of 14 classes: {classes}.

About 370,000 parameters, 3 layers of width 96; exact length, no padding; more than 128 tokens are up to four
windows, fused by the mean of their embeddings. Trained from scratch, supervised, for 20,000 steps of 128 views on one
CPU core: on real labelled light curves and, for variable stars, dwarf novae and active nuclei, on simulated alert
histories (template and data-release light curves on the real cadence with the real threshold). Each view is a prefix, a
30-day history or all of a light curve, thinned and moved away at random; finest published type and redshift steer
training and are not published. The last 6,000 steps had stronger augmentation and dropout 0.2 while the learning rate
fell. The weights are an exponential moving average.

Calibration, all on the validation split: a temperature per detection-count bin; one factor in the graph that softens
the logits where the object is not a transient (few real objects were there to learn from); class-conditional 90 %
conformal thresholds per bin.
"""

_HOW: Final = """Test split by object: never trained, tuned or calibrated on; real objects only, with at least five
detections unless a table says otherwise. Accuracy is by argmax of the published probabilities; macro-F1 is decided by
log p - 0.5 log prior. In brackets the 95 % bootstrap interval over objects."""

_PRIOR: Final = """## The prior

Published probabilities carry this prior, a mixture of the training frequencies of typed transients (70 %) and of
objects in alert packets (30 %): {prior}. For another population multiply by the ratio of priors and normalise.
"""

_LIMITS: Final = """## What it does not do

- At one detection a supernova's type is little more than the prior; the bundle flags fewer than three detections.
- SNIbc is often taken for SNIa or SNII, SLSN for SNII; no redshift or host is read.
- Few test objects stand behind CEP, DSCT, CV, TDE, RS and SLSN: see the counts.
- Most AGN in the data are faint quasars seen in a few nights of high cadence; that cadence is recognised too.
- Forced photometry and bands other than g, r, i are not read. Light curves of total magnitudes are not what it expects.
- Labels of variable stars come from catalogues (VSX, SIMBAD), some of them made from ZTF photometry.
- The out-of-distribution score is the squared Mahalanobis distance of the embedding to the nearest class mean, over its
  median in the validation split; 1 % of validation objects lie above the threshold.
"""


def _table_supernovae(figures: Figures) -> str:
    lines = [
        "### Supernova types (SNIa, SNIbc, SNII, SLSN), all 14 classes competing\n",
        "| detections shown | objects | accuracy | macro-F1 | F1 SNIa | SNIbc | SNII | SLSN |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for k, row in figures["supernovae"].items():
        cells = [_with_interval(row["accuracy"]), _with_interval(row["macro_f1"])]
        cells += [f"{row[f'f1_{name}'][0]:.2f}" for name in ("SNIa", "SNIbc", "SNII", "SLSN")]
        lines.append(f"| {k} | {row['objects']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _table_alerts(figures: Figures) -> str:
    lines = [
        "### Objects in real alert packets (30-day histories)\n",
        "Accuracy and macro-F1 over the classes with at least five test objects.\n",
        "| detections shown | objects | superclass accuracy | accuracy | macro-F1 |",
        "|---|---|---|---|---|",
    ]
    for k, row in figures["alert_objects"].items():
        cells = (_with_interval(row[name]) for name in ("superclass_accuracy", "accuracy", "macro_f1"))
        lines.append(f"| {k} | {row['objects']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _table_calibration(figures: Figures) -> str:
    lines = [
        "### Calibration and 90 % conformal sets\n",
        "Bins hold prefixes with that many detections; `overall` is everything seen of every object.\n",
        "| detections | objects | accuracy | ECE | Brier | coverage | mean set size |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in figures["calibration"].items():
        lines.append(
            f"| {name} | {row['objects']} | {row['accuracy']:.3f} | {row['ece']:.3f} | {row['brier']:.3f} "
            f"| {row['coverage']:.3f} | {row['set_size']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _table_classes(figures: Figures) -> str:
    lines = [
        "### Per class, everything seen\n",
        "| class | objects | precision | recall | F1 | ROC-AUC | coverage | set size |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in CLASSES:
        if name in figures["per_class"]:
            row = figures["per_class"][name]
            values = (row[key] for key in ("precision", "recall", "f1", "roc_auc", "coverage", "set_size"))
            lines.append(f"| {name} | {row['objects']} | " + " | ".join(f"{v:.2f}" for v in values) + " |")
    return "\n".join(lines) + "\n"


def _table_context(rows: Figures) -> str:
    lines = [
        "### What the optional context is worth\n",
        "Superclass accuracy on the alert objects of the validation split, by detections shown.\n",
        "| context | 1 | 3 | all |",
        "|---|---|---|---|",
    ]
    lines += [f"| {name} | {row['1']:.3f} | {row['3']:.3f} | {row['all']:.3f} |" for name, row in rows.items()]
    return "\n".join(lines) + "\n"


def _table_baselines(figures: Figures) -> str:
    lines = [
        "### Baselines on the same split: hand-crafted features\n",
        "| model | detections | SN accuracy | SN macro-F1 | superclass accuracy | alert accuracy | alert macro-F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = {name.replace("_", " "): tables for name, tables in figures["baselines"].items()}
    for k in ("all", "3"):
        ours = [figures["supernovae"][k][n][0] for n in ("accuracy", "macro_f1")]
        ours += [figures["alert_objects"][k][n][0] for n in ("superclass_accuracy", "accuracy", "macro_f1")]
        lines.append(f"| this model | {k} | " + " | ".join(f"{v:.3f}" for v in ours) + " |")
        for name, tables in rows.items():
            values = [tables["transients"][k][n] for n in ("accuracy", "macro_f1")]
            values += [tables["alert_objects"][k][n] for n in ("superclass_accuracy", "accuracy", "macro_f1")]
            lines.append(f"| {name} | {k} | " + " | ".join(f"{v:.3f}" for v in values) + " |")
    return "\n".join(lines) + "\n"


def _table_label_curve(curve: Figures) -> str:
    first = next(iter(curve.values()))
    ways = [way for way in _WAYS if way in first]
    lines = [
        f"### Contrastive pre-training against training from scratch, few labels, {first['steps']} steps\n",
        f"Balanced accuracy / macro-F1 on the test split, mean +- spread over draws of labels ({first['draws']}); the "
        "same network and steps either way.\n",
        "| labels per class | " + " | ".join(way.replace("_", ", ") for way in ways) + " |",
        "|---" * (len(ways) + 1) + "|",
    ]
    for size, row in curve.items():
        told = [" / ".join(_with_spread(row[way][key]) for key in ("balanced_accuracy", "macro_f1")) for way in ways]
        lines.append(f"| {size} | " + " | ".join(told) + " |")
    return "\n".join(lines) + "\n"


def _with_spread(value: list[float]) -> str:
    return f"{value[0]:.3f} +- {value[1]:.3f}"


def _with_interval(value: list[float]) -> str:
    return f"{value[0]:.3f} ({value[1]:.3f}-{value[2]:.3f})"


def _plot_by_detections(figures: Figures, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, block, names in (
        (axes[0], "supernovae", ("accuracy", "macro_f1")),
        (axes[1], "alert_objects", ("superclass_accuracy", "accuracy", "macro_f1")),
    ):
        rows = figures[block]
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
    for way, ink in zip(
        ("finetune_pretrained", "finetune_scratch", "probe_pretrained", "probe_random"), _INK, strict=True
    ):
        mean, spread = zip(*[row[way]["balanced_accuracy"] for row in curve.values()], strict=True)
        axis.errorbar(sizes, mean, spread, fmt="o-", color=ink, label=way.replace("_", ", "), capsize=2)
    axis.set(xscale="log", xlabel="labels per class", ylabel="balanced accuracy", title="few labels")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
