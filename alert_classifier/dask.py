"""The classifier for `map_partitions` of Dask and LSDB: a frame with a light curve in each row -> a frame of answers.

    import lsdb
    from alert_classifier.dask import answers_like, classify_frame

    catalog = lsdb.open_catalog("alerts.hats")
    answers = catalog.map_partitions(classify_frame, source="lightcurve", meta=answers_like())

Every worker process opens the bundle once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from service.archives import COLUMNS, classifier_of, predictions
from service.errors import MissingExtraError
from service.inference.prediction import Prediction

try:
    import pandas as pd
except ImportError as error:
    raise MissingExtraError(f"Dask needs an extra: pip install 'alert-classifier[dask]' ({error})") from error


def classify_frame(
    frame: pd.DataFrame,
    *,
    source: str | None = None,
    names: Mapping[str, str] | None = None,
    bundle: str | None = None,
) -> pd.DataFrame:
    """One row of answers for each of `frame`, with its index: top_class, top_probability, p_CLASS of every class,
    conformal_set and flags (names with spaces between), ood_score, classifier, version.

    `source` names a column of nested-pandas, as LSDB's catalogues hold light curves; without it the columns of `frame`
    hold an array in each row. `names` says which column is which of ours (mjd or jd, band, mag; magerr, limit, sign,
    magnr) where they are called otherwise: {"mjd": "midpointMjd"}. `bundle`: a folder that every worker can read.

    The shipped models were trained on difference photometry; magnitudes of all the light of a source, as in most data
    releases, are for a bundle that was trained on those.
    """
    lists = frame if source is None else frame[source].nest.to_lists()
    named = dict(names or {})
    columns = {ours: lists[named.get(ours, ours)] for ours in COLUMNS if named.get(ours, ours) in lists.columns}
    return _answers(predictions(columns, bundle=bundle), classifier_of(bundle).bundle.manifest.classes, frame.index)


def answers_like(bundle: str | None = None) -> pd.DataFrame:
    """An empty frame with the columns and types of `classify_frame`, which Dask wants as `meta`."""
    return _answers([], classifier_of(bundle).bundle.manifest.classes, pd.Index([], dtype="int64"))


def _answers(found: list[Prediction], classes: tuple[str, ...], index: pd.Index[Any]) -> pd.DataFrame:
    probabilities = np.array([each.probabilities for each in found], np.float64).reshape(len(found), len(classes))
    answers = {
        "top_class": pd.array([each.top_class for each in found], dtype="string"),
        "top_probability": probabilities.max(axis=1, initial=0.0),
        **{f"p_{name}": probabilities[:, number] for number, name in enumerate(classes)},
        "conformal_set": pd.array([" ".join(each.conformal_set) for each in found], dtype="string"),
        "ood_score": np.array([each.ood_score for each in found], np.float64),
        "flags": pd.array([" ".join(each.flags) for each in found], dtype="string"),
        "classifier": pd.array([each.classifier for each in found], dtype="string"),
        "version": pd.array([each.version for each in found], dtype="string"),
    }
    return pd.DataFrame(answers, index=index)
