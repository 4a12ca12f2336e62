"""Baselines on the same split as the network: boosted trees and a balanced random forest on features."""

from __future__ import annotations

import warnings
from typing import Any, Final

import light_curve
import lightgbm
import numpy as np
from imblearn.ensemble import BalancedRandomForestClassifier
from numpy.typing import NDArray
from tqdm import tqdm

from model_export.data.scores import SUPERNOVA_INDEX, alert_scores, supernova_scores
from model_export.data.tables import CLASSES, Dataset
from model_export.network.predict import ALL, shown
from service.photometry import Kind
from service.photometry.flux import flux_error_from_magnitude, flux_from_magnitude

# The features of Malanchev et al. 2021 (arXiv:2012.01419) that are defined for a handful of points.
_FEATURES: Final = light_curve.Extractor(
    light_curve.Amplitude(), light_curve.BeyondNStd(1.0), light_curve.Cusum(), light_curve.Duration(),
    light_curve.Eta(), light_curve.EtaE(), light_curve.ExcessVariance(), light_curve.InterPercentileRange(0.25),
    light_curve.Kurtosis(), light_curve.LinearFit(), light_curve.LinearTrend(), light_curve.MaximumSlope(),
    light_curve.MaximumTimeInterval(), light_curve.Mean(), light_curve.Median(),
    light_curve.MedianAbsoluteDeviation(), light_curve.PercentAmplitude(), light_curve.ReducedChi2(),
    light_curve.Skew(), light_curve.StandardDeviation(), light_curve.StetsonK(), light_curve.TimeMean(),
    light_curve.TimeStandardDeviation(), light_curve.WeightedMean(),
)  # fmt: skip


def features(data: Dataset) -> NDArray[np.float64]:
    """Features (M, n) of the difference flux per band, the rise, and the upper limits around it."""
    stops = np.cumsum(data.counts)
    rows = [
        _features(data.points[stop - count : stop])
        for stop, count in tqdm(zip(stops, data.counts, strict=True), total=len(data), desc="features", mininterval=5)
    ]
    return np.array(rows)


def baseline_figures(data: Dataset, seed: int = 0) -> dict[str, Any]:
    """Figures of both baselines on the test split, with all and with the first three detections."""
    real = data.where((data.labels >= 0) & data.objects["table"].isin(["transients", "alert_objects"]).to_numpy())
    split, table = real.objects["split"].to_numpy(), real.objects["table"].to_numpy()
    enough = (real.objects["n_detections"] >= 5).to_numpy()
    found: dict[str, Any] = {}
    for name, k in (("all", ALL), ("3", 3)):
        x = features(shown(real, k))
        for which, score in (("transients", supernova_scores), ("alert_objects", alert_scores)):
            # Each baseline is made for its own question: the four types, or the classes of alert objects.
            train = (split == "train") & (table == which)
            if which == "transients":
                train &= np.isin(real.labels, SUPERNOVA_INDEX)
            test = (split == "test") & (table == which) & enough
            for model_name, model in _models(seed):
                model.fit(np.nan_to_num(x[train], nan=-99.0), real.labels[train])
                p = np.full((test.sum(), len(CLASSES)), 1e-6)
                p[:, model.classes_] = model.predict_proba(np.nan_to_num(x[test], nan=-99.0))
                if model_name == "balanced_random_forest":  # its probabilities already have a flat prior
                    prior = np.full(len(CLASSES), 1.0)
                else:
                    prior = np.bincount(real.labels[train], minlength=len(CLASSES)) + 0.5
                scores = score(p / p.sum(axis=1, keepdims=True), real.labels[test], prior / prior.sum())
                found.setdefault(model_name, {}).setdefault(which, {})[name] = {
                    key: round(value, 4) for key, value in scores.items()
                }
    return found


def _models(seed: int) -> list[tuple[str, Any]]:
    return [
        (
            "gradient_boosting",
            lightgbm.LGBMClassifier(
                n_estimators=300, learning_rate=0.03, num_leaves=15, min_child_samples=10, min_child_weight=1.0,
                reg_lambda=5.0, subsample=0.8, subsample_freq=1, colsample_bytree=0.5, n_jobs=1, verbose=-1,
                random_state=seed,
            ),
        ),
        ("balanced_random_forest", BalancedRandomForestClassifier(n_estimators=300, n_jobs=1, random_state=seed)),
    ]  # fmt: skip


def _features(points: NDArray[np.void]) -> list[float]:
    detected = points["kind"] == Kind.DETECTION
    seen, limits = points[detected], points[~detected]
    start, peak = seen["mjd"][0], float(np.nanmin(seen["mag"]))
    at_peak = seen["mjd"][np.nanargmin(seen["mag"])]
    row = [len(seen), seen["mjd"][-1] - start, peak, at_peak - start, np.mean(seen["sign"] < 0), np.mean(seen["sign"])]
    means = []
    for band in (0, 1):
        mine = seen[seen["band"] == band]
        mine = mine[np.concatenate(([True], np.diff(mine["mjd"]) > 0))] if len(mine) else mine
        before = limits[(limits["band"] == band) & (limits["mjd"] < start)]
        row += [len(mine), len(before)]
        row += [start - before["mjd"][-1], before["limit"][-1] - peak] if len(before) else [np.nan, np.nan]
        magnr = mine["magnr"][np.isfinite(mine["magnr"])]
        row += [magnr.mean() if len(magnr) else np.nan]
        means.append(mine["mag"].mean() if len(mine) else np.nan)
        if len(mine):
            brightest = mine["mag"].argmin()
            row += [mine["mag"][0] - mine["mag"][brightest], mine["mag"][-1] - mine["mag"][brightest]]
            row += [mine["mjd"][brightest] - mine["mjd"][0], mine["mjd"][-1] - mine["mjd"][brightest]]
        else:
            row += [np.nan] * 4
        sign = np.where(mine["sign"] < 0, -1, 1)
        flux = flux_from_magnitude(mine["mag"], sign)
        scale = np.abs(flux).max() if len(mine) else 1.0
        error = np.maximum(flux_error_from_magnitude(mine["mag"], np.nan_to_num(mine["magerr"], nan=0.1)), 1e-3 * scale)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = _FEATURES(
                mine["mjd"].copy(), flux / scale, error / scale, sorted=True, fill_value=np.nan, check=False
            )
        row += list(values)
    row.append(means[0] - means[1])
    return [float(value) for value in row]
