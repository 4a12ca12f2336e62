"""The survey of a writer schema's records, by what the schema declares, never by guessing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from service.alerts import atlas, schema, ztf
from service.alerts.alert import Alert, AlertError
from service.alerts.projection import Cells, Projection

# Fields by which a record without a namespace (Spark names all of them `topLevelRecord`) counts as a ZTF alert.
_ZTF_FIELDS: Final = ("objectId", "candidate.jd", "candidate.fid", "candidate.magpsf", "prv_candidates.fid")
_ZTF_NAME: Final = re.compile("ZTF[0-9]{2}[a-z]{7}")
_READ: Final = (
    "not of a survey that is read; these are ZTF (record ztf.alert, or one like it without a namespace) and ATLAS"
)


@dataclass(frozen=True, slots=True)
class Survey:
    """The projection of its records, and the function from cells to an alert."""

    projection: Projection
    alert: Callable[[Cells], Alert]


ZTF: Final = Survey(ztf.PROJECTION, ztf.alert)
ATLAS: Final = Survey(atlas.PROJECTION, atlas.alert)


def survey_of(loaded: Any) -> tuple[Survey, schema.Node]:
    """The survey of a writer schema as `schema.load` returns it, and its resolved tree.

    Raises AlertError: unsupported_survey, bad_schema, unsupported_schema.
    """
    name = schema.full_name(loaded)
    namespace, _, own = name.rpartition(".")
    if name and namespace and name != atlas.RECORD and namespace.partition(".")[0] != "ztf":
        # checked first: the schema of another survey should be reported as such even if it is invalid
        raise AlertError("unsupported_survey", f"record {own} of namespace {namespace} is {_READ}")
    tree = schema.resolve(loaded)
    if name == atlas.RECORD:
        return ATLAS, tree
    if namespace:
        return ZTF, tree
    missing = [field for field in _ZTF_FIELDS if not any(schema.types_at(tree, field))]
    if missing:
        what = f"record {own} without namespace" if own else "a writer schema that is not a record"
        raise AlertError("unsupported_survey", f"{what}, without {missing[0]} too, is {_READ}")
    return Survey(ztf.PROJECTION, lambda cells: _ztf_written_again(cells, own)), tree


def _ztf_written_again(cells: Cells, record: str) -> Alert:
    """An alert of a record that looks like ZTF's. WINTER's and Gattini's do too, so the object's name decides."""
    try:
        alert = ztf.alert(cells)
    except AlertError:
        if (object_id := cells.text(ztf.OBJECT_ID)) is not None:
            _check_name(object_id, cells, record)
        raise
    _check_name(alert.object_id, cells, record)
    return alert


def _check_name(object_id: str, cells: Cells, record: str) -> None:
    if not _ZTF_NAME.fullmatch(object_id):
        publisher = cells.text(ztf.PUBLISHER) or "unknown"
        said = f"record {record} without namespace, publisher {publisher:.40}, objectId {object_id[:40]!a}"
        raise AlertError("unsupported_survey", f"{said}, is {_READ}")
