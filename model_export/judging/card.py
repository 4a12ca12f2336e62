"""The model card as Markdown, from `metrics.json` and the manifest: no figure in it is typed by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from model_export.data.tables import CLASSES
from model_export.judging.alert_tables import tables
from service.inference.manifest import Manifest, Preprocessing

Figures = dict[str, Any]
WAYS: Final = ("finetune_pretrained", "finetune_scratch", "probe_pretrained", "probe_random")


def model_card(figures: Figures, manifest: Manifest) -> str:
    """The card: what the model is, its training, its figures, its limits."""
    prior = ", ".join(f"{c} {p:.3f}" for c, p in zip(manifest.classes, manifest.prior, strict=True))
    parts = [
        f"# {manifest.name} {manifest.version}\n",
        _WHAT.format(
            number=len(manifest.classes), classes=", ".join(f"{c} ({p})" for c, p in manifest.taxonomy.items())
        ),
        _training(figures["training"], manifest.preprocessing) if "training" in figures else "",
        _CALIBRATION,
        _CONTEXT if manifest.context else "",
        _judgement(figures["judgement"]) if "judgement" in figures else "",
        "## Figures of the light curve alone\n\n" + _HOW + "\n",
        _supernovae(figures),
        _alerts(figures) if figures["alert_objects"] else "",
        _calibration(figures),
        _classes(figures),
        _context(figures) if "optional_context" in figures else "",
        _baselines(figures) if "baselines" in figures else "",
        _later_years(figures["later_years"]) if "later_years" in figures else "",
        *(_label_curve(curve) for curve in figures.get("label_curves", ())),
        _PRIOR.format(prior=prior),
        _CONTEXT_PRIOR if manifest.context else "",
        _LIMITS,
        _CONTEXT_LIMITS if manifest.context else "",
    ]
    return "\n".join(part for part in parts if part)


_WHAT: Final = """A transformer over the points of one object's partial ZTF light curve: difference photometry of both
signs, the upper limits next to its detections, and the magnitude of the reference source. It answers from the first
detection up, with calibrated probabilities of {number} classes: {classes}.
"""

_CALIBRATION: Final = """Calibration, all on the validation split: a temperature per detection-count bin; one factor in
the graph that softens the logits where the object is not a transient (few real objects were there to learn from);
class-conditional 90 % conformal thresholds per bin; a threshold of the out-of-distribution score per bin.
"""

_HOW: Final = """Test split by object: never trained, tuned or calibrated on; real objects only, with at least five
detections unless a table says otherwise. Accuracy is by argmax of the published probabilities; macro-F1 is decided by
log p - 0.5 log prior. In brackets the 95 % bootstrap interval over objects."""

_CONTEXT: Final = """## With the packet's context

Where a packet says what surrounds the object (catalogue neighbours, the reference image, galactic latitude), forests on
those columns are fused with the light curve's answer, in the same graph: log p = s (log p_light_curve - log prior) +
w (log p_context - log prior) + log prior, with s and w per detection-count bin and w never growing with detections.
Classes of which fewer than five objects had context get no evidence from it. Column groups were withheld at random in
training, so that a part of the context is of use. Without any context the answer is that of the light curve alone,
to rounding.

`Asteroid` (Solar System) is told by what surrounds a detection, and by its being seen in a single night; the distance
to known Solar System objects is not an input. Without context its probability is 0.
"""

_CONTEXT_PRIOR: Final = """With context an object is known to be of an alert stream, and the prior is another: 85 %
labelled alert objects, 15 % typed transients. Conformal thresholds with context are their own
(`context_calibration`), from answers by models of other sources.
"""

_CONTEXT_LIMITS: Final = """What context does not do:

- With all detections a part of what context gains can be had by recognising where a packet came from: see the rows
  `source alone`, and trust `by source`.
- Transients far from any catalogued source look like asteroids at their first detection: see the table.
- An asteroid seen once has the embedding of any single detection: the out-of-distribution score knows no context.
- Counts and dates of a packet (jdstarthist, jdendhist, ndethist, ncovhist) and its real-bogus scores are not read: they
  tell the year and the schema of a packet, and know the future of its light curve.
"""

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
  median in the validation split. Means are of real and of simulated objects alike, for the network learnt from both;
  in each detection-count bin 1 % of validation objects (simulated ones of another seed among them) lie above the
  threshold.
"""


