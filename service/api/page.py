"""The web page at `/` and the reading of the API at `/docs`: plain files of the package, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

STATIC: Final = Path(__file__).parent / "static"


def install(app: FastAPI, docs: bool) -> None:
    """Serve the page, its files under `/static`, and `/docs` unless it is closed."""
    # Revalidated by ETag at every load: a page and scripts of different versions must never meet.
    fresh = {"cache-control": "no-cache"}

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers=fresh)

    async def docs_page(request: Request) -> Response:
        return FileResponse(STATIC / "docs.html", headers=fresh)

    async def icon(request: Request) -> Response:
        return FileResponse(STATIC / "icon.svg", headers=fresh)

    app.add_route("/", page, include_in_schema=False)
    app.add_route("/favicon.ico", icon, include_in_schema=False)
    if docs:
        app.add_route("/docs", docs_page, include_in_schema=False)
    app.mount("/static", _Files(directory=STATIC), name="static")


class _Files(StaticFiles):
    def file_response(self, *args: object, **kwargs: object) -> Response:
        response: Response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["cache-control"] = "no-cache"
        return response
