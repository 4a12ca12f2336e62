"""Random forests on the context of alert objects.

Sources of packets know different columns, and have different classes in them, so whole groups of columns are withheld
at random in training: no forest may decide by what is missing, and one that is shown a part still answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from model_export.data.alert_context import MODEL_CONTEXT
from model_export.data.tables import CLASSES

FEWEST_OBJECTS: Final = 5  # with context: a class of fewer gets no evidence from it
# By source 80 trees of any depth, with four times the nodes, are no better: log-loss 1.017, 0.901 and 0.733 at one,
# three and all detections, against 1.024, 0.901 and 0.723. At a depth of 6 it is 0.03 to 0.07 worse.
TREES: Final = 40
DEPTH: Final = 8
ASTEROID_TREES: Final = 30  # of any depth: with 16 of a depth of 8 a quarter more of all others are taken for asteroids
LEAF: Final = 8  # rows; there are several of each object
MAX_FEATURES: Final = 0.35
COPIES: Final = 4  # of each object with groups withheld, beside the one with everything
WITHHELD: Final = 0.3  # probability of each group, in 60 % of the copies
ASTEROIDS: Final = 2000  # known asteroids that a forest learns from, so as not to drown the others

# Pairs whose differences [mag] are colours: graph and training compute them alike.
COLOURS: Final = (
    ("sgmag1", "srmag1"), ("srmag1", "simag1"), ("simag1", "szmag1"), ("magnr", "srmag1"), ("maggaia", "srmag1"),
)  # fmt: skip
_PLACE: Final = {name: place for place, name in enumerate(MODEL_CONTEXT)}
COLOUR_PLACES: Final = ([_PLACE[a] for a, _ in COLOURS], [_PLACE[b] for _, b in COLOURS])

# All that the published context of asteroids has: they may not be told by what their table leaves out.
ASTEROID_CONTEXT: Final = (
    "distnr", "magnr", "sigmagnr", "sgscore1", "distpsnr1", "nmtchps", "neargaia", "maggaia", "gal_b",
)  # fmt: skip
ASTEROID_PLACES: Final = [_PLACE[name] for name in ASTEROID_CONTEXT]

_BANDS: Final = ("sgmag", "srmag", "simag", "szmag")
_GROUPS: Final = [
    [_PLACE[name] for name in group]
    for group in (
        ("sgscore1", "sgscore2", "sgscore3"),
        ("distpsnr1", "distpsnr2", "distpsnr3"),
        tuple(f"{band}{k}" for band in _BANDS for k in (1, 2, 3)),
        tuple(f"{name}{k}" for name in ("sgscore", "distpsnr", *_BANDS) for k in (2, 3)),
        ("nmtchps",),
        ("neargaia", "maggaia", "neargaiabright", "maggaiabright"),
        ("distnr",),
        ("magnr", "sigmagnr"),
        ("chinr", "sharpnr"),
        ("gal_b",),
    )
]


@dataclass(frozen=True)
class ClassTrees:
    """A forest over classes, and the class frequencies (C,) it has learnt from: 0 where there is no evidence."""

    forest: RandomForestClassifier
    frequencies: NDArray[np.float64]

    def probabilities(self, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, C) of the columns that the forest was fitted on; 0 for classes that it does not know."""
        found = np.zeros((len(columns), len(CLASSES)))
        found[:, self.forest.classes_] = self.forest.predict_proba(columns)
        return found


def columns_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Context (n, C) and its colours (n, C + 5), as the forest sees it."""
    first, second = COLOUR_PLACES
    return np.concatenate((values, values[:, first] - values[:, second]), axis=1)


def fit_class_trees(values: NDArray[np.float32], labels: NDArray[np.int64], seed: int = 0) -> ClassTrees:
    """From the context (n, C) of labelled objects that have any."""
    rng = np.random.default_rng(seed)
    known = np.bincount(labels, minlength=len(CLASSES))[labels] >= FEWEST_OBJECTS
    values, labels = values[known], labels[known]
    rows = np.concatenate([values, *(withhold(rng, values) for _ in range(COPIES))])
    return fit_columns(columns_of(rows), np.tile(labels, COPIES + 1), labels, seed)


def fit_columns(
    columns: NDArray[np.float32], of_rows: NDArray[np.int64], labels: NDArray[np.int64], seed: int
) -> ClassTrees:
    """From any columns (n, F) with classes `of_rows` (n,); `labels` are those of the objects, for the frequencies."""
    forest = RandomForestClassifier(
        TREES, max_depth=DEPTH, min_samples_leaf=LEAF, max_features=MAX_FEATURES, random_state=seed
    )
    number = np.bincount(labels, minlength=len(CLASSES)).astype(np.float64)
    return ClassTrees(forest.fit(columns, of_rows), number / number.sum())


def fit_asteroid_trees(
    asteroids: NDArray[np.float32], others: NDArray[np.float32], seed: int = 0
) -> RandomForestClassifier:
    """Known asteroids (n, C) against all other objects (m, C), of equal weight; sees `ASTEROID_CONTEXT`."""
    rng = np.random.default_rng(seed)
    some = asteroids[rng.permutation(len(asteroids))[:ASTEROIDS]]
    rows = [np.concatenate([some, others])]
    rows += [withhold(rng, rows[0]) for _ in range(2)]
    is_asteroid = np.tile(np.repeat([1, 0], [len(some), len(others)]), len(rows))
    forest = RandomForestClassifier(
        ASTEROID_TREES,
        min_samples_leaf=LEAF,
        max_features=0.5,
        class_weight="balanced",
        random_state=seed,
    )
    return forest.fit(np.concatenate(rows)[:, ASTEROID_PLACES], is_asteroid)


def withhold(rng: np.random.Generator, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy with groups of columns missing at random."""
    values = values.copy()
    some = rng.random(len(values)) < 0.6
    for group in _GROUPS:
        gone = some & (rng.random(len(values)) < WITHHELD)
        values[np.ix_(np.flatnonzero(gone), np.array(group))] = np.nan
    return values
