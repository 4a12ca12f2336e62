"""The published message: one classifier version's answer to one alert, as `schemas/classification.avsc` tells."""

from __future__ import annotations

from time import time
from typing import Any, Final

from service.alerts.quality import quality_flags
from service.inference.prediction import Prediction
from service.output.avro import SingleObject
from service.photometry.time import unix_from_mjd
from service.store.interface import StoredClassification
from service.stream.batch import Item

CLASSIFICATION: Final = SingleObject("classification")

MICROSECONDS: Final = 1_000_000


def decode_classification(message: bytes) -> dict[str, Any]:
    """The fields of a published message; timestamps as datetimes in UTC. Raises SchemaMismatchError."""
    return CLASSIFICATION.decode(message)


def document(item: Item, prediction: Prediction) -> dict[str, Any]:
    """`prediction` for the alert of `item` as the schema's fields, JSON-able; timestamps in microseconds since 1970."""
    alert, message = item.alert, item.message
    assert alert is not None
    return {
        "object_id": alert.object_id,
        "candid": alert.candid,
        "survey": alert.survey,
        "mjd": alert.mjd,
        "ra": alert.ra,
        "dec": alert.dec,
        **prediction.fields(),
        "flags": [*prediction.flags, *quality_flags(item.flags)],
        "observed": round(unix_from_mjd(alert.mjd) * MICROSECONDS),
        "broker_timestamp": None if message.timestamp is None else round(message.timestamp * MICROSECONDS),
        "received": round(message.received * MICROSECONDS),
        "published": round(time() * MICROSECONDS),
    }


def stored(document: dict[str, Any], prediction: Prediction, *, active: bool = True) -> StoredClassification:
    """`document` as the store keeps it."""
    return StoredClassification(
        object_id=document["object_id"],
        candid=document["candid"],
        classifier=document["classifier"],
        version=document["version"],
        mjd=document["mjd"],
        published_at=document["published"] / MICROSECONDS,
        top_class=document["top_class"],
        top_probability=document["top_probability"],
        document=document,
        active=active,
        embedding=prediction.embedding,
    )
