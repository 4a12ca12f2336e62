"""A schema registry over HTTP, with the part of Confluent's API that producers and consumers of one subject use."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Registry:
    """Schemas by number; the same text keeps its number. `refuses`: it answers that a schema is incompatible."""

    def __init__(self) -> None:
        self.url = ""
        self.subjects: dict[str, list[int]] = {}
        self.refuses = False
        self._texts: list[str] = []

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        _, _, subject, *_ = path.split("/")
        if self.refuses:
            return 409, {"error_code": 409, "message": "Schema being registered is incompatible with an earlier schema"}
        if body["schema"] not in self._texts:
            self._texts.append(body["schema"])
        number = self._texts.index(body["schema"]) + 1
        if number not in self.subjects.setdefault(subject, []):
            self.subjects[subject].append(number)
        return 200, {"id": number, "version": len(self.subjects[subject]), "subject": subject, "schema": body["schema"]}

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        *place, last = path.split("?")[0].split("/")
        if place[-1] != "ids":  # newer clients ask for what registries of other versions don't have
            return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
        number = int(last)
        if not 0 < number <= len(self._texts):
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, {"schema": self._texts[number - 1]}


@contextmanager
def schema_registry() -> Iterator[Registry]:
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(*registry.post(self.path.split("?")[0], body))

        def do_GET(self) -> None:
            self._answer(*registry.get(self.path))

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield registry
    server.shutdown()
    server.server_close()
