"""The preprocessings that a bundle's manifest may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.inference.preprocessing.alert_clr import alert_clr_batch, astra_clr_batch
from service.inference.preprocessing.blocks import one_block
from service.inference.preprocessing.images import light_curve_images, points_drawn
from service.inference.preprocessing.two_survey import TWO_SURVEYS, two_survey_batch
from service.photometry import ZTF_WAVELENGTHS

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How light curves become the inputs of a graph.

    `inputs(points, counts, parameters)` takes light curves end to end, `points` (N,) of dtype `POINT` with `counts`
    (B,) points of each, and returns {input name: array} for each, without a batch axis; arrays of equal shape may be
    stacked along a new first axis. It raises ValueError if a light curve has nothing to classify. `reads(parameters)`
    returns the (survey, band) of the points that it uses. `in_blocks`: `inputs` is for light curves of one block, and
    longer ones need the graph itself first (`service.inference.block_inputs`).
    """

    inputs: Callable[[NDArray[np.void], NDArray[np.int64], Parameters], Sequence[Mapping[str, NDArray[Any]]]]
    reads: Callable[[Parameters], Sequence[tuple[str, str]]]
    in_blocks: bool = False


_ZTF: Final = tuple(("ztf", band) for band in ZTF_WAVELENGTHS)
# c and o are ATLAS's alone, whatever survey a point names
_BOTH: Final = (
    *(("ztf", band) for band in TWO_SURVEYS["ztf"]),
    *((survey, band) for survey in ("atlas", "ztf", "lsst") for band in TWO_SURVEYS["atlas"]),
)

PREPROCESSINGS: Final = {
    "alert-clr/1": Preprocessing(alert_clr_batch, lambda parameters: _ZTF),
    "alert-clr/2": Preprocessing(one_block, lambda parameters: _ZTF, in_blocks=True),
    "astra-clr/1": Preprocessing(astra_clr_batch, lambda parameters: _ZTF),
    "light-curve-image/1": Preprocessing(light_curve_images, points_drawn),
    "two-survey/1": Preprocessing(two_survey_batch, lambda parameters: _BOTH),
}
