"""Settings of the rooms that are neither Kafka's nor a survey's."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from service.config.kinds import Device, Group

_ORIGIN: Final = re.compile(r"https?://([^\s@/?#:\[\]]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?")


class StoreSettings(Group):
    url: SecretStr = Field(
        default=SecretStr("sqlite:///var/alert-classifier.db"),
        description="sqlite:///PATH (embedded) or postgresql://... (shared by replicas)",
    )
    join_radius_arcsec: float = Field(
        default=1.5,
        ge=0,
        le=30,
        description="ATLAS photometry joins the nearest object within this; 0: none; the same in every replica",
    )
    cutouts_bytes: int = Field(
        default=0,
        ge=0,
        description="pictures of each object's newest packet kept in the store, bytes of all together; beyond it the"
        " oldest go; 0: they are not read",
    )


class ModelSettings(Group):
    bundle: Path | None = Field(default=None, description="folder of the active model bundle; empty: the shipped one")
    of_survey: dict[str, Path] = Field(
        default_factory=dict,
        description="survey (lsst, ...) -> folder of the bundle that answers in place of the active one where all"
        " points of an object are of that survey",
    )
    shadow_bundles: list[Path] = Field(default_factory=list, description="bundles that answer beside the active one")
    trusted_keys: list[str] = Field(
        default_factory=list,
        description="minisign public keys: only bundles that one of them has signed are loaded; empty: any",
    )
    device: Device = Device.AUTO
    threads: int = Field(default=0, ge=0, description="threads that call the model; 0: one per core")


class PipelineSettings(Group):
    max_batch: int = Field(
        default=256, ge=1, le=10_000, description="alerts per batch at most, when draining; 20 MB of packets"
    )
    linger_s: float = Field(
        default=0.01, ge=0, le=1, description="how long a batch waits for more once it has an alert: latency when idle"
    )
    batch_window_s: float | None = Field(
        default=None,
        ge=0,
        le=0.1,
        description="how long the model waits for more batches to run with one; unset: 0.004 on a GPU, else 0",
    )
    queue_depth: int = Field(default=2, ge=1, le=16, description="batches that may wait between two stages")
    max_message_bytes: int = Field(
        default=10_485_760,
        ge=10_000,
        description="larger messages are dead-lettered unread; the default is what Rubin's brokers take",
    )
    counterparts: bool | None = Field(
        default=None,
        description="whether messages name the objects of other surveys at an object's place, within"
        " store.join_radius_arcsec: a search in the store for every batch; unset: where several inputs are read",
    )
    retry_s: float = Field(default=1.0, gt=0, description="pause between tries while the store or the broker is away")
    standstill_s: float = Field(
        default=30.0, gt=0, description="not ready when a stage has been working on the same batch for longer"
    )
    give_up_s: float = Field(
        default=120.0,
        gt=0,
        description="... and `serve` ends, to be started anew, when it has been for longer than this",
    )
    journal: Path | None = Field(
        default=None,
        description="file that tells after a crash which messages were in hand; unset: beside the SQLite store,"
        " var/alert-classifier-in-flight with PostgreSQL",
    )


class ApiSettings(Group):
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_body_bytes: int = Field(default=32_000_000, ge=1000)
    max_bodies_bytes: int = Field(
        default=128_000_000,
        ge=1000,
        description="of all bodies under way together, and never less than one; beyond it the largest is refused",
    )
    max_connections: int = Field(
        default=4000, ge=10, description="beyond it the connection that has waited longest without a request is closed"
    )
    head_timeout_s: float = Field(
        default=10.0, gt=0, description="for a new connection's first request, and for each request line and headers"
    )
    body_timeout_s: float = Field(
        default=20.0, gt=0, description="how long a body may come more slowly than 50 kB/s before it is refused"
    )
    idle_timeout_s: int = Field(
        default=75, ge=1, description="between requests on one connection; also for a client that takes no answer"
    )
    trusted_proxies: list[str] = Field(
        default_factory=list,
        description="addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed; empty: nobody's",
    )
    max_light_curves: int = Field(default=1000, ge=1, description="light curves per request")
    max_points: int = Field(default=100_000, ge=1, description="points per request")
    api_keys: list[SecretStr] = Field(
        default_factory=list, description="SHA-256 hex digests, `scope:digest`; empty: open"
    )
    rate_limit_per_s: float = Field(default=0.0, ge=0, description="requests per second and client; 0: none")
    cors_origins: list[str] = Field(default_factory=list)
    docs: bool = True
    metrics: bool = True

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, given: list[str]) -> list[str]:
        for each in given:
            try:
                ip_network(each)
            except ValueError:
                raise ValueError("each must be an address or a network like 10.0.0.0/8") from None
        return given


class WatchSettings(Group):
    """Saved filters (`/v1/watches`): feeds need no setting, webhooks the origins that they may go to."""

    webhook_origins: list[str] = Field(
        default_factory=list,
        description="where webhooks may be sent, like https://hooks.example.org; empty: nowhere. A private address is"
        " reached only if it stands here",
    )
    interval_s: float = Field(default=2.0, gt=0, description="how often it is looked for what webhooks are to be told")

    @field_validator("webhook_origins")
    @classmethod
    def _origins(cls, given: list[str]) -> list[str]:
        for each in given:
            if not _ORIGIN.fullmatch(each):
                raise ValueError("each must be scheme, host and perhaps port, like https://hooks.example.org")
        return [each.lower() for each in given]

    def allows(self, url: str) -> bool:
        """Whether a webhook may go to `url`."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return False
        if parts.username is not None or parts.hostname is None:
            return False
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        standing = {"https": 443, "http": 80}.get(parts.scheme)
        plain = f"{parts.scheme}://{host}"
        wanted = {plain if port in (None, standing) else f"{plain}:{port}", f"{plain}:{port or standing}"}
        return any(each in wanted for each in self.webhook_origins)


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


class LogSettings(Group):
    level: Annotated[str, BeforeValidator(_upper)] = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    format: str = Field(default="text", pattern="^(text|json)$")
