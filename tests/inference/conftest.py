"""Fixtures of tiny bundles and light curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.photometry import BAND_CODES, LightCurve
from tests.inference.tiny_bundle import TinyGraph, WriteBundle, draw_light_curve, write_files


@pytest.fixture
def write_bundle(tmp_path: Path) -> WriteBundle:
    """`write_bundle(graph=bytes, folder=name, **manifest fields)` writes a bundle and returns its folder."""

    def write(graph: bytes | None = None, folder: str = "tiny", **changes: Any) -> Path:
        return write_files(tmp_path / folder, graph or TinyGraph.drawn().model(), **changes)

    return write


@pytest.fixture
def light_curves() -> list[LightCurve]:
    """Sixty light curves of 1 to 120 detections, many of equal shape, in no order."""
    rng = np.random.default_rng(5)
    counts = rng.permutation([1, 1, 2, 2, 3, 3, 5, 5, 5, 8, 8, 20, 20, 20, 39, 40, 41, 60, 90, 120] * 3)
    return [draw_light_curve(rng, int(count), int(rng.integers(0, 6))) for count in counts]


@pytest.fixture
def in_z_band() -> LightCurve:
    """Two detections in z, which ZTF models do not know."""
    return LightCurve.from_columns([59000.0, 59003.0], BAND_CODES["z"], mag=18.0, magerr=0.1, sign=1)
