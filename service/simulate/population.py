"""Which classes a simulated sky holds, and in what proportion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.errors import SimulationError
from service.simulate import periodic, stochastic, transients
from service.simulate.sources import Model

MODELS: Final[Mapping[str, Model]] = {
    "SNIa": transients.sn_ia,
    "SNIbc": transients.sn_ibc,
    "SNII": transients.sn_ii,
    "SLSN": transients.slsn,
    "TDE": transients.tde,
    "AGN": stochastic.active_nucleus,
    "YSO": stochastic.young_star,
    "CV": stochastic.cataclysmic,
    "LPV": periodic.long_period,
    "ECL": periodic.eclipsing,
    "RR": periodic.rr_lyrae,
    "CEP": periodic.cepheid,
    "DSCT": periodic.delta_scuti,
    "RS": periodic.rotator,
}

# Relative numbers of objects, not of alerts. Roughly what brokers find in the public stream: variable stars and active
# nuclei by far, supernovae a few per cent (Sanchez-Saez et al. 2021, AJ 161, 141, table 4), more of the rare classes
# than there are, so that a demonstration shows each.
STREAM: Final[Mapping[str, float]] = {
    "SNIa": 8.0,
    "SNIbc": 1.5,
    "SNII": 4.0,
    "SLSN": 0.6,
    "TDE": 0.6,
    "AGN": 25.0,
    "YSO": 5.0,
    "CV": 4.0,
    "LPV": 9.0,
    "ECL": 18.0,
    "RR": 14.0,
    "CEP": 2.0,
    "DSCT": 3.0,
    "RS": 10.0,
}
BALANCED: Final[Mapping[str, float]] = dict.fromkeys(MODELS, 1.0)


def checked(weights: Mapping[str, float]) -> Mapping[str, float]:
    """`weights` if they can be drawn from. Raises SimulationError that names the class at fault."""
    for name, weight in weights.items():
        if name not in MODELS:
            raise SimulationError(f"class {name!r} can't be simulated; the classes are {', '.join(MODELS)}")
        if not 0 <= weight < float("inf"):
            raise SimulationError(f"weight of class {name} is {weight}: it must be finite and not negative")
    if sum(weights.values()) <= 0:
        raise SimulationError("no class has a positive weight")
    return weights
