"""An answer with every field in it, as the pipeline makes the document of a classification."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

TIME = datetime(2025, 11, 28, 3, 4, 5, 678901, tzinfo=UTC)
MICROSECONDS = round(TIME.timestamp() * 1e6)

ANSWER: dict[str, Any] = {
    "object_id": "ZTF25abcdefg", "candid": 3216487654815015001, "survey": "ztf", "mjd": 60310.5,
    "ra": 10.25, "dec": -5.5,
    "classifier": "alert-clr", "version": "1.2.0", "top_class": "SNIa", "top_probability": 0.75,
    "probabilities": {"SNIa": 0.75, "SNII": 0.25}, "superclass_probabilities": {"Transient": 1.0},
    "conformal_set": ["SNIa"], "ood_score": 0.5, "variance": {"SNIa": 0.125}, "bald": 0.25,
    "n_detections": {"g": 3, "r": 4}, "n_upper_limits": {"r": 2}, "flags": ["low_quality", "low_quality:rb"],
    "counterparts": [{"object_id": "313897383979122767", "survey": "lsst", "separation_arcsec": 0.25}],
    "observed": MICROSECONDS, "broker_timestamp": None, "received": MICROSECONDS + 1, "published": MICROSECONDS + 2,
}  # fmt: skip
