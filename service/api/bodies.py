"""Request bodies: read and decompressed within one size limit, and their content types."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import orjson
from anyio import to_thread
from starlette.requests import Request

from service.api.context import Context
from service.api.oip_tensors import may_hold_more
from service.api.problems import ProblemError
from service.api.uploads import CHARGE, too_large

JSON: Final = "application/json"
CSV: Final = "text/csv"
PARQUET: Final = ("application/vnd.apache.parquet", "application/x-parquet")
TABLE_TYPES: Final = (CSV, *PARQUET)
# A point of JSON has up to 14 fields, and its own brackets.
VALUES_PER_POINT: Final = 20
# windowBits of zlib: 16 + for gzip's header, plain for RFC 1950, which HTTP calls deflate
_PIECE: Final = 1 << 16
_MOST_MEMBERS: Final = 1_000  # of a gzip body; each takes some 5 microseconds
_ENCODINGS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def content_type(request: Request, accepted: Sequence[str]) -> str:
    """The request's media type without parameters. Raises ProblemError 415 if it is not in `accepted`."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given in accepted:
        return given
    said = f"the content type {given} is not read here" if given else "the request names no content type"
    detail = f"{said}: send {', '.join(accepted)}"
    raise ProblemError(415, "unsupported-media-type", detail, headers={"Accept": ", ".join(accepted)})


async def read_body(request: Request, here: Context) -> bytes:
    """The body, decompressed as given by Content-Encoding.

    Raises ProblemError 413 if the decompressed body is larger than api.max_body_bytes, 415 on another encoding, 400 on
    damage, 503 if all bodies together hold too much.
    """
    body = await request.body()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding not in _ENCODINGS:
        detail = f"the content encoding {encoding} is not read here: send {', '.join(_ENCODINGS)} or none"
        raise ProblemError(415, "unsupported-encoding", detail, headers={"Accept-Encoding": ", ".join(_ENCODINGS)})
    limit = here.settings.api.max_body_bytes
    plain = await to_thread.run_sync(_unpacked, body, encoding, limit, limiter=here.inflating)
    request.scope[CHARGE](len(plain))
    return plain


def _unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    try:
        plain, complete = _inflated(body, encoding, limit)
    except zlib.error as error:
        raise ProblemError(400, "bad-encoding", f"the body is not {encoding}: {error}") from error
    if len(plain) > limit:
        raise too_large(limit)
    if not complete:
        raise ProblemError(400, "bad-encoding", f"the {encoding} body ends too early")
    return plain


def _inflated(body: bytes, encoding: str, limit: int) -> tuple[bytes, bool]:
    """At most `limit` + 1 bytes of what is packed in all members of a body, and whether the last one is complete.

    Of gzip there may be several (`cat a.gz b.gz`), and RFC 9110 means all of them. Raises zlib.error.
    """
    plain = bytearray()
    members, position = 1, 0
    inflate = zlib.decompressobj(_ENCODINGS[encoding])
    while position < len(body) and len(plain) <= limit:
        if inflate.eof:
            members += 1
            if encoding != "gzip" or members > _MOST_MEMBERS:
                raise zlib.error(f"bytes behind the end of member {members - 1}")
            inflate = zlib.decompressobj(_ENCODINGS[encoding])
        piece = body[position : position + _PIECE]
        plain += inflate.decompress(piece, limit + 1 - len(plain))
        position += len(piece) - len(inflate.unused_data)
    return bytes(plain), inflate.eof


def parse_json(body: bytes, most_values: int) -> Any:
    """Raises ProblemError 400 with the position of the error in the JSON, 413 if there may be more values than
    `most_values`: each takes some 50 bytes or more, so that a body of empty lists takes twenty times its size.
    """
    if may_hold_more(body, most_values):
        detail = f"the JSON may hold more than {most_values:,} values (settings api.max_points and max_light_curves)"
        raise ProblemError(413, "too-many-values", detail)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        hint = "; JSON knows no NaN or Infinity: send null" if b"NaN" in body or b"Infinity" in body else ""
        raise ProblemError(400, "bad-json", f"the body is not JSON: {error}{hint}") from error
