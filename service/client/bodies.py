"""Light curves, tables and files as bodies of requests; and answers in the kind of table that was sent."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from service.photometry import BANDS, SURVEYS, Kind, LightCurve

Unit = Literal["mag", "uJy", "nJy"]
# pandas.DataFrame, astropy.table.Table or pyarrow.Table: none of the first two is needed to import this module
Table: TypeAlias = Any
Column: TypeAlias = Sequence[Any] | Any
Surroundings: TypeAlias = Mapping[str, float | None]


def path_of(object_id: str, further: str = "") -> str:
    return f"/v1/objects/{quote(object_id, safe='')}{further}"


def plain(values: Column) -> list[Any]:
    """A list that JSON can hold: numpy's scalars become Python's, NaN and masked values null."""
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    return [None if isinstance(value, float) and value != value else value for value in listed]


def context_of(context: Surroundings | None) -> dict[str, Any]:
    """The field of a light curve; nothing where there is none, because services of earlier versions don't know it."""
    if context is None:
        return {}
    known = {name: None if value is None or value != value else float(value) for name, value in context.items()}
    return {"context": known}


def sent(light_curve: LightCurve) -> dict[str, Any]:
    points = light_curve.points
    floats = {name: plain(points[name]) for name in ("mag", "magerr", "magnr")}
    surveys = [SURVEYS[code] for code in points["survey"].tolist()]
    return {
        "unit": "mag",
        "survey": surveys,
        "mjd": points["mjd"].tolist(),
        "band": [BANDS[code] for code in points["band"].tolist()],
        **floats,
        "diffmaglim": plain(points["limit"]),
        "sign": points["sign"].tolist(),
        "kind": [Kind(code).name.lower() for code in points["kind"].tolist()],
        "candid": points["candid"].tolist(),
    }


def file_body(name: str, content: bytes, strict: bool) -> dict[str, Any]:
    headers = {"content-type": "application/octet-stream"}
    return {"content": content, "params": {"name": name, "strict": strict}, "headers": headers}


def parquet(points: Table) -> bytes:
    if hasattr(points, "to_pandas") and not isinstance(points, pa.Table):  # astropy: masked values become null
        points = points.to_pandas()
    table = points if isinstance(points, pa.Table) else pa.Table.from_pandas(points, preserve_index=False)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def like(points: Table, answers: list[dict[str, Any]]) -> Table:
    """A row per object, in the same kind of table as `points`: the answer's plain fields, and `p_CLASS` per class."""
    said = [each.get("mutual_information", each.get("bald")) for each in answers]
    stochastic = any(value is not None for value in said)
    rows = [
        {
            "object_id": each["object_id"],
            "top_class": each["top_class"],
            "top_probability": each["top_probability"],
            "ood_score": float("nan") if each["ood_score"] is None else each["ood_score"],
            "n_detections": sum(each["n_detections"].values()),
            "n_upper_limits": sum(each["n_upper_limits"].values()),
            "conformal_set": ",".join(each["conformal_set"]),
            "flags": ",".join(each["flags"]),
            "classifier": each["classifier"],
            "version": each["version"],
        }
        | ({"mutual_information": value, "bald": value} if stochastic else {})
        | {f"p_{name}": probability for name, probability in each["probabilities"].items()}
        for each, value in zip(answers, said, strict=True)
    ]
    table = pa.Table.from_pylist(rows)
    if isinstance(points, pa.Table):
        return table
    if "astropy" in sys.modules and isinstance(points, sys.modules["astropy.table"].Table):
        from astropy.table import Table as AstropyTable

        return AstropyTable({name: table[name].to_numpy() for name in table.column_names})
    return table.to_pandas()