def _training(told: Figures, preprocessing: Preprocessing) -> str:
    """How the run behind the bundle was trained, from its own configuration and lineage."""
    config, lineage = told["config"], told["lineage"]
    encoder, view = config["encoder"], config["view"]
    counts = ", ".join(f"{number:,} {table}" for table, number in lineage["labelled"].items())
    long = f"up to {config['max_windows']} windows, fused by the mean of their embeddings."
    if preprocessing.id == "alert-clr/2":
        long = (
            f"up to {preprocessing.parameters['max_blocks']} blocks along a grid of time, fused late; the fusion was "
        )
        long += "fitted on long histories with the encoder as it is."
    lines = [
        f"{encoder['layers']} layers of width {encoder['width']}; exact length, no padding; more than "
        f"{config['window']} tokens are {long}",
        f"Trained for {config['steps']:,} steps of {config['batch_size']} views,"
        + (f" going on from {_earlier(lineage['went_on_from'])}," if lineage.get("went_on_from") else ""),
        f"starting from an encoder that was pre-trained contrastively for {lineage['pretraining_steps']:,} steps,"
        if lineage["pretraining_steps"]
        else "from scratch,",
        f"on labelled light curves ({counts}; the simulated ones are alert histories of variable stars, dwarf novae "
        "and active nuclei from template and data-release light curves on the real cadence with the real threshold).",
    ]
    if lineage["teachers"]:
        lines += [
            f"It also follows the mean answer of {len(lineage['teachers'])} networks of the same size that were "
            f"trained before it ({config['teacher_share']:.0%} of the loss), also on "
            f"{lineage['unlabelled']:,} objects without a label.",
        ]
    if lineage.get("early_teachers"):
        lines += [
            f"Where a view has at most {config['early_teacher_max']} detections it follows "
            f"{len(lineage['early_teachers'])} others instead, trained with first detections alone.",
        ]
    if "averaged" in lineage:
        lines += [f"The weights are the mean of runs that share their beginning: {_parts(lineage['averaged'])}."]
    lines += [
        f"Of all views {view['prefix']:.0%} are a prefix of the light curve, others a 30-day history or all of it; "
        "they are thinned and moved away at random. Finest published type and redshift steer training and are not "
        "published. Along each run the weights are an exponential moving average.",
    ]
    return " ".join(lines) + "\n"


def _earlier(run: Figures) -> str:
    """The run that this one continued, as text."""
    if run["averaged"]:
        return f"the mean weights of earlier runs ({_parts(run['averaged'])})"
    return f"the weights that {run['steps']:,} steps had made"


def _parts(averaged: list[Figures]) -> str:
    return ", ".join(
        f"{part['share']:.0%} after {part['steps']:,} steps"
        + (f" with the first {part['early_max']} detections alone" if "early_max" in part else "")
        for part in averaged
    )


