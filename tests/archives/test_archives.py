"""Columns of an archive give the light curves and answers that `classify` gives for the same alerts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from service.alerts import Decoder
from service.alerts.ztf_context import PACKET_COLUMNS
from service.archives import light_curves, predictions
from service.exports import read_export
from service.inference.bundle import load_bundle
from service.inference.classifier import Classifier
from service.photometry.columns import ColumnError
from tests.archives.fink import packets_by_object, write_alerts


@pytest.fixture(scope="module")
def packets() -> dict[str, bytes]:
    return packets_by_object(60)


def test_light_curves_are_those_of_fink_s_data_transfer(packets: dict[str, bytes], tmp_path: Path) -> None:
    write_alerts(packets, tmp_path / "alerts.parquet")
    export = read_export((tmp_path / "alerts.parquet").read_bytes(), "alerts.parquet")
    found = light_curves(columns_of(tmp_path / "alerts.parquet"))
    assert len(found) == len(export.light_curves) == len(packets)
    for ours, theirs in zip(found, export.light_curves.values(), strict=True):
        theirs.points.flags.writeable = True
        theirs.points["candid"] = 0  # not handed over to an engine
        assert ours.points.tobytes() == theirs.points.tobytes()


def columns_of(path: Path) -> dict[str, list[np.ndarray]]:
    rows = pq.read_table(path).to_pylist()
    points = [[*(row["prv_candidates"] or ()), row["candidate"]] for row in rows]
    names = {"jd": "jd", "fid": "band", "magpsf": "mag", "sigmapsf": "magerr", "isdiffpos": "sign"}
    names |= {"diffmaglim": "limit", "magnr": "magnr"}
    return {ours: [np.array([point[name] for point in some]) for some in points] for name, ours in names.items()}


def test_a_point_that_can_not_be_read_is_left_out() -> None:
    (curve, nothing) = light_curves(
        {
            "mjd": [[60000.0, 60001.0, np.nan, 60003.0, 60004.0], None],
            "band": [["g", "zr", "g", "H", "ZTF_g"], None],
            "mag": [[18.0, np.nan, 19.0, 19.0, 99.0], None],
            "limit": [[np.nan, 20.5, np.nan, np.nan, np.nan], None],
        }
    )
    assert curve.mjd.tolist() == [60000.0, 60001.0]
    assert (curve.n_detections, len(curve), len(nothing)) == (1, 2, 0)


def test_columns_that_do_not_fit_one_another_are_refused() -> None:
    with pytest.raises(ColumnError, match=r"mag has 1 values in row 1, mjd has 2"):
        light_curves({"mjd": [[60000.0, 60001.0]], "band": [["g", "g"]], "mag": [[18.0]]})
    with pytest.raises(ColumnError, match=r"band is not there; needed are mjd or jd, band, mag"):
        light_curves({"mjd": [[60000.0]], "mag": [[18.0]]})


def test_arrays_that_have_become_text_are_told() -> None:
    with pytest.raises(ColumnError, match=r"mjd holds text, '\[60000\.\]', instead of an array: .*convert-string"):
        light_curves({"mjd": ["[60000.]"], "band": ["['g']"], "mag": ["[18.]"]})


def test_surroundings_count(packets: dict[str, bytes], tmp_path: Path) -> None:
    write_alerts(packets, tmp_path / "alerts.parquet")
    columns = columns_of(tmp_path / "alerts.parquet")
    candidates = [row["candidate"] for row in pq.read_table(tmp_path / "alerts.parquet").to_pylist()]
    context = {
        name: np.array([each.get(name) for each in candidates], float) for name in (*PACKET_COLUMNS, "ra", "dec")
    }
    alerts = [Decoder().decode(packet) for packet in packets.values()]
    expected = Classifier(load_bundle(), threads=1).classify(
        [alert.light_curve for alert in alerts], [alert.context for alert in alerts]
    )
    for ours, theirs in zip(predictions(columns, context), expected, strict=True):
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-5)
        assert ours.flags == theirs.flags
    alone = predictions(columns)
    pairs = zip(alone, expected, strict=True)
    assert any(not np.allclose(ours.probabilities, theirs.probabilities) for ours, theirs in pairs)
