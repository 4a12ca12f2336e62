"""A Python client of the service: `Client` and `AsyncClient`, typed, with retries.

from alert_classifier import Client

with Client("http://localhost:8000") as client:
    answer = client.classify(mjd=[60313.3, 60316.2], band=["r", "g"], mag=[19.8, 19.1])
    table = client.classify_table(points)          # pandas or astropy in, the same out, a row per object
    for supernova in client.objects(top_class="SNIa", min_probability=0.9):
        ...
"""

from __future__ import annotations

import asyncio
import io
import random
import sys
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias
from urllib.parse import quote

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import AlertClassifierError
from service.photometry import BANDS, SURVEYS, Kind, LightCurve

Unit = Literal["mag", "uJy", "nJy"]
# pandas.DataFrame, astropy.table.Table or pyarrow.Table: none of the first two is needed to import this module
Table: TypeAlias = Any
Column: TypeAlias = Sequence[Any] | Any
Surroundings: TypeAlias = Mapping[str, float | None]

PARQUET: Final = "application/vnd.apache.parquet"
PAGE: Final = 500  # objects asked for at a time

# Worth a retry: too many requests, a proxy whose service is down, a service that waits for its store.
RETRIED: Final = (429, 502, 503, 504)
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 30.0


class ServiceError(AlertClassifierError):
    """The service refused or failed. `errors` holds (field, message) of everything that was wrong with the request."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(problem.get("detail") or f"the service answered {status}")
        self.status = status
        self.type: str = problem.get("type", "")
        self.request_id: str = problem.get("request_id", "")
        self.errors: list[tuple[str, str]] = [(each["field"], each["message"]) for each in problem.get("errors", ())]


class ServiceUnreachableError(AlertClassifierError, ConnectionError):
    """Nobody answered, and asking again did not help."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What one classifier version says about one light curve; `raw` is the whole answer. `top_class` is None where
    nothing was looked at (flags `no_detection`, `unusable_photometry`): probabilities are then the training prior.
    """

    object_id: str
    classifier: str
    version: str
    top_class: str | None
    top_probability: float
    probabilities: dict[str, float]
    superclass_probabilities: dict[str, float]
    conformal_set: tuple[str, ...]
    ood_score: float | None
    n_detections: dict[str, int]
    n_upper_limits: dict[str, int]
    flags: tuple[str, ...]
    variance: dict[str, float] | None = None
    mutual_information: float | None = None
    candid: int | None = None
    mjd: float | None = None
    ra: float | None = None
    dec: float | None = None
    embedding: tuple[float, ...] | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        known = {name: answer[name] for name in cls.__slots__ if name in answer}
        known.setdefault("mutual_information", answer.get("bald"))  # of a service of the version before
        for name in ("conformal_set", "flags", "embedding"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        return cls(**known, raw=answer)

    @property
    def bald(self) -> float | None:
        """The old name of `mutual_information`."""
        return self.mutual_information


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the service knows it; ra, dec [deg]. `sources` names photometry that has joined it by position;
    `counterparts` objects of other surveys at its place, each with its survey and the separation [arcsec];
    `context` is what is known of its surroundings, None if nothing is.
    """

    object_id: str
    ra: float | None
    dec: float | None
    light_curve: LightCurve
    classification: Classification | None
    links: dict[str, str]
    sources: tuple[str, ...] = ()
    context: dict[str, float] | None = None
    counterparts: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Neighbour:
    object_id: str
    similarity: float
    top_class: str | None
    top_probability: float


