"""Which survey a record is of: ours are read, whoever wrote them again; others are refused by name."""

import copy
from pathlib import Path
from typing import Any

import pytest

from service.alerts import AlertError, Decoder
from tests.alerts.ztf_packets import an_alert, assert_same, packet, schema

PRECISE = {"candidate.jd": "double", "candid": "long", "candidate.candid": "long", "prv_candidates.jd": "double",
           "prv_candidates.candid": "long", "fp_hists.jd": "double"}  # fmt: skip


def refusal(raw: bytes) -> AlertError:
    with pytest.raises(AlertError) as refused:
        Decoder().decode(raw)
    (same,) = Decoder().decode_all(raw)
    assert str(same) == str(refused.value)
    return refused.value


def renamed(name: str) -> dict[str, Any]:
    changed = schema()
    changed["name"] = name
    changed["fields"][-1]["type"] = ["null", changed["fields"][-2]["type"][1]["name"]]
    return changed


@pytest.mark.parametrize("name", ["topLevelRecord", "alert", "ztf.alert", "ztf.alert.v4"])
def test_a_packet_of_ztf_is_read_whoever_wrote_it_again(name: str) -> None:
    assert_same(Decoder().decode(packet(an_alert(), renamed(name))), an_alert())


def test_another_namespace_is_another_survey() -> None:
    error = refusal(packet(an_alert(), renamed("winter.alert")))
    assert error.code == "unsupported_survey"
    assert "record alert of namespace winter" in str(error)


def test_a_record_without_namespace_is_not_ztf_for_want_of_another() -> None:
    fields = [
        {"name": "candidate", "type": {"type": "record", "name": "c", "fields": [{"name": "jd", "type": "double"}]}}
    ]
    error = refusal(
        packet({"candidate": {"jd": 2460500.5}}, {"type": "record", "name": "topLevelRecord", "fields": fields})
    )
    assert error.code == "unsupported_survey"
    assert "record topLevelRecord without namespace, without objectId" in str(error)
    assert refusal(packet("text", "string")).code == "unsupported_survey"  # type: ignore[arg-type]


def test_the_name_of_the_object_tells_where_the_record_does_not() -> None:
    written_by = renamed("topLevelRecord")
    written_by["fields"].append({"name": "publisher", "type": "string"})
    error = refusal(packet(an_alert() | {"objectId": "WNTR24abcde", "publisher": "WINTER-mirar"}, written_by))
    assert error.code == "unsupported_survey"
    assert "publisher WINTER-mirar, objectId 'WNTR24abcde'" in str(error)


def narrowed(path: str) -> dict[str, Any]:
    """The usual schema with `path` as a type that rounds its values."""
    changed = schema()
    level = changed["fields"]
    *parents, name = path.split(".")
    for parent in parents:
        kind = next(field["type"] for field in level if field["name"] == parent)
        level = (kind if isinstance(kind, dict) else kind[1]["items"])["fields"]
    field = next(field for field in level if field["name"] == name)
    narrow = "float" if PRECISE[path] == "double" else "double"
    field["type"] = ["null", narrow] if isinstance(field["type"], list) else narrow
    return changed


@pytest.mark.parametrize("path", PRECISE)
@pytest.mark.parametrize("compiled", [True, False])
def test_a_type_that_rounds_its_values_is_refused_with_the_name_of_the_field(path: str, compiled: bool) -> None:
    written_by = narrowed(path)
    record = copy.deepcopy(an_alert())
    if not compiled:
        next(field for field in written_by["fields"][3]["type"]["fields"] if field["name"] == "nbad")["type"] = (
            "boolean"
        )
        record["candidate"]["nbad"] = False
    error = refusal(packet(record, written_by))
    assert error.code == "unsupported_schema"
    assert f"{path} is " in str(error).replace("[]", "")
    assert f"must be {PRECISE[path]}" in str(error)


@pytest.mark.real_data
def test_every_foreign_packet_is_refused_by_its_survey(real_data: Path) -> None:
    said = {path.stem: refusal(path.read_bytes()) for path in sorted((real_data / "foreign").glob("*.avro"))}
    assert {error.code for error in said.values()} == {"unsupported_survey"}
    named = {
        "ampel_lsst_report": "LSSTReport", "askap": "askap", "babamul_ztf_alert": "BabamulZtfAlert", "decam": "desirt",
        "elasticc_0_9": "elasticc.v0_9", "lsst_old_ten_records": "lsst", "pgir": "pgir", "roman_rapid": "rapid.v00_02",
        "winter_2022": "winter", "winter_2024": "winter",
    }  # fmt: skip
    for name, part in named.items():
        assert part in str(said[name])
