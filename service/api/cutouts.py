"""`GET /v1/objects/{object_id}/cutouts/{kind}`: the pictures of an object's newest packet."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import numpy as np
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from service.alerts.cutouts import KINDS, Cutouts
from service.api.answers import json_response
from service.api.context import Here
from service.api.fits import FitsError, read_picture
from service.api.objects import ObjectId
from service.api.problems import ProblemError, responses

router: Final = APIRouter(prefix="/v1/objects", tags=["objects"])

Kind = Literal["science", "template", "difference"]


class CutoutAnswer(BaseModel):
    """A picture as numbers, row by row from the bottom; null where a pixel is blank."""

    object_id: str
    candid: int
    mjd: float = Field(description="of the alert that brought it [days, UTC]")
    kind: Kind
    width: int
    height: int
    north: list[float] | None = Field(description="(x, y) on the picture, y upwards; null: the file does not say")
    east: list[float] | None
    scale: float | None = Field(description="arcsec a pixel; null: the file does not say")
    pixels: list[float | None]


@router.get(
    "/{object_id}/cutouts/{kind}",
    response_model=CutoutAnswer,
    responses=responses(404, 409, 422, 503) | {200: {"content": {"application/json": {}, "application/fits": {}}}},
)
def cutout(
    object_id: ObjectId,
    kind: Kind,
    here: Here,
    form: Annotated[
        Literal["fits", "json"], Query(alias="format", description="fits: as the packet has it, gzipped or not")
    ] = "fits",
) -> Response:
    """One picture of the object's newest packet that had any: as FITS, or as numbers to draw."""
    stored = here.store.cutouts(object_id)
    data: bytes = getattr(stored, kind) if stored is not None else b""
    if stored is None or not data:
        why = "" if here.settings.store.cutouts_bytes else "; this service keeps none (setting store.cutouts_bytes)"
        raise ProblemError(404, "no-cutout", f"there is no {kind} cutout of {object_id}{why}")
    if form == "fits":
        ending, media = (".fits.gz", "application/gzip") if data[:2] == b"\x1f\x8b" else (".fits", "application/fits")
        name = f"{stored.candid}-{kind}{ending}"
        return Response(data, headers={"Content-Disposition": f'attachment; filename="{name}"'}, media_type=media)
    try:
        drawn = of_picture(data)
    except FitsError as error:
        raise ProblemError(
            409, "unreadable-cutout", f"the {kind} cutout of {object_id} can't be drawn: {error}"
        ) from error
    return json_response({"object_id": object_id, "candid": stored.candid, "mjd": stored.mjd, "kind": kind} | drawn)


def of_cutouts(cutouts: Cutouts | None) -> dict[str, Any]:
    """Every picture that can be drawn, by kind; for packets that are sent to be classified."""
    found = {}
    for kind in KINDS if cutouts is not None else ():
        try:
            found[kind] = of_picture(getattr(cutouts, kind))
        except FitsError:
            continue
    return found


def of_picture(data: bytes) -> dict[str, Any]:
    picture = read_picture(data)
    height, width = picture.pixels.shape
    return {
        "width": width,
        "height": height,
        "north": picture.north,
        "east": picture.east,
        "scale": picture.scale,
        "pixels": np.ascontiguousarray(picture.pixels.ravel()),
    }
