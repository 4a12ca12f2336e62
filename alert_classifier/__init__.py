"""The alert classifier for Python programs: these names are promised, everything else may change between versions.

    from alert_classifier import Classifier, LightCurve, load_bundle

    classifier = Classifier(load_bundle())
    [prediction] = classifier.classify([light_curve])

`Client` and `AsyncClient` ask a running service over HTTP; `decode_classification` reads a message of its output topic.
`alert_classifier.spark` and `alert_classifier.dask` classify on those engines.
Every error that is raised on purpose descends from `AlertClassifierError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from service import __version__

if TYPE_CHECKING:
    from service.client import AsyncClient, Client
    from service.errors import AlertClassifierError
    from service.inference.bundle import load_bundle
    from service.inference.classifier import Classifier
    from service.output.avro import decode_classification
    from service.photometry import Context, LightCurve

__all__ = [
    "AlertClassifierError",
    "AsyncClient",
    "Classifier",
    "Client",
    "Context",
    "LightCurve",
    "__version__",
    "decode_classification",
    "load_bundle",
]

# A consumer of the topic should not wait for ONNX Runtime, nor a client for numba: a name is imported when it is used.
_MODULES: Final = {
    "AlertClassifierError": "service.errors",
    "AsyncClient": "service.client",
    "Classifier": "service.inference.classifier",
    "Client": "service.client",
    "Context": "service.photometry",
    "LightCurve": "service.photometry",
    "decode_classification": "service.output.avro",
    "load_bundle": "service.inference.bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
