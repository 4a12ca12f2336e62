"""`POST /v1/classify/table`: a file as a broker or archive exports it in, one classification per object out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from service.api.answers import Classification, WithEmbedding, WithLightCurve, extras, json_response
from service.api.bodies import read_body
from service.api.context import Here
from service.api.light_curves import check_count
from service.api.problems import invalid, responses
from service.output.classification import without_alert

if TYPE_CHECKING:
    from service.exports import Export

router: Final = APIRouter(prefix="/v1", tags=["classify"])

MOST_ROWS_TOLD: Final = 100
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}


class SkippedRow(BaseModel):
    """A row that could not be read."""

    row: int = Field(description="from 1, without the header", examples=[17])
    column: str = Field(examples=["magpsf"])
    value: str = Field(examples=["bright"])
    reason: str = Field(examples=["not a number"])


class ExportAnswer(BaseModel):
    """The classifications of a file, what it was read as, and which of its rows were not."""

    read_as: str = Field(description="whose export it is, in words", examples=["a Fink export"])
    classifications: list[Classification]
    skipped_rows: int = Field(description="how many rows were left out", examples=[0])
    first_skipped: list[SkippedRow] = Field(description=f"of these, the first {MOST_ROWS_TOLD}")


@router.post(
    "/classify/table",
    response_model=ExportAnswer,
    responses=responses(400, 413, 415, 422),
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": _BINARY}}},
)
async def classify_table(
    request: Request,
    here: Here,
    name: Annotated[
        str, Query(max_length=200, description="of the file: it names the object where no column does")
    ] = "the file",
    strict: Annotated[bool, Query(description="refuse the file for one row that can't be read")] = False,
    embedding: WithEmbedding = False,
    light_curve: WithLightCurve = False,
) -> Response:
    """Classify the light curves in a file, recognised by what it holds, whatever its content type.

    Read are exports of ALeRCE, Fink, Lasair, ANTARES and Babamul, files of the forced photometry servers of ZTF and
    ATLAS, and points tables, as CSV (also with semicolons or tabs), JSON, JSON lines, Parquet, ECSV, FITS or VOTable
    (the last three where astropy is installed).
    """
    settings = here.settings.api
    body = await read_body(request, here)
    export = await here.parse(body, _read_export, name, strict, settings.max_points)
    check_count(len(export.light_curves), settings)
    predictions = await here.classify(list(export.light_curves.values()))
    answers = [
        without_alert(object_id, prediction) | extras(prediction, curve, embedding, light_curve)
        for (object_id, curve), prediction in zip(export.light_curves.items(), predictions, strict=True)
    ]
    rows: list[dict[str, Any]] = [
        {"row": row.row, "column": row.column, "value": row.value, "reason": row.reason}
        for row in export.skipped[:MOST_ROWS_TOLD]
    ]
    return json_response(
        {
            "read_as": export.read_as,
            "classifications": answers,
            "skipped_rows": len(export.skipped),
            "first_skipped": rows,
        }
    )


def _read_export(body: bytes, name: str, strict: bool, max_rows: int) -> Export:
    from service.exports import ExportError, read_export  # pyarrow, for which the start does not wait

    try:
        return read_export(body, name, strict=strict, max_rows=max_rows)
    except ExportError as error:
        raise invalid("body", str(error)) from error
