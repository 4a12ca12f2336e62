"""A light curve drawn as an image, the input of a vision transformer (arXiv:2507.11711).

Bars, lines and points of each band in its colour, half transparent on white, without axes; the axes span the least to
the greatest time and flux over all bands of the image. The style follows the public code of the same authors' first
paper (arXiv:2502.20479); whether the multi-survey paper changed it is not known. One difference is on purpose: error
bars have the scale of the flux, while that code normalises them separately.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.inference.preprocessing.image_kernel import draw
from service.photometry import BAND_CODES, BANDS, SURVEY_CODES, SURVEYS, LightCurve

SIZE: Final = 256  # pixels
# 1 pt lines and 2 pt points with their 1 pt edges, at the 100 dots per inch of a figure of 2.56 inches
LINE_WIDTH: Final = 1.4  # pixels
MARKER_SIZE: Final = 4.2  # pixels
IMAGES: Final[Mapping[str, Mapping[str, str]]] = {"image": {"ztf": "gr"}}

# Far from one another where an image may show them together: g, r, c, o.
COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "g": (0x00, 0xFF, 0x7F), "r": (0xFF, 0x00, 0x7F), "i": (0x7F, 0x00, 0xFF), "z": (0xFF, 0xFF, 0x00),
    "u": (0x00, 0x00, 0x7F), "y": (0x7F, 0x3F, 0x00), "c": (0x00, 0x7F, 0xFF), "o": (0xFF, 0x7F, 0x00),
}  # fmt: skip

Images = dict[str, NDArray[Any]]


def light_curve_image(light_curve: LightCurve, parameters: Mapping[str, Any]) -> Images:
    """Inputs of an image graph: each (3, size, size) uint8, red, green and blue, row 0 at the top.

    Parameters: `images`, the contents of each input as {input name: {survey: its bands}}, by default {"image": {"ztf":
    "gr"}}; `size`, `line_width`, `marker_size` in pixels. With several images `present` (images,) float32 marks those
    that show anything: the others are black, not white, so that they can't be taken for a faint object.

    Only detections with a magnitude are drawn. Flux is the signed difference flux. Raises ValueError if there is
    nothing to draw.
    """
    return light_curve_images(light_curve.points, np.array([len(light_curve)]), parameters)[0]


def light_curve_images(
    points: NDArray[np.void], counts: NDArray[np.int64], parameters: Mapping[str, Any]
) -> list[Images]:
    """`light_curve_image` of many light curves laid end to end."""
    drawn, present = draw_images(points, counts, parameters)
    if not present.any(axis=1).all():
        wanted = parameters.get("images", IMAGES).values()
        bands = " or by ".join(f"{survey} in {', '.join(of)}" for image in wanted for survey, of in image.items())
        raise ValueError(f"a light curve has no detection with a magnitude by {bands}")
    inputs: list[Images] = [{name: images[row] for name, images in drawn.items()} for row in range(len(counts))]
    if len(drawn) > 1:
        for arrays, flags in zip(inputs, present, strict=True):
            arrays["present"] = flags
    return inputs


def points_drawn(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(survey, band) of the points shown in any image."""
    wanted: Mapping[str, Mapping[str, str]] = parameters.get("images", IMAGES)
    return [(survey, band) for image in wanted.values() for survey, of in image.items() for band in of]


def draw_images(
    points: NDArray[np.void], counts: NDArray[np.int64], parameters: Mapping[str, Any]
) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.float32]]:
    """Images {input name: (B, 3, size, size)} of light curves end to end, and which show anything (B, images)."""
    size = int(parameters.get("size", SIZE))
    points = np.ascontiguousarray(points).view()
    points.setflags(write=False)  # the kernel is compiled for read-only arrays
    counts = np.asarray(counts, dtype=np.int64)
    wanted: Mapping[str, Mapping[str, str]] = parameters.get("images", IMAGES)
    present = np.empty((len(counts), len(wanted)), dtype=np.float32)
    drawn = {}
    for number, (name, surveys) in enumerate(wanted.items()):
        layers = np.full((len(SURVEYS), len(BANDS)), -1, dtype=np.int64)
        bands = [(survey, band) for survey, of in surveys.items() for band in of]
        for layer, (survey, band) in enumerate(bands):
            layers[SURVEY_CODES[survey], BAND_CODES[band]] = layer
        colours = np.array([COLOURS[band] for _, band in bands], dtype=np.uint8)
        images = np.empty((len(counts), 3, size, size), dtype=np.uint8)
        widths = float(parameters.get("line_width", LINE_WIDTH)), float(parameters.get("marker_size", MARKER_SIZE))
        shown = draw(points, counts, layers, colours, *widths, images)
        images[shown == 0] = 0
        present[:, number] = shown > 0
        drawn[name] = images
    return drawn, present