class _Requests:
    """Requests and responses of both clients; only the waiting differs."""

    def __init__(self, retries: int) -> None:
        self._retries = retries

    @staticmethod
    def _settings(base_url: str, api_key: str | None, timeout: float, options: dict[str, Any]) -> dict[str, Any]:
        headers = {"X-API-Key": api_key} if api_key else {}
        return {"base_url": base_url, "headers": headers, "timeout": timeout} | options

    def _wait(self, attempt: int, response: httpx.Response | None) -> float:
        """Seconds until the next attempt: as the service asks, else longer each time, with random jitter."""
        asked = response.headers.get("retry-after", "") if response is not None else ""
        backoff: float = FIRST_WAIT_S * 2.0**attempt * random.uniform(0.5, 1.0)
        return min(max(backoff, float(asked) if asked.isdecimal() else 0.0), LONGEST_WAIT_S)

    def _is_final(self, attempt: int, response: httpx.Response) -> bool:
        return response.status_code not in RETRIED or attempt >= self._retries

    @staticmethod
    def _read(response: httpx.Response) -> Any:
        if response.is_success:
            return response.json()
        try:
            problem = response.json()
        except ValueError:  # a proxy's own page
            problem = {}
        raise ServiceError(response.status_code, problem if isinstance(problem, dict) else {})

    @staticmethod
    def _columns(
        light_curve: LightCurve | None,
        unit: Unit | Sequence[Unit | None] | None,
        object_id: str,
        columns: dict[str, Column],
    ) -> dict[str, Any]:
        if light_curve is not None:
            if columns:
                raise TypeError(f"give a LightCurve or columns, not both ({', '.join(columns)})")
            return {"object_id": object_id} | _sent(light_curve)
        body = {
            name: values if isinstance(values, str) else _plain(values)  # one survey for all points
            for name, values in columns.items()
            if values is not None
        }
        return (
            {"object_id": object_id}
            | ({} if unit is None else {"unit": unit if isinstance(unit, str) else list(unit)})
            | body
        )

    @staticmethod
    def _many(
        light_curves: Mapping[str, LightCurve], contexts: Mapping[str, Surroundings | None] | None
    ) -> list[dict[str, Any]]:
        known = contexts or {}
        homeless = sorted(known.keys() - light_curves.keys())
        if homeless:
            raise ValueError(f"contexts has {homeless[0]}, of which there is no light curve")
        return [
            {"object_id": name} | _sent(light_curve) | _context(known.get(name))
            for name, light_curve in light_curves.items()
        ]

    @staticmethod
    def _query(
        top_class: str | None,
        min_probability: float,
        since: datetime | float | None,
        cone: tuple[float, float, float] | None,
        sort: str,
        **filters: Any,
    ) -> dict[str, Any]:
        asked: dict[str, Any] = {"min_probability": min_probability, "sort": sort, "limit": PAGE}
        for name, value in filters.items():
            asked[name] = value.isoformat() if isinstance(value, datetime) else value
        if top_class is not None:
            asked["class"] = top_class
        if since is not None:
            asked["since"] = since.isoformat() if isinstance(since, datetime) else since
        if cone is not None:
            asked |= dict(zip(("ra", "dec", "radius"), cone, strict=True))
        return asked


