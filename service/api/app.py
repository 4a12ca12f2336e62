"""The HTTP application: routes, middleware and lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from service import __version__
from service.alerts import Decoder
from service.api import (
    classify,
    downloads,
    events,
    exports,
    lists,
    models,
    objects,
    oip,
    oip_statistics,
    openapi,
    operations,
    page,
    problems,
    watches,
)  # fmt: skip
from service.api.access import KEY_HEADER, Access, ApiKeys
from service.api.context import Context, Stream, in_thread
from service.api.middleware import Admission, RequestContext
from service.api.neighbours import Neighbours
from service.api.parameters import refuse_unknown_parameters
from service.api.pulse import Pulse, running
from service.api.uploads import Uploads
from service.config import Settings
from service.inference.registry import ModelRegistry
from service.store.interface import Store

# A smaller response fits into one network packet anyway.
COMPRESSED_ABOVE_BYTES: Final = 1500


def create_app(
    settings: Settings,
    registry: ModelRegistry,
    store: Store,
    stream: Stream | None = None,
    decoder: Decoder | None = None,
) -> FastAPI:
    """The application; the caller closes `store`, `registry` and `stream`. Raises ApiKeyError."""
    api = settings.api
    keys = ApiKeys(api.api_keys)
    context = Context(settings, registry, store, decoder or Decoder(), Neighbours(store), stream)
    pulse = Pulse(context)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await in_thread(context.neighbours.begin, (registry.active.name, registry.active.version))
        async with running(pulse):
            yield

    app = FastAPI(
        title="Alert classifier",
        version=__version__,
        description=openapi.DESCRIPTION,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if api.docs else None,
    )
    app.state.context = context
    app.state.pulse = pulse
    problems.install(app)
    openapi.install(app, keys_needed=bool(keys))
    answers = (classify, exports, lists, objects, watches, downloads, models, oip_statistics, oip, events, operations)
    for room in answers:
        app.include_router(room.router, dependencies=[Depends(refuse_unknown_parameters)])
    app.include_router(operations.health_router)
    if api.metrics:
        app.include_router(operations.metrics_router)
    page.install(app, docs=api.docs)

    # The last added is the outermost, so every response gets an id and safe headers, refusals too.
    app.add_middleware(Admission)
    app.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_ABOVE_BYTES, compresslevel=3)
    app.add_middleware(Uploads, settings=api)
    app.add_middleware(Access, keys=keys, rate_per_s=api.rate_limit_per_s)
    if api.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=api.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=[KEY_HEADER, "authorization", "content-type", "x-request-id"],
            expose_headers=["x-request-id", "retry-after"],
        )
    app.add_middleware(RequestContext)
    return app
