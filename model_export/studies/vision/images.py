"""Images of light curves for training, drawn on demand; and the same images by matplotlib, to test the rasteriser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_export.data.tables import Dataset
from service.inference.preprocessing.image_kernel import MARGIN, OPACITY
from service.inference.preprocessing.images import COLOURS, IMAGES, LINE_WIDTH, MARKER_SIZE, SIZE, draw_images
from service.photometry import BAND_CODES, SURVEY_CODES, Kind, LightCurve
from service.photometry.flux import flux_error_from_magnitude, flux_from_magnitude

# Tolerances for "the same image": measured on real and random light curves, asserted in the tests.
LARGEST_MEAN: Final = 1.0  # mean absolute difference of the bytes, 0 to 255, of an image
LARGEST_SHARE: Final = 0.005  # of pixels that differ by more than DIFFERS in some colour
DIFFERS: Final = 32


class Pictures:
    """One image of each of M objects, with the points of `surveys`, {survey: its bands}.

    Images are not kept (10,000 are 2 GB), because drawing is much faster than training on them.
    """

    def __init__(self, data: Dataset, surveys: Mapping[str, str], parameters: Mapping[str, Any]) -> None:
        self.data, self.parameters = data, dict(parameters) | {"images": {"image": surveys}}
        points = data.points
        mine = (points["kind"] == Kind.DETECTION) & ~np.isnan(points["mag"])
        bands = [
            (points["survey"] == SURVEY_CODES[survey]) & (points["band"] == BAND_CODES[band])
            for survey, of in surveys.items()
            for band in of
        ]
        curve = np.repeat(np.arange(len(data)), data.counts)
        self.present: NDArray[np.bool_] = np.bincount(curve[mine & np.any(bands, axis=0)], minlength=len(data)) > 0

    def draw(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(n, 3, size, size); black if there is nothing to draw."""
        return draw_images(*self.data.take(rows), self.parameters)[0]["image"]


def reference_image(light_curve: LightCurve, parameters: Mapping[str, Any], name: str = "image") -> NDArray[np.uint8]:
    """The image `name` (3, size, size) of a light curve, by matplotlib's Agg; slow, for comparison."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = int(parameters.get("size", SIZE))
    line_width = float(parameters.get("line_width", LINE_WIDTH))
    marker_size = float(parameters.get("marker_size", MARKER_SIZE))
    shown = parameters.get("images", IMAGES)[name]
    points = light_curve.points[light_curve.is_detection & np.isfinite(light_curve.points["mag"])]
    parts = [
        points[(points["survey"] == SURVEY_CODES[survey]) & (points["band"] == BAND_CODES[band])]
        for survey, bands in shown.items()
        for band in bands
    ]
    everything = np.concatenate(parts)
    days, fluxes = everything["mjd"], _flux(everything)
    figure = Figure(figsize=(size / 72, size / 72), dpi=72)  # one point is one pixel
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.set_xlim(-MARGIN, 1 + MARGIN)
    axes.set_ylim(-MARGIN, 1 + MARGIN)
    for part, band in zip(parts, "".join(shown.values()), strict=True):
        if not len(part):
            continue
        error = flux_error_from_magnitude(part["mag"], part["magerr"]) / max(float(np.ptp(fluxes)), 1e-300)
        drawable = np.isfinite(error) & (error > 0) & (np.ptp(fluxes) > 0)
        axes.errorbar(
            _between(part["mjd"], days), _between(_flux(part), fluxes), yerr=np.where(drawable, error, np.nan),
            fmt="-o", color=np.array(COLOURS[band]) / 255, alpha=OPACITY, linewidth=line_width,
            markersize=marker_size, markeredgewidth=0, solid_capstyle="round",
        )  # fmt: skip
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3].transpose(2, 0, 1))


@dataclass(frozen=True)
class Difference:
    """Of two images: mean absolute difference of their bytes, and the share of pixels that differ by more than
    `DIFFERS` in some colour.
    """

    mean: float
    share: float

    @property
    def is_small(self) -> bool:
        return self.mean <= LARGEST_MEAN and self.share <= LARGEST_SHARE


def compare(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Difference:
    """The difference of two images (3, size, size)."""
    apart = np.abs(one.astype(np.int16) - other)
    return Difference(float(apart.mean()), float((apart.max(axis=0) > DIFFERS).mean()))


def _flux(points: NDArray[np.void]) -> NDArray[np.float64]:
    return flux_from_magnitude(points["mag"], np.where(points["sign"] < 0, -1, 1))


def _between(values: NDArray[Any], everything: NDArray[Any]) -> NDArray[np.float64]:
    """From 0 at the least of `everything` to 1 at the greatest; 0.5 where all are equal."""
    low, high = float(everything.min()), float(everything.max())
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
