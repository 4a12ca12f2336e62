"""The twenty-one kinds of source, each one physical light curve: spectra over time that any survey may look at.

A model draws one object and returns its flux density at `WAVELENGTHS` for the times asked: explosions are expanding
black bodies whose temperature falls, stars change their brightness more in the blue by a power of wavelength, nuclei
vary over a constant host. So the colours of all filters follow from one spectrum. Shapes and scales are textbook ones,
idealised: the simulation compares architectures and is no evidence about the sky.
"""

from __future__ import annotations

from typing import Final

from model_export.studies.two_surveys.spectra import Model
from model_export.studies.two_surveys.transients import slsn, sn_ia, sn_ibc, sn_ii, sn_iib, sn_iin, tde
from model_export.studies.two_surveys.variables import (
    agn,
    blazar,
    cataclysmic,
    cepheid,
    close_binary,
    delta_scuti,
    detached_binary,
    lpv,
    other_periodic,
    qso,
    rr_lyrae_ab,
    rr_lyrae_c,
    spotted,
    yso,
)

# The 22 classes of ALeRCE's classifier of ZTF forced photometry less microlensing, its rarest: class -> (superclass,
# model). The paper has 21 classes in these three groups; its own list could not be checked.
SOURCES: Final[dict[str, tuple[str, Model]]] = {
    "SNIa": ("Transient", sn_ia), "SNIbc": ("Transient", sn_ibc), "SNIIb": ("Transient", sn_iib),
    "SNII": ("Transient", sn_ii), "SNIIn": ("Transient", sn_iin), "SLSN": ("Transient", slsn),
    "TDE": ("Transient", tde),
    "QSO": ("Stochastic", qso), "AGN": ("Stochastic", agn), "Blazar": ("Stochastic", blazar),
    "YSO": ("Stochastic", yso), "CV/Nova": ("Stochastic", cataclysmic),
    "LPV": ("Periodic", lpv), "EA": ("Periodic", detached_binary), "EB/EW": ("Periodic", close_binary),
    "DSCT": ("Periodic", delta_scuti), "RSCVn": ("Periodic", spotted), "CEP": ("Periodic", cepheid),
    "RRLab": ("Periodic", rr_lyrae_ab), "RRLc": ("Periodic", rr_lyrae_c),
    "Periodic-Other": ("Periodic", other_periodic),
}  # fmt: skip
