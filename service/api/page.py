"""The web page at `/` and the API's documentation at `/docs`: only files of the package, nothing from the internet."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import quote

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

STATIC: Final = Path(__file__).parent / "static"

# What people type without the page's own #: both lead to the page of the object.
OBJECT_ADDRESSES: Final = ("/object/", "/objects/")


def install(app: FastAPI, docs: bool) -> None:
    """Serve the page, its files under `/static` and, with `docs`, `/docs`."""
    # Revalidate by ETag at every load, so that page and scripts are never of different versions.
    fresh = {"cache-control": "no-cache"}

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers=fresh)

    async def docs_page(request: Request) -> Response:
        return FileResponse(STATIC / "docs.html", headers=fresh)

    async def icon(request: Request) -> Response:
        return FileResponse(STATIC / "icon.svg", headers=fresh)

    async def object_page(request: Request) -> Response:
        name = quote(request.path_params["object_id"], safe="")
        return RedirectResponse(f"{request.scope.get('root_path', '')}/#/objects/{name}", headers=fresh)

    app.add_route("/", page, include_in_schema=False)
    for address in OBJECT_ADDRESSES:
        app.add_route(address + "{object_id:path}", object_page, include_in_schema=False)
    app.add_route("/favicon.ico", icon, include_in_schema=False)
    if docs:
        app.add_route("/docs", docs_page, include_in_schema=False)
    app.mount("/static", _Files(directory=STATIC), name="static")


class _Files(StaticFiles):
    def file_response(self, *args: object, **kwargs: object) -> Response:
        response: Response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["cache-control"] = "no-cache"
        return response
