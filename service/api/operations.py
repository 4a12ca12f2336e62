"""Routes for operators: liveness, readiness, metrics, accounts, schemas."""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service import __version__, metrics
from service.alerts import atlas
from service.api.answers import json_response
from service.api.context import Context, Here, in_thread
from service.api.problems import FieldError, ProblemError, responses
from service.output import elasticc
from service.output.avro import CLASSIFICATION
from service.output.dead_letter import DEAD_LETTER
from service.store.interface import StoreUnavailableError

router: Final = APIRouter(tags=["operations"])
metrics_router: Final = APIRouter(tags=["operations"])
# Probes and load balancers may add query parameters of their own; a 422 would look like a dead service.
health_router: Final = APIRouter(tags=["operations"])

# Without a number the newest version, then every version that was ever published.
PUBLISHED: Final = {schema.name: schema.newest for schema in (CLASSIFICATION, DEAD_LETTER)} | {
    version.label: version for schema in (CLASSIFICATION, DEAD_LETTER) for version in schema.versions.values()
}
SCHEMAS: Final = {name: version.text for name, version in PUBLISHED.items()} | {
    "atlas_photometry": atlas.SCHEMA_TEXT,
    "elasticc_broker_classification": elasticc.SCHEMA_TEXT,
}

_PLACE: Final = re.compile(
    r"\b[a-z][a-z0-9+.-]*://\S+"  # a URL
    r"|(?<=\bstore )\S+(?=:| has | is )"  # host/database, or a file
    r"|\[[0-9a-fA-F:]+\](:\d+)?|\b\d{1,3}(\.\d{1,3}){3}(:\d+)?"  # addresses
    r"|\b[A-Za-z][\w.-]*:\d{2,5}\b"  # host:port
    r"|(?<![\w.])~?(/[\w.@+-]+)+/?"  # a path
    r"|(?<=\bserver at )\"[^\"]*\"|(?<=\bport )\d+"  # libpq's words
)


class Live(BaseModel):
    alive: bool
    version: str


class Check(BaseModel):
    name: str = Field(examples=["store"])
    detail: str = Field(examples=["120 objects"])


class Ready(BaseModel):
    """What was looked at; answered with 503 and the reasons where anything is not as it should be."""

    ready: bool
    checks: list[Check]


class Schema(BaseModel):
    name: str
    url: str
    header: str | None = Field(
        description="the ten bytes in hex that every message of it begins with (Avro single object);"
        " null for what has no such frame: a container file has its schema with it, ELAsTiCC's record has none"
    )
    version: int | None = Field(description="which version of its name; null for what is not ours")


class Schemas(BaseModel):
    schemas: list[Schema]


class Accounts(BaseModel):
    """What became of every message since the process began: consumed = published + filtered + dead-lettered +
    returned + in flight; `closes` says whether it holds.
    """

    model_config = ConfigDict(extra="allow")

    streaming: bool
    closes: bool
    consumed: int = 0
    published: int = 0
    filtered: dict[str, int] = Field(default_factory=dict, description="by reason")
    dead_lettered: dict[str, int] = Field(default_factory=dict, description="by reason code")
    returned: int = Field(default=0, description="given back because the partition went to another replica")
    in_flight: int = 0
    skipped: dict[str, int] = Field(
        default_factory=dict,
        description="offsets passed over, by reason; expired, deleted and truncated ones were never read",
    )
    inputs: list[dict[str, Any]] = Field(
        default_factory=list, description="the same for each named input; empty where only `kafka` is read"
    )
    partitions: list[dict[str, Any]] = Field(default_factory=list)


@health_router.get("/health/live", response_model=Live)
async def live() -> Response:
    """Answers as long as the process does."""
    return json_response({"alive": True, "version": __version__})


@health_router.get("/health/ready", response_model=Ready, responses=responses(503))
async def ready(here: Here) -> Response:
    """200 when the model is warm, the store can be written and, if streaming, alerts can flow; else 503 and why not.

    Whoever asks needs no key, so hosts and paths are left out; `/v1/pulse` and the log name them.
    """
    checks, found = await in_thread(check_readiness, here)
    failures = [FieldError(field=each.field, message=without_places(each.message)) for each in found]
    metrics.READY.set(not failures)
    if failures:
        detail = "; ".join(f"{failure.field}: {failure.message}" for failure in failures)
        raise ProblemError(503, "not-ready", detail, failures, {"Retry-After": "1"})
    return json_response({"ready": True, "checks": [check.model_dump() for check in checks]})


def check_readiness(here: Context) -> tuple[list[Check], list[FieldError]]:
    """(checks that passed, errors of those that failed)."""
    active = here.models.active
    checks = [Check(name="model", detail=f"{active.bundle.label} on {active.provider}")]
    failures = []
    try:
        here.store.check()
        checks.append(Check(name="store", detail="can be written"))
    except StoreUnavailableError as error:
        failures.append(FieldError(field="store", message=str(error)))
    if here.stream is not None:
        health = here.stream.health()
        for each in health.inputs or (health,):
            name = f"stream {each.name}" if each.name else "stream"
            failures += [FieldError(field=name, message=reason) for reason in each.reasons]
            if each.ready:
                checks.append(Check(name=name, detail=f"{len(each.partitions)} partitions assigned"))
    return checks, failures


def without_places(message: str) -> str:
    """The message with ... for URLs, hosts with their ports, addresses, paths, and what a store is called."""
    return _PLACE.sub("...", message)


@metrics_router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def prometheus() -> Response:
    """Everything that is measured, for Prometheus."""
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get("/v1/accounting", response_model=Accounts)
def accounting(here: Here) -> Response:
    """What became of every message that was consumed."""
    if here.stream is None:
        return json_response(Accounts(streaming=False, closes=True).model_dump())
    return json_response({"streaming": True} | here.stream.accounting.view())


@router.get("/schemas", response_model=Schemas)
async def schemas() -> Response:
    """The Avro schemas of the messages that the service publishes, in every version, and of the photometry that it
    reads. By its first ten bytes a message is told which schema it was written with.
    """
    listed = [
        {
            "name": name,
            "url": f"/schemas/{name}.avsc",
            "header": PUBLISHED[name].header.hex() if name in PUBLISHED else None,
            "version": PUBLISHED[name].number if name in PUBLISHED else None,
        }
        for name in SCHEMAS
    ]
    return json_response({"schemas": listed})


@router.get("/schemas/{name}.avsc", response_model=dict[str, Any], responses=responses(404))
async def schema(name: str, request: Request) -> Response:
    """One schema, as Avro writes it."""
    if name not in SCHEMAS:
        raise ProblemError(404, "unknown-schema", f"there is no schema {name}; there are {', '.join(SCHEMAS)}")
    return Response(SCHEMAS[name], media_type="application/json")
