"""`GET /v1/events`: the pulse as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from service.api.answers import json_response
from service.api.context import in_thread
from service.api.problems import ProblemError, responses
from service.api.pulse import Pulse, TooManyFollowersError

router: Final = APIRouter(prefix="/v1", tags=["operations"])


_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/event-stream": {}}}}


@router.get("/events", response_class=Response, responses=_RESPONSES | responses(503))
async def events(request: Request) -> Response:
    """The pulse, once a second: what flows, how fast, what it is (server-sent events named `pulse`, data as JSON)."""
    pulse: Pulse = request.app.state.pulse
    follow = pulse.follow()
    try:
        first = await anext(follow)
    except TooManyFollowersError:
        detail = "too many follow the events already: ask GET /v1/pulse now and then instead"
        raise ProblemError(503, "too-many-followers", detail, headers={"Retry-After": "60"}) from None

    async def lines() -> AsyncIterator[bytes]:
        yield _event(first)
        async for each in follow:
            yield _event(each)

    # disable proxy buffering, or events arrive late
    return StreamingResponse(lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.get("/pulse", response_model=dict[str, Any])
async def pulse(request: Request) -> Response:
    """The pulse now, once."""
    beating: Pulse = request.app.state.pulse
    return json_response(await in_thread(beating.view))


def _event(data: bytes) -> bytes:
    return b"event: pulse\ndata: " + data + b"\n\n"