def _table(title: str, note: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    cells.insert(1, ["---"] * len(cells[0]))
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([f"### {title}\n", *([note + "\n"] if note else []), *lines]) + "\n"


def _judgement(told: Figures) -> str:
    """The cross-validation on alert objects."""
    number = told["objects"]
    rows = [
        "## Objects of a real alert stream\n",
        f"Cross-validation on {number['judged']} labelled alert objects with at least five detections whose labels the "
        f"network never learnt (context alone: on all {number['with context']} that have any): each is judged by trees "
        f"and fusion of other folds. `by object`: {told['repeats']['by object']} repeats; `by source`, `by schema`: "
        "nothing of the packet's repository, or of its schema version, was learnt from; `source alone`: what "
        "forests get that see repository, schema version and year, and nothing else. All 15 classes compete. "
        "Accuracy by argmax, macro-F1 by log p - 0.5 log prior; in brackets 95 % bootstrap intervals over objects. "
        "The share of the prior that context keeps and the offset of `Asteroid` were chosen on these same folds, so "
        "the rows with context are slightly favourable.\n",
        *(f"### {title}\n\n{table}\n" for title, table in tables(told).items()),
    ]
    return "\n".join(rows)


def _supernovae(figures: Figures) -> str:
    names = ("SNIa", "SNIbc", "SNII", "SLSN")
    return _table(
        "Supernova types (SNIa, SNIbc, SNII, SLSN), all 14 classes competing",
        "",
        ("detections shown", "objects", "accuracy", "macro-F1", *(f"F1 {name}" for name in names)),
        (
            (k, row["objects"], _with_interval(row["accuracy"]), _with_interval(row["macro_f1"]),
             *(f"{row[f'f1_{name}'][0]:.2f}" for name in names))
            for k, row in figures["supernovae"].items()
        ),
    )  # fmt: skip


def _alerts(figures: Figures) -> str:
    scores = ("superclass_accuracy", "accuracy", "macro_f1")
    return _table(
        "Objects in real alert packets (30-day histories)",
        "Accuracy and macro-F1 over the classes with at least five test objects.",
        ("detections shown", "objects", "superclass accuracy", "accuracy", "macro-F1"),
        (
            (k, row["objects"], *(_with_interval(row[score]) for score in scores))
            for k, row in figures["alert_objects"].items()
        ),
    )


def _calibration(figures: Figures) -> str:
    keys = ("accuracy", "ece", "brier", "coverage", "set_size")
    return _table(
        "Calibration and 90 % conformal sets",
        "Bins hold prefixes with that many detections; `overall` is everything seen of every object.",
        ("detections", "objects", "accuracy", "ECE", "Brier", "coverage", "mean set size"),
        (
            (name, row["objects"], *(f"{row[key]:.3f}" for key in keys))
            for name, row in figures["calibration"].items()
            if row["objects"]
        ),
    )


def _classes(figures: Figures) -> str:
    keys = ("precision", "recall", "f1", "roc_auc", "coverage", "set_size")
    rows = [(name, figures["per_class"][name]) for name in CLASSES if name in figures["per_class"]]
    return _table(
        "Per class, everything seen",
        "",
        ("class", "objects", "precision", "recall", "F1", "ROC-AUC", "coverage", "set size"),
        ((name, row["objects"], *(f"{row[key]:.2f}" for key in keys)) for name, row in rows),
    )


def _context(figures: Figures) -> str:
    return _table(
        "What the optional context is worth",
        "Superclass accuracy on the alert objects of the validation split, by detections shown.",
        ("context", "1", "3", "all"),
        ((name, *(f"{row[k]:.3f}" for k in ("1", "3", "all"))) for name, row in figures["optional_context"].items()),
    )


def _baselines(figures: Figures) -> str:
    names = {
        ("supernovae", "transients", "accuracy"): "SN accuracy",
        ("supernovae", "transients", "macro_f1"): "SN macro-F1",
        ("alert_objects", "alert_objects", "superclass_accuracy"): "superclass accuracy",
        ("alert_objects", "alert_objects", "accuracy"): "alert accuracy",
        ("alert_objects", "alert_objects", "macro_f1"): "alert macro-F1",
    }
    shown = [key for key in names if figures[key[0]]]
    rows = []
    for k in ("all", "3"):
        rows.append(("this model", k, *(f"{figures[group][k][score][0]:.3f}" for group, _, score in shown)))
        for name, by_table in figures["baselines"].items():
            rows.append((name.replace("_", " "), k, *(f"{by_table[table][k][score]:.3f}" for _, table, score in shown)))
    return _table(
        "Baselines on the same split: hand-crafted features",
        "",
        ("model", "detections", *(names[key] for key in shown)),
        rows,
    )


def _later_years(told: Figures) -> str:
    names = {"later": "first seen later, none of them trained on", "same_years": "test split, first seen before"}
    return _table(
        "Later years",
        f"A member of the ensemble trained only on objects first seen before mjd {told['seen_before']:.0f}: supernova "
        "types, uncalibrated.",
        ("objects", "detections shown", "number", "accuracy", "macro-F1"),
        (
            (text, k, row["objects"], _with_interval(row["accuracy"]), _with_interval(row["macro_f1"]))
            for name, text in names.items()
            for k, row in told[name].items()
        ),
    )


def _label_curve(curve: Figures) -> str:
    first = next(iter(curve.values()))
    ways = [way for way in WAYS if way in first]
    return _table(
        f"Contrastive pre-training against training from scratch, few labels, {first['steps']} steps",
        "Balanced accuracy / macro-F1 on the test split, mean +- standard deviation over draws of labels "
        f"({first['draws']}), over the classes with at least five test objects; the same network and steps either way. "
        "The gain is of fine-tuning, draw by draw, +- its standard error.",
        ("labels per class", *(way.replace("_", ", ") for way in ways), "gain by pre-training"),
        (
            (
                size,
                *(" / ".join(_with_spread(row[way][key]) for key in ("balanced_accuracy", "macro_f1")) for way in ways),
                " / ".join(_with_spread(row["gain"][key]) for key in ("balanced_accuracy", "macro_f1")),
            )
            for size, row in curve.items()
        ),
    )


def _with_spread(value: list[float]) -> str:
    return f"{value[0]:.3f} +- {value[1]:.3f}"


def _with_interval(value: list[float]) -> str:
    return f"{value[0]:.3f} ({value[1]:.3f}-{value[2]:.3f})"
