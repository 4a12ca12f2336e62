"""A model bundle on disk: `model.onnx`, `manifest.json`, `MODEL_CARD.md`, `metrics.json` in one folder, and
`SHA256SUMS`, which holds them together.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import ValidationError

from service.inference.batching import contexts_of, fill_up, lay_end_to_end
from service.inference.integrity import (
    GRAPH_BYTES,
    MANIFEST_BYTES,
    SUMS,
    TEXT_BYTES,
    check_seal,
    read_bounded,
    seal,
)
from service.inference.integrity import (
    BundleError as BundleError,
)
from service.inference.manifest import Manifest
from service.inference.preprocessing.registry import PREPROCESSINGS
from service.photometry import CONTEXT_COLUMNS, CONTEXT_INPUT, Context, LightCurve
from service.validation import said

MODEL: Final = "model.onnx"
MANIFEST: Final = "manifest.json"
CARD: Final = "MODEL_CARD.md"
METRICS: Final = "metrics.json"
FILES: Final = (MODEL, MANIFEST, CARD, METRICS)

log = logging.getLogger(__name__)

SHIPPED: Final = "alert-clr"  # the default bundle, a folder in service/bundles


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle whose files exist and agree with each other. `graph` is the ONNX model that the hash was checked on;
    `digest` the sha256 of `SHA256SUMS` and so of all files together, None for a bundle without it.
    """

    folder: Path
    manifest: Manifest
    graph: bytes
    card: str
    metrics: dict[str, Any]
    digest: str | None = None

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
        return self.padded(PREPROCESSINGS[preprocessing.id].inputs(points, counts, preprocessing.parameters), contexts)

    def padded(
        self, exact: Sequence[Mapping[str, NDArray[Any]]], contexts: NDArray[np.float32] | None
    ) -> list[dict[str, NDArray[Any]]]:
        """Inputs as a preprocessing makes them, with padding and contexts where the graph takes them."""
        padding = self.manifest.padding
        made = [dict(inputs) if padding is None else fill_up(inputs, padding) for inputs in exact]
        if contexts is not None:
            for inputs, context in zip(made, contexts, strict=True):
                inputs[CONTEXT_INPUT] = context
        return made

    @property
    def in_blocks(self) -> bool:
        """Whether long light curves are read in blocks, whose embeddings may be kept."""
        return PREPROCESSINGS[self.manifest.preprocessing.id].in_blocks

    @property
    def embeds_as(self) -> str:
        """A name for how this bundle embeds a block: bundles with the same one give the same embedding."""
        parameters = orjson.dumps(self.manifest.preprocessing.model_dump(), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(self.manifest.sha256.encode() + parameters).hexdigest()[:32]

    def reads(self) -> list[tuple[str, str]]:
        """(survey, band) of the points that the model uses. Raises ValueError if it would use none."""
        preprocessing, bands = self.manifest.preprocessing, self.manifest.bands
        read = PREPROCESSINGS[preprocessing.id].reads(preprocessing.parameters)
        known = [(survey, band) for survey, band in read if band in bands]
        if not known:
            wanted = ", ".join(dict.fromkeys(band for _, band in read)) or "nothing"
            raise ValueError(f"it reads {wanted}, but bands has {', '.join(bands)} alone")
        return known


def load_bundle(folder: Path | str | None = None, trusted_keys: Sequence[str] = ()) -> Bundle:
    """Read a bundle, the shipped one unless `folder` says another, and check its hashes; opening it as a `Classifier`
    checks the graph too. With `trusted_keys` (minisign public keys) one of them must have signed it.

    Raises BundleError if a file is missing, too large or not the one that the bundle was sealed with, the manifest has
    a wrong field, the preprocessing is unknown, or the model is not the one that the manifest was written for. A bundle
    without `SHA256SUMS`, as earlier versions made them, is loaded with a warning.
    """
    folder = Path(folder or default_bundle_folder())
    if not folder.is_dir():
        raise BundleError(f"the model bundle {folder} is not a folder")
    contents = {
        name: read_bounded(folder, name, most)
        for name, most in zip(FILES, (GRAPH_BYTES, MANIFEST_BYTES, TEXT_BYTES, TEXT_BYTES), strict=True)
    }
    digest = check_seal(folder, contents, trusted_keys)
    manifest = _manifest(folder, contents[MANIFEST])
    if manifest.preprocessing.id not in PREPROCESSINGS:
        raise BundleError(
            f"{MANIFEST} of {folder}: preprocessing.id {manifest.preprocessing.id!r} is unknown;"
            f" known are {', '.join(PREPROCESSINGS)}"
        )
    graph = contents[MODEL]
    actual = hashlib.sha256(graph).hexdigest()
    if actual != manifest.sha256:
        raise BundleError(
            f"{MODEL} of {folder} has sha256 {actual}, but its manifest says {manifest.sha256}:"
            " the file is damaged or belongs to another bundle"
        )
    try:
        card = contents[CARD].decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{CARD} of {folder} is not UTF-8 text: {error}") from error
    metrics = _json(folder, METRICS, contents[METRICS])
    if not isinstance(metrics, dict):
        raise BundleError(f"{METRICS} of {folder} must hold a JSON object")
    if digest is None:
        log.warning(
            "the model bundle %s has no %s: its graph is checked, its manifest is not;"
            " `alert-classifier model seal` writes one",
            folder,
            SUMS,
        )
    return Bundle(folder, manifest, graph, card, metrics, digest)


def seal_bundle(folder: Path) -> str:
    """Write `SHA256SUMS` over the bundle's files that are there, anew after each change of one. Returns the digest."""
    return seal(folder, FILES)


def default_bundle_folder() -> Path:
    """The folder of the shipped bundle."""
    return Path(str(resources.files("service"))) / "bundles" / SHIPPED


def _manifest(folder: Path, content: bytes) -> Manifest:
    values = _json(folder, MANIFEST, content)
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        clauses = (f"{'.'.join(map(str, e['loc'])) or 'manifest'}: {said(e)}" for e in error.errors())
        raise BundleError(f"{MANIFEST} of {folder}: {'; '.join(clauses)}") from error


def _json(folder: Path, name: str, content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BundleError(f"{name} of {folder} is not JSON: {error}") from error
