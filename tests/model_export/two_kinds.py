"""A data set that a network of a few thousand weights learns in seconds."""

import numpy as np
import pandas as pd

from model_export.data.tables import CLASSES, Dataset
from model_export.network.encoder import EncoderConfig
from service.photometry import POINT, Kind

TINY = EncoderConfig(width=16, layers=1, heads=2, feed_forward=32, periods=4, embedding=16)


def two_kinds(rng: np.random.Generator, n: int) -> Dataset:
    """Positive rises called SNIa and flickering of both signs called RR: a child could tell."""
    points, labels = [], rng.choice([CLASSES.index("SNIa"), CLASSES.index("RR")], n)
    for label in labels:
        count = int(rng.integers(5, 15))
        own = np.zeros(count, dtype=POINT)
        own["mjd"] = 59000 + np.sort(rng.uniform(0, 30, count))
        own["band"] = rng.integers(0, 2, count)
        own["mag"] = 18 + rng.normal(0, 0.3, count)
        own["magerr"] = 0.1
        own["limit"] = 20.5
        own["magnr"] = np.nan
        own["kind"] = Kind.DETECTION
        own["sign"] = 1 if label == 0 else rng.choice([-1, 1], count)
        points.append(own)
    split = np.where(np.arange(n) % 4 == 0, "validation", np.where(np.arange(n) % 4 == 1, "test", "train"))
    objects = pd.DataFrame(
        {
            "object_id": [f"o{i}" for i in range(n)], "table": "transients", "label": labels, "fine": -1,
            "redshift": np.nan, "split": split, "n_detections": [len(p) for p in points], "source": "",
        }
    )  # fmt: skip
    return Dataset(np.concatenate(points), np.array([len(p) for p in points]), objects)
