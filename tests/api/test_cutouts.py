"""Pictures by HTTP: as sent, and as numbers to draw; a hostile file is refused within bounds."""

from __future__ import annotations

import gzip
import io
from typing import Any

import fastavro
import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.alerts import Decoder
from service.api.fits import LARGEST_SIDE, MOST_UNPACKED, FitsError, read_picture
from service.config import Settings
from service.inference.registry import ModelRegistry
from service.simulate import SimulatedAlert
from service.simulate.cutouts import fits
from service.store import Store
from service.store.interface import StoredCutouts
from service.stream.batch import Batch, Message
from service.stream.pipeline import Pipeline
from tests.api.examples import MakeClient

astropy_fits = pytest.importorskip("astropy.io.fits", reason="astropy is not installed")


def stream(night: list[SimulatedAlert], store: Store, models: ModelRegistry, most: int) -> None:
    pipeline = Pipeline(Decoder(), store, models, Settings().quality, cutouts_bytes=most)
    pipeline.run(Batch.of([Message("night", 0, i, alert.packet, 1e9, 1e9) for i, alert in enumerate(night)]))


def test_the_newest_pictures_are_served_as_sent_and_as_numbers(
    make_client: MakeClient, night: list[SimulatedAlert], store: Store, models: ModelRegistry
) -> None:
    object_id = max({alert.object_id for alert in night[:60]}, key=[a.object_id for a in night[:60]].count)
    mine = [alert for alert in night[:60] if alert.object_id == object_id]
    newest = max(mine, key=lambda alert: (alert.mjd, alert.candid))
    stream(night[:60], store, models, 10**9)
    client = make_client(store={"cutouts_bytes": 10**9})
    packet: Any = next(fastavro.reader(io.BytesIO(newest.packet)))
    told = client.get(f"/v1/objects/{object_id}").json()["cutouts"]
    assert told == {
        "candid": newest.candid,
        "mjd": pytest.approx(newest.mjd),
        "kinds": ["science", "template", "difference"],
    }
    for kind in told["kinds"]:
        sent = packet[f"cutout{kind.title()}"]["stampData"]
        answer = client.get(f"/v1/objects/{object_id}/cutouts/{kind}")
        assert answer.content == sent
        assert f"{newest.candid}-{kind}.fits.gz" in answer.headers["content-disposition"]
        numbers = client.get(f"/v1/objects/{object_id}/cutouts/{kind}?format=json").json()
        with astropy_fits.open(io.BytesIO(gzip.decompress(sent))) as file:
            expected = file[0].data
        assert (numbers["height"], numbers["width"]) == expected.shape
        np.testing.assert_array_equal(np.float32(numbers["pixels"]).reshape(expected.shape), expected)


def test_without_the_setting_nothing_is_kept_and_the_answer_says_so(
    client: TestClient, night: list[SimulatedAlert], store: Store, models: ModelRegistry
) -> None:
    stream(night[:3], store, models, 0)
    object_id = night[0].object_id
    assert client.get(f"/v1/objects/{object_id}").json()["cutouts"] is None
    answer = client.get(f"/v1/objects/{object_id}/cutouts/science")
    assert answer.status_code == 404
    assert "store.cutouts_bytes" in answer.json()["detail"]


def test_a_packet_that_is_sent_is_answered_with_its_pictures_when_asked(
    client: TestClient, night: list[SimulatedAlert]
) -> None:
    answer = client.post("/v1/classify/alert?cutouts=true", content=night[0].packet).json()
    assert set(answer["cutouts"]) == {"science", "template", "difference"}
    assert len(answer["cutouts"]["science"]["pixels"]) == 63 * 63
    assert "cutouts" not in client.post("/v1/classify/alert", content=night[0].packet).json()


def test_a_picture_that_is_none_is_told(client: TestClient, store: Store) -> None:
    store.keep_cutouts([StoredCutouts("broken", 1, 60000.0, b"no picture", b"", b"")], 10**6)
    answer = client.get("/v1/objects/broken/cutouts/science?format=json")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:alert-classifier:problem:unreadable-cutout")
    assert client.get("/v1/objects/broken/cutouts/template").status_code == 404


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_every_type_of_pixels_is_read_as_astropy_reads_it(dtype: str) -> None:
    image = (np.arange(12).reshape(3, 4) * 3).astype(dtype)
    file = astropy_fits.HDUList([astropy_fits.PrimaryHDU(), astropy_fits.ImageHDU(image)])
    if dtype == "i2":
        file[1].header["BLANK"] = 9
    header = file[1].header
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    # turned by 90 degrees: north is to the right, east up
    header.update({"CD1_1": 0.0, "CD1_2": 2e-4, "CD2_1": 2e-4, "CD2_2": 0.0})
    sink = io.BytesIO()
    file.writeto(sink)
    read = read_picture(sink.getvalue())
    expected = image.astype(np.float32)
    if dtype == "i2":
        expected[image == 9] = np.nan
    np.testing.assert_array_equal(read.pixels, expected)
    assert read.north == pytest.approx((1, 0))
    assert read.east == pytest.approx((0, 1))
    assert read.scale == pytest.approx(0.72)


def test_hostile_files_are_refused_within_bounds() -> None:
    good = fits(np.zeros((5, 5), np.float32))
    bomb = gzip.compress(bytes(MOST_UNPACKED + 10), 1)
    wide = good.replace(b"NAXIS1  =                    5", f"NAXIS1  = {LARGEST_SIDE + 1:20d}".encode())
    endless = good[:80] * 10_000
    for data in (b"", b"SIMPLE", good[:100], good[:2900], bomb, bomb[:50], wide, endless, good.replace(b"-32", b"  7")):
        with pytest.raises(FitsError):
            read_picture(data)
    assert read_picture(good).pixels.shape == (5, 5)
