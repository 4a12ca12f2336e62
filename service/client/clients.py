"""The two clients: requests, retries, pages."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import httpx

from service.client.answers import (
    Classification,
    Neighbour,
    ServiceError,
    ServiceUnreachableError,
    StoredObject,
    one_or_many,
    read_file,
    stored,
)
from service.client.bodies import (
    Column,
    Surroundings,
    Table,
    Unit,
    context_of,
    file_body,
    like,
    parquet,
    path_of,
    plain,
    sent,
)
from service.photometry import LightCurve

PARQUET: Final = "application/vnd.apache.parquet"
PAGE: Final = 500  # objects asked for at a time

# Worth a retry: too many requests, a proxy whose service is down, a service that waits for its store.
RETRIED: Final = (429, 502, 503, 504)
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 30.0


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
            return {"object_id": object_id} | sent(light_curve)
        body = {
            name: values if isinstance(values, str) else plain(values)  # one survey for all points
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
            {"object_id": name} | sent(light_curve) | context_of(known.get(name))
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
        body = self._columns(light_curve, unit, object_id, columns) | context_of(context)
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
        return one_or_many(self._ask("POST", "/v1/classify/alert", content=content, params=params, headers=headers))

    def classify_table(self, points: Table, *, unit: Unit = "mag") -> Table:
        """Classify a table with a row per point: pandas, astropy or pyarrow in, the same out, with a row per object.

        Columns as of `classify`, and `object_id`.
        """
        headers = {"content-type": PARQUET}
        answer = self._ask("POST", "/v1/classify", content=parquet(points), params={"unit": unit}, headers=headers)
        return like(points, answer["classifications"])

    def classify_file(self, path: Path | str, *, strict: bool = False) -> list[Classification]:
        """Classify a file as a broker or archive exports it (ALeRCE, Fink, Lasair, ANTARES, Babamul, forced photometry
        servers of ZTF and ATLAS; CSV, JSON, Parquet, text, ECSV, FITS, VOTable): one answer per object.

        Rows that can't be read are left out with a warning, or with `strict` refuse the file (ServiceError).
        """
        path = Path(path)
        answer = self._ask("POST", "/v1/classify/table", **file_body(path.name, path.read_bytes(), strict))
        return read_file(path, answer)

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
        return stored(self._ask("GET", path_of(object_id)))

    def history(self, object_id: str) -> list[dict[str, Any]]:
        """The object's classifications, oldest first."""
        found: list[dict[str, Any]] = self._ask("GET", path_of(object_id, "/history"))["classifications"]
        return found

    def similar(self, object_id: str, limit: int = 10) -> list[Neighbour]:
        """The objects most alike to it, by the model's embedding."""
        answer = self._ask("GET", path_of(object_id, "/similar"), params={"limit": limit})
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
        body = self._columns(light_curve, unit, object_id, columns) | context_of(context)
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
        return one_or_many(
            await self._ask("POST", "/v1/classify/alert", content=content, params=params, headers=headers)
        )

    async def classify_table(self, points: Table, *, unit: Unit = "mag") -> Table:
        """See `Client.classify_table`."""
        headers = {"content-type": PARQUET}
        content = await asyncio.to_thread(parquet, points)
        answer = await self._ask("POST", "/v1/classify", content=content, params={"unit": unit}, headers=headers)
        return like(points, answer["classifications"])

    async def classify_file(self, path: Path | str, *, strict: bool = False) -> list[Classification]:
        """See `Client.classify_file`."""
        path = Path(path)
        content = await asyncio.to_thread(path.read_bytes)
        answer = await self._ask("POST", "/v1/classify/table", **file_body(path.name, content, strict))
        return read_file(path, answer)

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
        return stored(await self._ask("GET", path_of(object_id)))

    async def history(self, object_id: str) -> list[dict[str, Any]]:
        """See `Client.history`."""
        found: list[dict[str, Any]] = (await self._ask("GET", path_of(object_id, "/history")))["classifications"]
        return found

    async def similar(self, object_id: str, limit: int = 10) -> list[Neighbour]:
        """See `Client.similar`."""
        answer = await self._ask("GET", path_of(object_id, "/similar"), params={"limit": limit})
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
