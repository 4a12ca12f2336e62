"""A model bundle on disk: `model.onnx`, `manifest.json`, `MODEL_CARD.md`, `metrics.json` in one folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import ValidationError

from service.errors import AlertClassifierError
from service.inference.batching import contexts_of, fill_up, lay_end_to_end
from service.inference.manifest import Manifest
from service.inference.preprocessing.registry import PREPROCESSINGS
from service.photometry import CONTEXT_COLUMNS, CONTEXT_INPUT, Context, LightCurve
from service.validation import said

MODEL: Final = "model.onnx"
MANIFEST: Final = "manifest.json"
CARD: Final = "MODEL_CARD.md"
METRICS: Final = "metrics.json"

SHIPPED: Final = "alert-clr"  # the default bundle, a folder in service/bundles


class BundleError(AlertClassifierError, ValueError):
    """A bundle that can't be served; the message names the folder, the file and the field."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle whose files exist and agree with each other. `graph` is the ONNX model that the hash was checked on."""

    folder: Path
    manifest: Manifest
    graph: bytes
    card: str
    metrics: dict[str, Any]

    @property
    def label(self) -> str:
        """`name version`, for people."""
        return f"{self.manifest.name} {self.manifest.version}"

    def tensors(
        self, light_curves: Sequence[LightCurve], contexts: Sequence[Context | None] | None = None
    ) -> list[dict[str, NDArray[Any]]]:
        """The graph's inputs for each light curve, with its context if the graph takes it, without a batch axis. Raises
        ValueError if one can't be used.
        """
        return self.inputs(*lay_end_to_end(light_curves), self.context_inputs(contexts, len(light_curves)))

    def context_inputs(self, contexts: Sequence[Context | None] | None, count: int) -> NDArray[np.float32] | None:
        """What the graph takes of the contexts, (count, columns); None if it takes none."""
        if not self.manifest.context:
            return None
        columns = [CONTEXT_COLUMNS.index(name) for name in self.manifest.context]
        taken: NDArray[np.float32] = contexts_of(contexts, count)[:, columns]
        return taken

    def inputs(
        self, points: NDArray[np.void], counts: NDArray[np.int64], contexts: NDArray[np.float32] | None
    ) -> list[dict[str, NDArray[Any]]]:
        """`tensors` of light curves that already lie end to end; `contexts` as `context_inputs` gives them."""
        preprocessing = self.manifest.preprocessing
        exact = PREPROCESSINGS[preprocessing.id].inputs(points, counts, preprocessing.parameters)
        padding = self.manifest.padding
        made = [dict(inputs) if padding is None else fill_up(inputs, padding) for inputs in exact]
        if contexts is not None:
            for inputs, context in zip(made, contexts, strict=True):
                inputs[CONTEXT_INPUT] = context
        return made

    def reads(self) -> list[tuple[str, str]]:
        """(survey, band) of the points that the model uses. Raises ValueError if it would use none."""
        preprocessing, bands = self.manifest.preprocessing, self.manifest.bands
        read = PREPROCESSINGS[preprocessing.id].reads(preprocessing.parameters)
        known = [(survey, band) for survey, band in read if band in bands]
        if not known:
            wanted = ", ".join(dict.fromkeys(band for _, band in read)) or "nothing"
            raise ValueError(f"it reads {wanted}, but bands has {', '.join(bands)} alone")
        return known


def load_bundle(folder: Path | str | None = None) -> Bundle:
    """Read a bundle, the shipped one unless `folder` says another, and check its hash; opening it as a `Classifier`
    checks the graph too.

    Raises BundleError if a file is missing, the manifest has a wrong field, the preprocessing is unknown, or the model
    is not the one that the manifest was written for.
    """
    folder = Path(folder or default_bundle_folder())
    if not folder.is_dir():
        raise BundleError(f"the model bundle {folder} is not a folder")
    manifest = _manifest(folder)
    if manifest.preprocessing.id not in PREPROCESSINGS:
        raise BundleError(
            f"{MANIFEST} of {folder}: preprocessing.id {manifest.preprocessing.id!r} is unknown;"
            f" known are {', '.join(PREPROCESSINGS)}"
        )
    graph = _read(folder, MODEL)
    digest = hashlib.sha256(graph).hexdigest()
    if digest != manifest.sha256:
        raise BundleError(
            f"{MODEL} of {folder} has sha256 {digest}, but its manifest says {manifest.sha256}:"
            " the file is damaged or belongs to another bundle"
        )
    try:
        card = _read(folder, CARD).decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{CARD} of {folder} is not UTF-8 text: {error}") from error
    metrics = _json(folder, METRICS)
    if not isinstance(metrics, dict):
        raise BundleError(f"{METRICS} of {folder} must hold a JSON object")
    return Bundle(folder, manifest, graph, card, metrics)


def default_bundle_folder() -> Path:
    """The folder of the shipped bundle."""
    return Path(str(resources.files("service"))) / "bundles" / SHIPPED


def _manifest(folder: Path) -> Manifest:
    values = _json(folder, MANIFEST)
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        clauses = (f"{'.'.join(map(str, e['loc'])) or 'manifest'}: {said(e)}" for e in error.errors())
        raise BundleError(f"{MANIFEST} of {folder}: {'; '.join(clauses)}") from error


def _json(folder: Path, name: str) -> Any:
    try:
        return orjson.loads(_read(folder, name))
    except orjson.JSONDecodeError as error:
        raise BundleError(f"{name} of {folder} is not JSON: {error}") from error


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(f"the model bundle {folder} has no readable {name} ({error.strerror})") from error
