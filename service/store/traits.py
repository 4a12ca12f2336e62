"""What lists are filtered by besides class and time, read from the document of a classification."""

from __future__ import annotations

from typing import Any

import orjson

from service.store.interface import StoredClassification
from service.store.sky import cell_of

# (survey, most probable superclass, flags as a JSON array): of many objects the same
Traits = tuple[str, str, str]


def traits_of(classification: StoredClassification) -> Traits:
    """As the store keeps them."""
    document = classification.document
    flags = document.get("flags")
    said = orjson.dumps(sorted(set(flags))).decode() if flags else "[]"
    return document.get("survey") or "", superclass_of(classification), said


def superclass_of(classification: StoredClassification) -> str:
    """The most probable one; empty where no class is named."""
    superclasses: dict[str, float] = classification.document.get("superclass_probabilities") or {}
    named = superclasses and classification.top_class is not None
    return max(superclasses, key=superclasses.__getitem__) if named else ""


def detections_of(document: dict[str, Any]) -> int:
    """In all bands."""
    return sum((document.get("n_detections") or {}).values())


def place_of(document: dict[str, Any]) -> int | None:
    """The sky cell of the alert; None where it has no position."""
    ra, dec = document.get("ra"), document.get("dec")
    return None if ra is None or dec is None else cell_of(ra, dec)
