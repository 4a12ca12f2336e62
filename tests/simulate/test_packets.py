"""Simulated packets are, to whoever reads them, packets of the survey."""

import gzip
import io
import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from fastavro.validation import validate

from service.photometry.time import JD_OF_MJD_ZERO
from service.simulate import SimulatedAlert, Sky, simulate
from service.simulate.packets import HISTORY_DAYS, read_schema

Record = dict[str, Any]
FIVE_SIGMA_ERROR = 2.5 / np.log(10) / 5  # mag: the error of a magnitude at a signal-to-noise ratio of 5


def test_the_schema_holds_every_record_of_the_night(records: list[Record]) -> None:
    schema = fastavro.parse_schema(read_schema())
    for record in records[:50]:
        validate(record, schema)


def test_sizes_are_those_of_real_packets(alerts: list[SimulatedAlert]) -> None:
    sizes = [len(alert.packet) for alert in alerts]
    assert min(sizes) > 50_000
    assert max(sizes) < 110_000
    assert 60_000 < np.median(sizes) < 90_000
    header = alerts[0].packet.index(b"avro.codec")
    assert 22_000 < header < 30_000


def test_every_detection_stands_out_by_five_sigma(records: list[Record]) -> None:
    errors = [c["sigmapsf"] for record in records for c in detections(record)]
    assert len(errors) > 1000
    assert max(errors) <= FIVE_SIGMA_ERROR * (1 + 1e-6)
    assert min(errors) > 0


def test_what_does_not_stand_out_is_an_upper_limit(records: list[Record]) -> None:
    limits = [p for record in records for p in record["prv_candidates"] or [] if p["magpsf"] is None]
    assert limits
    for limit in limits[:500]:
        assert 16 < limit["diffmaglim"] < 22
        assert limit["candid"] is limit["isdiffpos"] is limit["ra"] is limit["sigmapsf"] is None


def test_history_reaches_back_thirty_days_in_time_order(records: list[Record]) -> None:
    longest = 0.0
    for record in records:
        now = record["candidate"]["jd"]
        epochs = [p["jd"] for p in record["prv_candidates"] or []]
        assert epochs == sorted(epochs)
        assert all(now - HISTORY_DAYS <= jd < now for jd in epochs)
        assert [p["jd"] for p in record["fp_hists"] or []] == epochs[::-1], "forced photometry runs newest first"
        longest = max(longest, now - min(epochs, default=now))
    assert longest > 25


def test_an_alert_is_repeated_word_for_word_in_later_ones(alerts: list[SimulatedAlert], records: list[Record]) -> None:
    """Whatever `prv_candidates` says of an earlier detection is what its own alert said."""
    announced = {alert.candid: record["candidate"] for alert, record in zip(alerts, records, strict=True)}
    repeats = 0
    for record in records:
        for echo in record["prv_candidates"] or []:
            first = announced.get(echo["candid"])
            if first is not None:
                said = echo | {"isdiffpos": {"1": "t", "0": "f"}.get(echo["isdiffpos"], echo["isdiffpos"])}
                different = {k for k, v in said.items() if v != first[k]} - {"pdiffimfilename"}
                assert different <= {"ssdistnr", "ssmagnr", "ssnamenr"}  # known when it was new, left out afterwards
                repeats += 1
    assert repeats > 100


def test_detections_of_the_same_night_have_digits_for_their_sign(records: list[Record]) -> None:
    seen = set()
    for record in records:
        for echo in record["prv_candidates"] or []:
            if echo["magpsf"] is not None:
                same_night = echo["nid"] == record["candidate"]["nid"]
                assert echo["isdiffpos"] in (("1", "0") if same_night else ("t", "f"))
                seen.add(echo["isdiffpos"])
    assert seen == {"1", "0", "t", "f"}


def test_no_later_packet_adds_or_drops_a_detection(alerts: list[SimulatedAlert], records: list[Record]) -> None:
    """Between two alerts of an object lie no detections that were not alerts themselves."""
    of_object: dict[str, list[Record]] = defaultdict(list)
    for alert, record in zip(alerts, records, strict=True):
        of_object[alert.object_id].append(record)
    followed = 0
    for packets in of_object.values():
        for before, after in pairwise(packets):
            between = [
                p["candid"]
                for p in after["prv_candidates"]
                if p["magpsf"] is not None and p["jd"] >= before["candidate"]["jd"]
            ]
            assert between == [before["candid"]]
            assert after["candidate"]["ndethist"] == before["candidate"]["ndethist"] + 1
            assert after["candidate"]["jdstarthist"] == before["candidate"]["jdstarthist"]
            followed += 1
    assert followed > 100


def test_forced_photometry_agrees_with_the_detections(records: list[Record]) -> None:
    """In DN with its zero point, as the survey publishes it."""
    differences, failed = [], Counter[str]()
    for record in records:
        forced = {(p["jd"], p["fid"]): p for p in record["fp_hists"] or []}
        for p in record["prv_candidates"] or []:
            measured = forced[p["jd"], p["fid"]]
            if measured["procstatus"] != "0":
                assert measured["forcediffimflux"] == measured["forcediffimfluxunc"] == -99999
                failed[measured["procstatus"]] += 1
            elif p["magpsf"] is not None:
                sign = 1 if p["isdiffpos"] in ("t", "1") else -1
                dn = sign * 10 ** (-0.4 * (p["magpsf"] - measured["magzpsci"]))
                differences.append((measured["forcediffimflux"] - dn) / measured["forcediffimfluxunc"])
    assert failed.keys() == {"55", "56", "61"}
    assert np.std(differences) < 0.5
    assert abs(np.mean(differences)) < 0.05


