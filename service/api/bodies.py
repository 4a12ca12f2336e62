"""Request bodies: read and decompressed within one size limit, and their content types."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.requests import Request

from service.api.problems import ProblemError
from service.api.uploads import too_large

JSON: Final = "application/json"
# windowBits of zlib: 16 + for gzip's header, plain for RFC 1950, which HTTP calls deflate
_ENCODINGS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def content_type(request: Request, accepted: Sequence[str]) -> str:
    """The request's media type without parameters. Raises ProblemError 415 if it is not in `accepted`."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given in accepted:
        return given
    said = f"the content type {given} is not read here" if given else "the request names no content type"
    detail = f"{said}: send {', '.join(accepted)}"
    raise ProblemError(415, "unsupported-media-type", detail, headers={"Accept": ", ".join(accepted)})


async def read_body(request: Request, limit: int) -> bytes:
    """The body, decompressed as given by Content-Encoding.

    Raises ProblemError 413 if the decompressed body is larger than `limit`, 415 on another encoding, 400 on damage.
    """
    body = await request.body()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding not in _ENCODINGS:
        detail = f"the content encoding {encoding} is not read here: send {', '.join(_ENCODINGS)} or none"
        raise ProblemError(415, "unsupported-encoding", detail, headers={"Accept-Encoding": ", ".join(_ENCODINGS)})
    inflate = zlib.decompressobj(_ENCODINGS[encoding])
    try:
        plain = inflate.decompress(body, limit)
    except zlib.error as error:
        raise ProblemError(400, "bad-encoding", f"the body is not {encoding}: {error}") from error
    if inflate.unconsumed_tail:
        raise too_large(limit)
    if not inflate.eof:
        raise ProblemError(400, "bad-encoding", f"the {encoding} body ends too early")
    return plain


def parse_json(body: bytes) -> Any:
    """Raises ProblemError 400 with the position of the error in the JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        hint = "; JSON knows no NaN or Infinity: send null" if b"NaN" in body or b"Infinity" in body else ""
        raise ProblemError(400, "bad-json", f"the body is not JSON: {error}{hint}") from error