class Client(_Requests):
    """Talks to one service. `options` go to `httpx.Client` (proxies, certificates, ...)."""

    def __init__(
        self, base_url: str = "http://localhost:8000", api_key: str | None = None, *, timeout: float = 30.0,
        retries: int = 4, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(retries)
        self._http = httpx.Client(**self._settings(base_url, api_key, timeout, options))

    def classify(
        self, light_curve: LightCurve | None = None, *, unit: Unit | Sequence[Unit | None] | None = None,
        object_id: str = "", embedding: bool = False, context: Surroundings | None = None, **columns: Column,
    ) -> Classification:  # fmt: skip
        """Classify one light curve: a `LightCurve`, or columns `mjd`, `band`, `mag` (None or NaN: an upper limit) and
        where known `magerr`, `diffmaglim`, `sign`, `magnr`; with a `unit` of flux, `flux` and `fluxerr`. Of several
        surveys: `survey` per point, and a `unit` per point where one of them publishes flux; either may be one text for
        all points. `context`: what is known of the object's surroundings, by the names of ZTF's packets (sgscore1,
        distpsnr1, ...) and `gal_b`, for models that take it.

        Raises ServiceError, ServiceUnreachableError.
        """
        body = self._columns(light_curve, unit, object_id, columns) | _context(context)
        return Classification.of(self._ask("POST", "/v1/classify", json=body, params={"embedding": embedding}))

    def classify_many(
        self,
        light_curves: Mapping[str, LightCurve],
        *,
        embedding: bool = False,
        contexts: Mapping[str, Surroundings | None] | None = None,
    ) -> dict[str, Classification]:
        """Classify light curves by their names, in one request; `contexts` by the same names, of all or some."""
        body = self._many(light_curves, contexts)
        answer = self._ask("POST", "/v1/classify", json={"light_curves": body}, params={"embedding": embedding})
        return {each["object_id"]: Classification.of(each) for each in answer["classifications"]}

    def classify_alert(
        self, packet: bytes | Path, *, stored_history: bool = False
    ) -> Classification | list[Classification]:
        """Classify an alert packet: its bytes, or the file that holds them. A file of several alerts, as some brokers
        send them, gives a list, in their order.
        """
        content = packet.read_bytes() if isinstance(packet, Path) else packet
        params = {"stored_history": stored_history}
        headers = {"content-type": "application/avro"}
        return _one_or_many(self._ask("POST", "/v1/classify/alert", content=content, params=params, headers=headers))

    def classify_table(self, points: Table, *, unit: Unit = "mag") -> Table:
        """Classify a table with a row per point: pandas, astropy or pyarrow in, the same out, with a row per object.

        Columns as of `classify`, and `object_id`.
        """
        headers = {"content-type": PARQUET}
        answer = self._ask("POST", "/v1/classify", content=_parquet(points), params={"unit": unit}, headers=headers)
        return _like(points, answer["classifications"])

    def classify_file(self, path: Path | str, *, strict: bool = False) -> list[Classification]:
        """Classify a file as a broker or archive exports it (ALeRCE, Fink, Lasair, ANTARES, Babamul, forced photometry
        servers of ZTF and ATLAS; CSV, JSON, Parquet, text, ECSV, FITS, VOTable): one answer per object.

        Rows that can't be read are left out with a warning, or with `strict` refuse the file (ServiceError).
        """
        path = Path(path)
        answer = self._ask("POST", "/v1/classify/table", **_file(path.name, path.read_bytes(), strict))
        return _read_file(path, answer)

    def objects(
        self, *, top_class: str | None = None, min_probability: float = 0.0, since: datetime | float | None = None,
        cone: tuple[float, float, float] | None = None, sort: Literal["newest", "most_probable", "name"] = "newest",
        **filters: Any,
    ) -> Iterator[Classification]:  # fmt: skip
        """Objects by their latest classification, page after page. `cone`: ra, dec [deg], radius [arcmin]. `filters`
        are the other parameters of `/v1/objects`: superclass, survey, seen_since, seen_before, min_detections,
        max_detections, flag, without_flag (a list: several), prefix.
        """
        asked = self._query(top_class, min_probability, since, cone, sort, **filters)
        while True:
            page = self._ask("GET", "/v1/objects", params=asked)
            yield from map(Classification.of, page["objects"])
            if page["next"] is None:
                return
            asked["cursor"] = page["next"]

    def object(self, object_id: str) -> StoredObject:
        """One object with its light curve. Raises ServiceError of status 404 where it is not known."""
        return _stored(self._ask("GET", _path(object_id)))

    def history(self, object_id: str) -> list[dict[str, Any]]:
        """The object's classifications, oldest first."""
        found: list[dict[str, Any]] = self._ask("GET", _path(object_id, "/history"))["classifications"]
        return found

    def similar(self, object_id: str, limit: int = 10) -> list[Neighbour]:
        """The objects most alike to it, by the model's embedding."""
        answer = self._ask("GET", _path(object_id, "/similar"), params={"limit": limit})
        return [Neighbour(**each) for each in answer["neighbours"]]

    def models(self) -> list[dict[str, Any]]:
        """The resident models, the active one first."""
        found: list[dict[str, Any]] = self._ask("GET", "/v1/models")["models"]
        return found

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        # every request may be repeated, because none changes anything
        for attempt in range(self._retries + 1):
            response = None
            try:
                response = self._http.request(method, path, **request)
            except httpx.TransportError as error:
                if attempt >= self._retries:
                    raise ServiceUnreachableError(
                        f"{_without_login(self._http.base_url)} does not answer: {error}"
                    ) from error
            if response is not None and self._is_final(attempt, response):
                return self._read(response)
            time.sleep(self._wait(attempt, response))
        raise AssertionError("the last attempt returns or raises")


class AsyncClient(_Requests):
    """As `Client`, for asyncio."""

    def __init__(
        self, base_url: str = "http://localhost:8000", api_key: str | None = None, *, timeout: float = 30.0,
        retries: int = 4, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(retries)
        self._http = httpx.AsyncClient(**self._settings(base_url, api_key, timeout, options))

    async def classify(
        self, light_curve: LightCurve | None = None, *, unit: Unit | Sequence[Unit | None] | None = None,
        object_id: str = "", embedding: bool = False, context: Surroundings | None = None, **columns: Column,
    ) -> Classification:  # fmt: skip
        """See `Client.classify`."""
        body = self._columns(light_curve, unit, object_id, columns) | _context(context)
        return Classification.of(await self._ask("POST", "/v1/classify", json=body, params={"embedding": embedding}))

    async def classify_many(
        self,
        light_curves: Mapping[str, LightCurve],
        *,
        embedding: bool = False,
        contexts: Mapping[str, Surroundings | None] | None = None,
    ) -> dict[str, Classification]:
        """See `Client.classify_many`."""
        body = self._many(light_curves, contexts)
        answer = await self._ask("POST", "/v1/classify", json={"light_curves": body}, params={"embedding": embedding})
        return {each["object_id"]: Classification.of(each) for each in answer["classifications"]}

    async def classify_alert(
        self, packet: bytes | Path, *, stored_history: bool = False
    ) -> Classification | list[Classification]:
        """See `Client.classify_alert`."""
        content = await asyncio.to_thread(packet.read_bytes) if isinstance(packet, Path) else packet
        params = {"stored_history": stored_history}
        headers = {"content-type": "application/avro"}
        return _one_or_many(
            await self._ask("POST", "/v1/classify/alert", content=content, params=params, headers=headers)
        )

    async def classify_table(self, points: Table, *, unit: Unit = "mag") -> Table:
        """See `Client.classify_table`."""
        headers = {"content-type": PARQUET}
        content = await asyncio.to_thread(_parquet, points)
        answer = await self._ask("POST", "/v1/classify", content=content, params={"unit": unit}, headers=headers)
        return _like(points, answer["classifications"])

    async def classify_file(self, path: Path | str, *, strict: bool = False) -> list[Classification]:
        """See `Client.classify_file`."""
        path = Path(path)
        content = await asyncio.to_thread(path.read_bytes)
        answer = await self._ask("POST", "/v1/classify/table", **_file(path.name, content, strict))
        return _read_file(path, answer)

    async def objects(
        self, *, top_class: str | None = None, min_probability: float = 0.0, since: datetime | float | None = None,
        cone: tuple[float, float, float] | None = None, sort: Literal["newest", "most_probable", "name"] = "newest",
        **filters: Any,
    ) -> AsyncIterator[Classification]:  # fmt: skip
        """See `Client.objects`."""
        asked = self._query(top_class, min_probability, since, cone, sort, **filters)
        while True:
            page = await self._ask("GET", "/v1/objects", params=asked)
            for each in page["objects"]:
                yield Classification.of(each)
            if page["next"] is None:
                return
            asked["cursor"] = page["next"]

    async def object(self, object_id: str) -> StoredObject:
        """See `Client.object`."""
        return _stored(await self._ask("GET", _path(object_id)))

    async def history(self, object_id: str) -> list[dict[str, Any]]:
        """See `Client.history`."""
        found: list[dict[str, Any]] = (await self._ask("GET", _path(object_id, "/history")))["classifications"]
        return found

    async def similar(self, object_id: str, limit: int = 10) -> list[Neighbour]:
        """See `Client.similar`."""
        answer = await self._ask("GET", _path(object_id, "/similar"), params={"limit": limit})
        return [Neighbour(**each) for each in answer["neighbours"]]

    async def models(self) -> list[dict[str, Any]]:
        """See `Client.models`."""
        found: list[dict[str, Any]] = (await self._ask("GET", "/v1/models"))["models"]
        return found

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, method: str, path: str, **request: Any) -> Any:
        for attempt in range(self._retries + 1):
            response = None
            try:
                response = await self._http.request(method, path, **request)
            except httpx.TransportError as error:
                if attempt >= self._retries:
                    raise ServiceUnreachableError(
                        f"{_without_login(self._http.base_url)} does not answer: {error}"
                    ) from error
            if response is not None and self._is_final(attempt, response):
                return self._read(response)
            await asyncio.sleep(self._wait(attempt, response))
        raise AssertionError("the last attempt returns or raises")


def _without_login(url: httpx.URL) -> httpx.URL:
    return url.copy_with(username=None, password=None)


def _one_or_many(answer: dict[str, Any]) -> Classification | list[Classification]:
    several = answer.get("classifications")
    return Classification.of(answer) if several is None else [Classification.of(each) for each in several]


def _path(object_id: str, further: str = "") -> str:
    return f"/v1/objects/{quote(object_id, safe='')}{further}"


def _plain(values: Column) -> list[Any]:
    """A list that JSON can hold: numpy's scalars become Python's, NaN and masked values null."""
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    return [None if isinstance(value, float) and value != value else value for value in listed]


def _context(context: Surroundings | None) -> dict[str, Any]:
    """The field of a light curve; nothing where there is none, because services of earlier versions don't know it."""
    if context is None:
        return {}
    known = {name: None if value is None or value != value else float(value) for name, value in context.items()}
    return {"context": known}


def _sent(light_curve: LightCurve) -> dict[str, Any]:
    points = light_curve.points
    floats = {name: _plain(points[name]) for name in ("mag", "magerr", "magnr")}
    surveys = [SURVEYS[code] for code in points["survey"].tolist()]
    return {
        "unit": "mag",
        "survey": surveys,
        "mjd": points["mjd"].tolist(),
        "band": [BANDS[code] for code in points["band"].tolist()],
        **floats,
        "diffmaglim": _plain(points["limit"]),
        "sign": points["sign"].tolist(),
        "kind": [Kind(code).name.lower() for code in points["kind"].tolist()],
        "candid": points["candid"].tolist(),
    }


def _stored(answer: dict[str, Any]) -> StoredObject:
    columns = answer["light_curve"]
    latest = answer["classification"]
    nan = float("nan")
    survey = columns["survey"]
    called = {"limit": "diffmaglim" if "diffmaglim" in columns else "limit"}
    floats = {
        name: [nan if value is None else value for value in columns[called.get(name, name)]]
        for name in ("mag", "magerr", "limit", "magnr")
    }
    light_curve = LightCurve.from_columns(
        columns["mjd"],
        [BANDS.index(name) for name in columns["band"]],
        **floats,
        sign=columns["sign"],
        kind=[Kind[name.upper()] for name in columns["kind"]],
        candid=columns["candid"],
        survey=[SURVEYS.index(name) for name in survey] if isinstance(survey, list) else SURVEYS.index(survey),
    )
    return StoredObject(
        answer["object_id"],
        answer["ra"],
        answer["dec"],
        light_curve,
        None if latest is None else Classification.of(latest),
        answer["links"],
        tuple(answer.get("sources", ())),
        answer.get("context"),
        tuple(
            (each["object_id"], each["survey"], each["separation_arcsec"]) for each in answer.get("counterparts", ())
        ),
    )


def _file(name: str, content: bytes, strict: bool) -> dict[str, Any]:
    headers = {"content-type": "application/octet-stream"}
    return {"content": content, "params": {"name": name, "strict": strict}, "headers": headers}


def _read_file(path: Path, answer: dict[str, Any]) -> list[Classification]:
    if answer["skipped_rows"]:
        first = answer["first_skipped"][0]
        warnings.warn(
            f"{path.name}, read as {answer['read_as']}: {answer['skipped_rows']} rows were left out; the first is row"
            f" {first['row']}: {first['column']} is {first['value'] or 'empty'}, {first['reason']}",
            stacklevel=3,
        )
    return [Classification.of(each) for each in answer["classifications"]]


def _parquet(points: Table) -> bytes:
    if hasattr(points, "to_pandas") and not isinstance(points, pa.Table):  # astropy: masked values become null
        points = points.to_pandas()
    table = points if isinstance(points, pa.Table) else pa.Table.from_pandas(points, preserve_index=False)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _like(points: Table, answers: list[dict[str, Any]]) -> Table:
    """A row per object, in the same kind of table as `points`: the answer's plain fields, and `p_CLASS` per class."""
    said = [each.get("mutual_information", each.get("bald")) for each in answers]
    stochastic = any(value is not None for value in said)
    rows = [
        {
            "object_id": each["object_id"],
            "top_class": each["top_class"],
            "top_probability": each["top_probability"],
            "ood_score": float("nan") if each["ood_score"] is None else each["ood_score"],
            "n_detections": sum(each["n_detections"].values()),
            "n_upper_limits": sum(each["n_upper_limits"].values()),
            "conformal_set": ",".join(each["conformal_set"]),
            "flags": ",".join(each["flags"]),
            "classifier": each["classifier"],
            "version": each["version"],
        }
        | ({"mutual_information": value, "bald": value} if stochastic else {})
        | {f"p_{name}": probability for name, probability in each["probabilities"].items()}
        for each, value in zip(answers, said, strict=True)
    ]
    table = pa.Table.from_pylist(rows)
    if isinstance(points, pa.Table):
        return table
    if "astropy" in sys.modules and isinstance(points, sys.modules["astropy.table"].Table):
        from astropy.table import Table as AstropyTable

        return AstropyTable({name: table[name].to_numpy() for name in table.column_names})
    return table.to_pandas()