def test_names_numbers_and_places_hold_together(alerts: list[SimulatedAlert], records: list[Record]) -> None:
    assert len({alert.candid for alert in alerts}) == len(alerts)
    for alert, record in zip(alerts, records, strict=True):
        candidate = record["candidate"]
        assert record["objectId"] == alert.object_id
        assert record["candid"] == candidate["candid"] == alert.candid
        assert candidate["jd"] == pytest.approx(alert.mjd + JD_OF_MJD_ZERO, abs=1e-7)
        assert candidate["pid"] == alert.candid // 1_000_000
        assert candidate["nid"] == int(candidate["jd"] - 2_457_754.5)
        assert len(alert.object_id) == 12
        assert 18 <= int(alert.object_id[3:5]) <= 26
        assert 0 <= candidate["ra"] < 360
        assert -32 < candidate["dec"] < 90
        assert candidate["fid"] in (1, 2, 3)
        assert candidate["isdiffpos"] in ("t", "f")
    assert records[0]["publisher"] != "ZTF (www.ztf.caltech.edu)", "nobody shall take these for observations"


def test_strays_show_what_the_quality_cuts_look_for(alerts: list[SimulatedAlert], records: list[Record]) -> None:
    scores: dict[str, list[float]] = defaultdict(list)
    seen: dict[str, int] = defaultdict(int)
    for alert, record in zip(alerts, records, strict=True):
        candidate = record["candidate"]
        seen[alert.object_id] += 1
        if alert.true_class == "SSO":
            assert 0 <= candidate["ssdistnr"] < 5
            assert candidate["ssnamenr"] == "simulated"
            assert not [p for p in record["prv_candidates"] or [] if p["magpsf"] is not None]
        else:
            assert candidate["ssdistnr"] == -999.0
            scores["bogus" if alert.true_class == "BOGUS" else "real"].append(candidate["drb"])
    assert all(seen[a.object_id] == 1 for a in alerts if a.true_class in ("SSO", "BOGUS"))
    assert np.median(scores["bogus"]) < 0.3 < 0.9 < np.median(scores["real"])
    share = sum(a.true_class == "SSO" for a in alerts) / len(alerts)
    assert 0.02 < share < 0.09


def test_cutouts_are_gzipped_fits_images(records: list[Record]) -> None:
    for record in records[:5]:
        for name in ("cutoutScience", "cutoutTemplate", "cutoutDifference"):
            stamp = record[name]["stampData"]
            assert 11_000 < len(stamp) < 17_000
            content = gzip.decompress(stamp)
            assert len(content) % 2880 == 0
            cards = [content[i : i + 80].decode("ascii") for i in range(0, 2880, 80)]
            values = {card[:8].strip(): card[10:].strip() for card in cards if "=" in card}
            assert (values["SIMPLE"], values["BITPIX"], values["NAXIS1"], values["NAXIS2"]) == ("T", "-32", "63", "63")
            assert "END".ljust(80) in cards
            image = np.frombuffer(content, ">f4", 63 * 63, 2880).reshape(63, 63)
            assert np.isfinite(image).all()
            if name == "cutoutDifference":
                positive = record["candidate"]["isdiffpos"] == "t"
                assert (image[29:34, 29:34].mean() > 0) == positive


def test_astropy_opens_the_cutouts(records: list[Record]) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    stamp = gzip.decompress(records[0]["cutoutScience"]["stampData"])
    with fits.open(io.BytesIO(stamp)) as opened:
        opened.verify("exception")
        assert opened[0].data.shape == (63, 63)


def test_version_3_has_no_forced_photometry() -> None:
    (alert,) = simulate(1, seed=4, schema_version="3.3")
    (record,) = reader = list(fastavro.reader(io.BytesIO(alert.packet)))
    assert reader
    assert record["schemavsn"] == "3.3"
    assert "fp_hists" not in record
    schema = json.loads(fastavro.reader(io.BytesIO(alert.packet)).metadata["avro.schema"])
    assert schema["version"] == "3.3"
    candidate = next(field for field in schema["fields"] if field["name"] == "candidate")["type"]
    limit = next(field for field in candidate["fields"] if field["name"] == "diffmaglim")
    assert limit["type"] == ["float", "null"]


@pytest.mark.real_data
@pytest.mark.parametrize(("version", "folder"), [("4.02", "v4.02_fp"), ("3.3", "v3.3")])
def test_fields_and_types_are_those_of_the_survey_and_the_texts_are_not(
    version: str, folder: str, real_data: Path
) -> None:
    packet = min((real_data / "alerts" / folder).glob("*.avro"))
    with packet.open("rb") as stream:
        real = json.loads(fastavro.reader(stream).metadata["avro.schema"])
    ours = read_schema(version)
    assert structure(ours) == structure(real)
    assert not texts(ours) & texts(real)


def test_a_version_that_is_not_simulated_is_named() -> None:
    with pytest.raises(ValueError, match=r"'1\.8'.*4\.02, 3\.3"):
        Sky(0, schema_version="1.8")


def detections(record: Record) -> list[Record]:
    return [record["candidate"], *(p for p in record["prv_candidates"] or [] if p["magpsf"] is not None)]


def structure(schema: Any) -> Any:
    """Names, types and their order, without texts and defaults."""
    if isinstance(schema, list):
        return [structure(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if schema["type"] == "array":
        return "array", structure(schema["items"])
    fields = [(field["name"], structure(field["type"])) for field in schema["fields"]]
    return schema["name"].rpartition(".")[2], schema["version"], fields


def texts(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(texts, schema))
    if not isinstance(schema, dict):
        return set()
    own = {schema["doc"]} if "doc" in schema else set()
    return own | texts(list(schema.values()))
