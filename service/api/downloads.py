"""`GET /v1/objects/{object_id}/light-curve`: an object's light curve as a file to take away."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from service.api.answers import json_response, of_light_curve
from service.api.context import Here
from service.api.objects import ObjectId, unknown
from service.api.problems import responses
from service.photometry import LightCurve

if TYPE_CHECKING:
    import pyarrow as pa

router: Final = APIRouter(prefix="/v1/objects", tags=["objects"])

Form = Literal["csv", "parquet", "json"]
_MEDIA_TYPES: Final = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
_COLUMNS: Final = ("mjd", "band", "mag", "magerr", "diffmaglim", "sign", "magnr", "candid", "survey", "kind")


@router.get(
    "/{object_id}/light-curve",
    responses=responses(404, 422, 503)
    | {200: {"content": {kind: {} for kind in (*_MEDIA_TYPES.values(), "application/json")}}},
)
def download(
    object_id: ObjectId, here: Here, form: Annotated[Form, Query(alias="format", description="of the file")] = "csv"
) -> Response:
    """An object's light curve as a points table, a row per point: what `/v1/classify/table` and `classify` read back.

    Empty values are unknown ones; without mag a point is an upper limit. JSON has the columns of `light_curve` of the
    object's answer.
    """
    known = here.store.load([object_id]).get(object_id)
    if known is None:
        raise unknown(object_id)
    headers = {
        "Content-Disposition": f'attachment; filename="{re.sub(r"[^A-Za-z0-9._+-]", "_", known.object_id)}.{form}"'
    }
    if form == "json":
        document = {"object_id": known.object_id, "light_curve": of_light_curve(known.light_curve)}
        return json_response(document, headers=headers)
    import pyarrow.csv  # for which the start does not wait
    import pyarrow.parquet

    table, sink = _table(known.object_id, known.light_curve), io.BytesIO()
    if form == "csv":
        pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(quoting_style="needed"))
    else:
        pyarrow.parquet.write_table(table, sink)
    return Response(sink.getvalue(), headers=headers, media_type=_MEDIA_TYPES[form])


def _table(object_id: str, light_curve: LightCurve) -> pa.Table:
    import pyarrow as pa

    columns = of_light_curve(light_curve)
    count = len(light_curve)
    columns["survey"] = [columns["survey"]] * count if isinstance(columns["survey"], str) else columns["survey"]
    candid = pa.array(columns["candid"], pa.int64())
    columns["candid"] = pa.array([value.as_py() or None for value in candid], pa.int64())  # 0 is none
    named = {"object_id": pa.array([object_id] * count, pa.string())}
    return pa.table(named | {name: pa.array(columns[name], from_pandas=True) for name in _COLUMNS})
