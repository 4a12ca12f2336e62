"""`classify`: files in, one line per object out, nothing lost and nothing silent."""

import csv
import functools
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.alerts import Decoder
from service.config import Device
from service.inference.bundle import default_bundle_folder, load_bundle
from service.inference.classifier import Classifier
from service.photometry import Context, merge
from service.photometry.context import newest
from service.photometry.table import light_curves, read_points_table
from tests.alerts.atlas_tables import exposures, write_table
from tests.exports.samples import IRSA, NAME, SAMPLES
from tests.inference.tiny_bundle import write_bundle_with_context


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_object_of_a_folder_gets_one_line(run, night):
    with (night / "truth.csv").open() as truth:
        objects = {row["object_id"] for row in csv.DictReader(truth)}
    done = run("classify", night, "--format", "jsonl")
    answers = lines(done.stdout)
    assert {answer["object_id"] for answer in answers} == objects
    assert len(answers) == len(objects)
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert sum(answer["superclass_probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert answer["top_class"] == max(answer["probabilities"], key=answer["probabilities"].get)
        assert sum(answer["n_detections"].values()) >= 1
        assert {"flags", "classifier", "version", "conformal_set", "ood_score"} <= answer.keys()
    (summary,) = lines(done.stderr)
    assert summary["objects"] == len(objects)
    assert summary["packets"] == 40
    assert summary["unreadable"] == 0


def test_packets_of_one_object_are_merged_and_cut_at_the_kth_detection(run, tmp_path):
    table = pa.table({"object_id": ["sn"] * 4, "mjd": [1.0, 2.0, 3.0, 4.0], "band": ["g", "r", "g", "r"],
                      "mag": [None, 19.0, 18.5, 18.0], "limit": [20.5, None, None, None]})  # fmt: skip
    early, late = tmp_path / "early.parquet", tmp_path / "late.parquet"
    pq.write_table(table.slice(0, 3), early)
    pq.write_table(table.slice(1, 3), late)
    (answer,) = lines(run("classify", early, late, "--format", "jsonl").stdout)
    assert sum(answer["n_detections"].values()) == 3
    assert answer["n_upper_limits"] == {"g": 1}
    (answer,) = lines(run("classify", early, late, "--format", "jsonl", "--max-detections", "1").stdout)
    assert sum(answer["n_detections"].values()) == 1


def test_what_cannot_be_read_is_told_and_does_not_stop_the_rest(run, night, tmp_path):
    packet = next(night.glob("*.avro"))
    (tmp_path / "half.avro").write_bytes(packet.read_bytes()[:30_000])
    (tmp_path / "whole.avro").write_bytes(packet.read_bytes())
    table = tmp_path / "table.csv"
    table.write_text("object_id,mjd\nx,1\n")
    done = run("classify", tmp_path, table, "--format", "csv", status=1)
    assert len(list(csv.DictReader(io.StringIO(done.stdout)))) == 1
    half, columns, summary = lines(done.stderr)
    assert half["source"].endswith("half.avro")
    assert half["code"] == "truncated"
    assert columns["code"] == "unreadable_table"
    assert "needed are a time (mjd or jd), band (or fid, filter) and mag" in columns["message"]
    assert summary["unreadable"] == 2


def test_where_nothing_can_be_read_the_status_is_1(run, tmp_path):
    (tmp_path / "x.avro").write_bytes(b"not a packet")
    done = run("classify", tmp_path, status=1)
    assert done.stdout == ""
    assert lines(done.stderr)[0]["code"] == "bad_magic"


@pytest.mark.parametrize("name", ["points.list", "points.csv.gz"])
def test_of_what_is_no_packet_it_is_told_what_can_be_read(run, tmp_path, name):
    (tmp_path / name).write_text("object_id,mjd,band,mag\nx,60000.5,g,19\n")
    report, _ = lines(run("classify", tmp_path / name, status=1).stderr)
    assert ".avro" in report["message"]
    assert ".parquet" in report["message"]


def test_a_folder_without_packets_is_reported(run, tmp_path):
    (tmp_path / "points.csv").write_text("object_id,mjd,band,mag\nx,60000.5,g,19\n")
    report, summary = lines(run("classify", tmp_path, status=1).stderr)
    assert (report["source"], report["code"]) == (str(tmp_path), "no_packets")
    assert summary["unreadable"] == 1


def test_the_ending_of_a_table_may_be_in_capitals(run, tmp_path):
    (tmp_path / "POINTS.CSV").write_text("object_id,mjd,band,mag\nx,60000.5,g,19\n")
    (answer,) = lines(run("classify", tmp_path / "POINTS.CSV", "--format", "jsonl").stdout)
    assert answer["object_id"] == "x"


def test_the_table_is_for_people(run, night):
    out = run("classify", night).stdout
    assert "conformal set" in out
    assert "ZTF" in out


def test_a_missing_path_is_wrong_usage(run):
    assert "nowhere" in run("classify", "nowhere", status=2).stderr


@pytest.mark.real_data
def test_every_good_real_packet_is_classified_and_every_bad_one_reported(run, real_data):
    with (real_data / "alerts" / "index.csv").open() as index:
        rows = list(csv.DictReader(index))
    good = [row for row in rows if row["valid"] == "True"]
    bad = [row for row in rows if row["valid"] != "True"]
    done = run("classify", real_data / "alerts", "--format", "jsonl", status=1 if bad else 0)
    assert {answer["object_id"] for answer in lines(done.stdout)} == {row["objectId"] for row in good}
    *reports, summary = lines(done.stderr)
    assert sorted(report["source"].rpartition("/")[2] for report in reports) == sorted(
        row["file"].rpartition("/")[2] for row in bad
    )
    assert all(report["code"] and report["message"] for report in reports)
    assert (summary["packets"], summary["unreadable"]) == (len(good), len(bad))


def test_an_atlas_table_joins_the_packets_of_its_position(run, night, tmp_path):
    packet = next(night.glob("*.avro"))
    alert = Decoder().decode(packet.read_bytes())
    here = exposures((alert.mjd, "o", 300.0), (alert.mjd + 1, "c", 5.0), (alert.mjd + 2, "c", 500.0), chi_n=[1, 1, 9])
    table = write_table(tmp_path / "job1.txt", here, alert.ra, alert.dec + 1.0 / 3600)
    elsewhere = write_table(tmp_path / "elsewhere.txt", here, alert.ra, alert.dec + 5.0 / 3600)
    (tmp_path / "damaged.txt").write_text("###MJD uJy duJy F\n60000.5 1 2\n")
    done = run("classify", elsewhere, table, packet, tmp_path / "damaged.txt", "--format", "jsonl", status=1)
    joined, alone = (
        next(answer for answer in lines(done.stdout) if answer["object_id"] == name)
        for name in (alert.object_id, "elsewhere")
    )
    assert joined["n_detections"]["o"] == 1
    assert joined["n_upper_limits"]["c"] == 1
    assert "unknown_band" in joined["flags"]
    assert alone["n_detections"] == {"o": 1}
    assert alone["top_class"] is None
    assert joined["top_class"] in joined["probabilities"]
    damaged, summary = lines(done.stderr)
    assert "no column err, chi/N, RA, Dec, Sky" in damaged["message"]
    assert (summary["objects"], summary["tables"], summary["unreadable"]) == (2, 2, 1)


def test_an_atlas_table_joins_a_points_table_by_name(run, tmp_path):
    (tmp_path / "points.csv").write_text("object_id,mjd,band,mag\nmine,60000.1,g,19\nmine,60001.1,r,18.5\n")
    table = write_table(tmp_path / "mine.csv", exposures((60000.5, "o", 300.0)), 10.0, 20.0, ",")
    (answer,) = lines(run("classify", tmp_path / "points.csv", table, "--format", "jsonl").stdout)
    assert answer["n_detections"] == {"g": 1, "r": 1, "o": 1}


def test_where_nothing_was_looked_at_no_class_is_named(run, tmp_path):
    """Given photometry of ATLAS alone, which the shipped model does not read, then there is a dash, or nothing."""
    table = write_table(tmp_path / "alone.csv", exposures((60000.5, "o", 300.0)), 10.0, 20.0, ",")
    (row,) = csv.DictReader(io.StringIO(run("classify", table, "--format", "csv").stdout))
    assert row["top_class"] == ""
    assert "no_detection" in row["flags"]
    (line,) = (line for line in run("classify", table).stdout.splitlines() if line.startswith(" alone"))
    assert line.split()[2:5] == ["1", "–", "–"]


@pytest.fixture
def with_context(tmp_path):
    return write_bundle_with_context(tmp_path / "with_context")


def judged(folder, light_curve, known):
    """What the bundle says of a light curve in these surroundings."""
    classifier = Classifier(load_bundle(folder), Device.CPU, 1)
    (prediction,) = classifier.classify([light_curve], [None if known is None else Context.of(known)])
    return pytest.approx(prediction.fields()["probabilities"], abs=1e-6)


def test_a_context_table_gives_each_object_its_surroundings(run, tmp_path, with_context):
    """Given a points table and several rows of context for an object, then it is judged with the newest, also where its
    light curve is cut.
    """
    points, context = tmp_path / "points.parquet", tmp_path / "context.csv"
    pq.write_table(
        pa.table({"object_id": ["a", "b", "a", "b"], "mjd": [1.0, 1.0, 3.0, 3.0], "band": ["g", "r", "g", "r"],
                  "mag": [19.0, 19.0, 18.5, 18.0]}), points)  # fmt: skip
    context.write_text(
        "object_id,jd,sgscore1,distnr,gal_b\na,2400003.5,0.25,1.5,-20\na,2400001.5,0.75,,-20\nc,2400001.5,0.9,,\n"
    )
    curves = dict(light_curves(read_points_table(points)))
    known = {"a": {"sgscore1": 0.25, "distnr": 1.5, "gal_b": 20.0}, "b": None}
    for cut, more in ((9, ()), (1, ("--max-detections", "1"))):
        done = run(
            "classify", points, "--context", context, "--bundle", with_context, "--format", "jsonl", *more
        )  # fmt: skip
        answers = {answer["object_id"]: answer["probabilities"] for answer in lines(done.stdout)}
        assert answers.keys() == known.keys()
        for name, probabilities in answers.items():
            assert probabilities == judged(with_context, curves[name].first_detections(cut), known[name])
        assert len(lines(done.stderr)) == 1  # the summary


def test_packets_bring_their_own_surroundings_unless_a_table_gives_others(run, night, tmp_path, with_context):
    decoder = Decoder()
    alerts = [decoder.decode(path.read_bytes()) for path in sorted(night.glob("*.avro"))]
    names = [alert.object_id for alert in alerts]
    object_id = max(sorted(set(names)), key=names.count)
    mine = [alert for alert in alerts if alert.object_id == object_id]
    curve = merge([alert.light_curve for alert in mine])
    said = functools.reduce(newest, [alert.context for alert in mine]).known()

    def asked(*more):
        done = run("classify", night, "--bundle", with_context, "--format", "jsonl", *more)
        return {answer["object_id"]: answer["probabilities"] for answer in lines(done.stdout)}

    assert asked()[object_id] == judged(with_context, curve, said)
    context = tmp_path / "context.csv"
    context.write_text(f"object_id,sgscore1\n{object_id},0.875\n")
    other = asked("--context", context)
    assert other[object_id] == judged(with_context, curve, {"sgscore1": 0.875})
    assert other[object_id] != judged(with_context, curve, said)


def test_a_column_that_the_model_takes_and_no_row_has_is_told(run, night, tmp_path, with_context):
    """Given a misspelt column beside good ones, then the objects are answered, and the column's right name is told."""
    context = tmp_path / "context.csv"
    context.write_text("object_id,sgscore_1,distnr,gal_b\nnobody,0.9,1.5,20\n")
    first, *_ = lines(run("classify", night, "--context", context, "--bundle", with_context).stderr)
    assert (first["source"], first["code"]) == (str(context), "context_unknown")
    assert first["message"] == "no row has a value of sgscore1, which tiny-context 1.0.0 takes"


def test_context_that_can_not_be_used_is_told(run, night, tmp_path, with_context):
    context = tmp_path / "context.csv"
    context.write_text("object_id,sgscore1,distnr,gal_b\nnobody,0.9,1.5,20\n")
    first, _ = lines(run("classify", night, "--context", context, "--bundle", with_context).stderr)
    assert (first["source"], first["code"]) == (str(context), "no_context")
    context.write_text("object_id,sgscore1\n")
    codes = [
        line.get("code")
        for line in lines(run("classify", night, "--context", context, "--bundle", with_context).stderr)
    ]
    assert "no_context" in codes
    alone = default_bundle_folder().parent / "alert-clr-1.2.0"
    plain = run("classify", night, "--format", "jsonl", "--bundle", alone)
    done = run("classify", night, "--format", "jsonl", "--context", context, "--bundle", alone)
    assert done.stdout == plain.stdout
    assert lines(done.stderr)[0]["code"] == "context_not_taken"
    context.write_text("object_id,redshift\nnobody,0.9\n")
    refused = run("classify", night, "--context", context, status=2)
    assert "context.csv has no column of context" in refused.stderr


@pytest.mark.parametrize("name", SAMPLES)
def test_an_export_of_another_broker_is_read_as_it_is(run, tmp_path, name):
    data, read_as = SAMPLES[name]
    (tmp_path / name).write_bytes(data)
    done = run("classify", tmp_path / name, "--format", "jsonl", status=1 if "zfps" in name else 0)  # it has a bad row
    [answer] = lines(done.stdout)
    assert answer["object_id"] == NAME
    assert sum(answer["n_detections"].values()) == 3
    summary = lines(done.stderr)[-1]
    if read_as == "a points table" and name.endswith((".csv", ".parquet")):
        return
    assert summary["read_as"] == {read_as: 1}


def test_total_magnitudes_are_refused_with_the_reason(run, tmp_path):
    (tmp_path / "irsa.csv").write_bytes(IRSA)
    refused, _ = lines(run("classify", tmp_path / "irsa.csv", status=1).stderr)
    assert "all the light of a source" in refused["message"]


def test_a_bad_row_is_told_and_the_rest_is_classified(run, tmp_path):
    rows = "x,61000.2,r,19.2\nx,61001.2,g,bright\nx,61002.2,r,19.1\n"
    (tmp_path / "mine.csv").write_text("object_id,mjd,band,mag\n" + rows)
    done = run("classify", tmp_path / "mine.csv", "--format", "jsonl", status=1)  # not all of it was read
    row, summary = lines(done.stderr)
    assert row["code"] == "skipped_row"
    assert row["message"] == "row 2: mag is bright, not a number"
    assert summary["skipped_rows"] == 1
    assert lines(done.stdout)[0]["n_detections"] == {"r": 2}
    refused, _ = lines(run("classify", "--strict", tmp_path / "mine.csv", status=1).stderr)
    assert refused["message"] == "mine.csv: row 2: mag is bright, not a number"
