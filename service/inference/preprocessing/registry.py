"""The preprocessings that a bundle's manifest may name.

A preprocessing is a function `(light_curve, parameters) -> {input name: array}`, without a batch axis; arrays of equal
shape may be stacked along a new first axis. A light curve with nothing to classify raises ValueError. `BATCHED` does
the same for many light curves at a time, at a fraction of the cost of each. `READS` says which points it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from service.inference.preprocessing.alert_clr import alert_clr, alert_clr_batch, astra_clr
from service.inference.preprocessing.images import light_curve_image, light_curve_images, points_drawn
from service.inference.preprocessing.two_survey import TWO_SURVEYS, two_survey, two_survey_batch
from service.photometry import ZTF_WAVELENGTHS, LightCurve

Inputs = Mapping[str, NDArray[Any]]

PREPROCESSINGS: Final[dict[str, Callable[[LightCurve, Mapping[str, Any]], Inputs]]] = {
    "alert-clr/1": alert_clr,
    "astra-clr/1": astra_clr,
    "light-curve-image/1": light_curve_image,
    "two-survey/1": two_survey,
}
BATCHED: Final[dict[str, Callable[[Sequence[LightCurve], Mapping[str, Any]], Sequence[Inputs]]]] = {
    "alert-clr/1": alert_clr_batch,
    "light-curve-image/1": light_curve_images,
    "two-survey/1": two_survey_batch,
}

_ZTF: Final = tuple(("ztf", band) for band in ZTF_WAVELENGTHS)

# parameters -> (survey, band) of the points that are looked at
READS: Final[dict[str, Callable[[Mapping[str, Any]], Sequence[tuple[str, str]]]]] = {
    "alert-clr/1": lambda parameters: _ZTF,
    "astra-clr/1": lambda parameters: _ZTF,
    "light-curve-image/1": points_drawn,
    "two-survey/1": lambda parameters: [(survey, band) for survey, of in TWO_SURVEYS.items() for band in of],
}
