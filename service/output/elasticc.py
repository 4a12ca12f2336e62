"""A classification as ELAsTiCC's `brokerClassification`, version 0.9.1: the record in which brokers answered that
challenge, and the one that tools of several brokers read.

Fields and class numbers are those of https://github.com/LSSTDESC/elasticc (`alert_schema`, `taxonomy/taxonomy.ipynb`,
as of November 2024); a message is the record's body alone, as its `stream-to-zads/fakebroker.py` sends it.
"""

from __future__ import annotations

from importlib import resources
from io import BytesIO
from typing import Any, Final

import fastavro
import orjson

from service import __version__

SCHEMA_TEXT: Final = (
    resources.files("service.output").joinpath("schemas", "elasticc_broker_classification.avsc").read_text("utf-8")
)
SCHEMA: Final = fastavro.parse_schema(orjson.loads(SCHEMA_TEXT))

RESIDUAL: Final = 200  # "not any of the other things": asteroids, and classes of a bundle that are in no taxonomy
# Where the taxonomy has no such class, the "Other" of its kind: young stars among the non-periodic ones, RS CVn stars
# among the periodic ones. Its only cataclysmic variables are dwarf novae.
CLASS_IDS: Final = {
    "SNIa": 2222, "SNIbc": 2223, "SNII": 2224, "SLSN": 2242, "TDE": 2243, "AGN": 2332, "YSO": 2331, "CV": 2234,
    "LPV": 2326, "ECL": 2325, "RR": 2323, "CEP": 2322, "DSCT": 2324, "RS": 2321, "Asteroid": RESIDUAL,
}  # fmt: skip
NOT_CLASSIFIED: Final = 300


def broker_classification(document: dict[str, Any], broker: str) -> bytes:
    """The message of a classification. An answer that names no class says that it was not classified."""
    received = document["received"] // 1000
    sent = document["broker_timestamp"]
    buffer = BytesIO()
    fastavro.schemaless_writer(
        buffer,
        SCHEMA,
        {
            "alertId": document["candid"],
            "diaSourceId": document["candid"],
            "elasticcPublishTimestamp": (document["observed"] if sent is None else sent) // 1000,
            "brokerIngestTimestamp": received,
            "brokerName": broker,
            "brokerVersion": __version__,
            "classifierName": f"{document['classifier']} {document['version']}",
            "classifierParams": " ".join(document["flags"]),
            "classifications": [
                {"classId": number, "probability": probability}
                for number, probability in _by_class_id(document).items()
            ],
        },
    )
    return buffer.getvalue()


def _by_class_id(document: dict[str, Any]) -> dict[int, float]:
    if document["top_class"] is None:
        return {NOT_CLASSIFIED: 1.0}
    found: dict[int, float] = {}
    for name, probability in document["probabilities"].items():
        number = CLASS_IDS.get(name, RESIDUAL)
        found[number] = found.get(number, 0.0) + probability
    return found
