"""Answers that a client may ask for again and again: 304 without a body while nothing has changed."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api.answers import json_response


def unless_unchanged(request: Request, content: Any) -> Response:
    """`content` as JSON with a weak ETag; 304 where `If-None-Match` holds it already (RFC 9110, section 13.1.2).

    The tag is a digest of the answer itself, so that nothing has to be kept between two requests.
    """
    response = json_response(content)
    tag = f'W/"{hashlib.blake2b(bytes(response.body), digest_size=12).hexdigest()}"'
    held = {each.strip() for each in request.headers.get("if-none-match", "").split(",")}
    if tag in held or "*" in held:
        return Response(status_code=304, headers={"etag": tag})
    response.headers["etag"] = tag
    return response
