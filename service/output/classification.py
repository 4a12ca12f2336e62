"""The published message: one classifier version's answer to one alert (`schemas/classification.avsc`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import time
from typing import Any, Final, Self

from service.alerts.alert import Alert
from service.alerts.quality import quality_flags
from service.inference.prediction import Prediction
from service.photometry import SURVEYS_BY_POSITION
from service.photometry.time import unix_from_mjd
from service.store.interface import Counterpart, StoredClassification, StoredObject

MICROSECONDS: Final = 1_000_000

# Every document of a classification has all of these, in files and over HTTP; what is not known or does not apply is
# null. The fields of the published message, in its order, and `mutual_information`, which it calls `bald`.
FIELDS: Final = (
    "object_id", "candid", "survey", "mjd", "ra", "dec", "classifier", "version", "top_class", "top_probability",
    "probabilities", "superclass_probabilities", "conformal_set", "ood_score", "variance", "mutual_information", "bald",
    "n_detections", "n_upper_limits", "flags", "counterparts", "observed", "broker_timestamp", "received", "published",
)  # fmt: skip
_NOTHING: Final[dict[str, Any]] = dict.fromkeys(FIELDS)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a classification is about: the alert, or the object that photometry by position has joined.

    `mjd` [days, UTC] is the epoch of the classification; ra, dec [deg, ICRS]. `flags` name what the alert's reader did
    not understand.
    """

    object_id: str
    candid: int
    survey: str
    mjd: float
    ra: float
    dec: float
    flags: tuple[str, ...] = ()

    @classmethod
    def of(cls, alert: Alert, stored: StoredObject | None = None) -> Self:
        """An alert is its own subject. For photometry by position it is `stored`, the object that it has joined, at
        the epoch of the object's newest point; with the photometry's epoch the answer could be older than those to
        earlier alerts.
        """
        if stored is not None and alert.survey in SURVEYS_BY_POSITION and len(stored.light_curve):
            newest = float(stored.light_curve.mjd[-1])
            return cls(stored.object_id, alert.candid, alert.survey, newest, stored.ra, stored.dec, alert.flags)
        return cls(alert.object_id, alert.candid, alert.survey, alert.mjd, alert.ra, alert.dec, alert.flags)


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """With null for every field that it lacks: one of an earlier version, or of a light curve without an alert."""
    return _NOTHING | document


def without_alert(object_id: str, prediction: Prediction, flags: Sequence[str] = ()) -> dict[str, Any]:
    """The document of a light curve that came without an alert, so without its epoch, position and clocks. `flags` are
    added to those of the prediction.
    """
    fields = prediction.fields()
    return complete({"object_id": object_id, **fields, "flags": [*fields["flags"], *flags]})


def classification(
    subject: Subject,
    prediction: Prediction,
    *,
    received: float,
    broker_timestamp: float | None = None,
    failed_cuts: Sequence[str] = (),
    counterparts: Sequence[Counterpart] | None = None,
    active: bool = True,
) -> StoredClassification:
    """`prediction` in its published and stored form, dated now. `received`, `broker_timestamp` in seconds since 1970.

    Its `document` holds the schema's fields, JSON-able, times in microseconds since 1970. `active` is False for the
    answer of a shadow bundle. `counterparts` None: they were not looked for.
    """
    published = round(max(time(), received) * MICROSECONDS)  # the clock may have been set back meanwhile
    fields = prediction.fields()
    document = {
        "object_id": subject.object_id,
        "candid": subject.candid,
        "survey": subject.survey,
        "mjd": subject.mjd,
        "ra": subject.ra,
        "dec": subject.dec,
        **fields,
        "flags": [*prediction.flags, *subject.flags, *quality_flags(failed_cuts)],
        "counterparts": None if counterparts is None else [asdict(each) for each in counterparts],
        "observed": round(unix_from_mjd(subject.mjd) * MICROSECONDS),
        "broker_timestamp": None if broker_timestamp is None else round(broker_timestamp * MICROSECONDS),
        "received": round(received * MICROSECONDS),
        "published": published,
    }
    return StoredClassification(
        object_id=subject.object_id,
        candid=subject.candid,
        classifier=prediction.classifier,
        version=prediction.version,
        mjd=subject.mjd,
        published_at=published / MICROSECONDS,
        top_class=fields["top_class"],
        top_probability=fields["top_probability"],
        document=document,
        active=active,
        embedding=prediction.embedding,
    )
