"""`manifest.json` of a model bundle: everything needed to run its graph and to calibrate and describe its outputs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.photometry import BAND_CODES, CONTEXT_INPUT, ZTF_WAVELENGTHS
from service.photometry.context import refuse_unknown

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Preprocessing(_Strict):
    """Which function of `preprocessing.registry` makes the graph's inputs, and with what parameters."""

    id: str = Field(examples=["alert-clr/1"])
    parameters: dict[str, Any] = Field(default_factory=dict)


class Calibration(_Strict):
    """Per detection-count bin: bin k holds edges[k] <= n_detections < edges[k + 1]; the last is open."""

    edges: list[int] = Field(description="first count of each bin, ascending, starting at 1")
    temperature: list[float] = Field(description="one per bin; logits are divided by it")
    conformal_coverage: float = Field(gt=0, lt=1, description="nominal coverage of the conformal sets")
    conformal_thresholds: list[list[float]] = Field(
        description="(bins, classes): a class belongs to the set where 1 - p <= threshold"
    )

    @model_validator(mode="after")
    def _shapes_agree(self) -> Calibration:
        if not self.edges or self.edges[0] != 1 or sorted(set(self.edges)) != self.edges:
            raise ValueError("edges must ascend from 1")
        if not len(self.edges) == len(self.temperature) == len(self.conformal_thresholds):
            raise ValueError("edges, temperature and conformal_thresholds must have one entry per bin")
        if min(self.temperature) <= 0:
            raise ValueError("temperature must be positive")
        return self


class OutOfDistribution(_Strict):
    """Squared Mahalanobis distance of the embedding to the nearest class mean, under one shared covariance
    (Lee et al. 2018, arXiv:1807.03888), divided by its median on the calibration split.
    """

    means: list[list[float]] = Field(description="(classes, D); a class that no light curve tells may have none")
    whitening: list[list[float]] = Field(description="(k, D): W with W^T W the inverse of the shared covariance")
    scale: float = Field(gt=0, description="median squared distance on the calibration split")
    threshold: float | list[float] = Field(
        description="scaled score above which the flag is set (99th percentile): one, or one per detection-count bin,"
        " for with few detections everything lies far from the class means"
    )

    @model_validator(mode="after")
    def _shapes_agree(self) -> OutOfDistribution:
        widths = {len(row) for row in (*self.means, *self.whitening)}
        if len(widths) != 1:
            raise ValueError("means and whitening must have D columns each")
        if min(self.thresholds, default=0) <= 0:
            raise ValueError("threshold must be positive")
        return self

    @property
    def thresholds(self) -> list[float]:
        """One for all bins, or one per bin."""
        return self.threshold if isinstance(self.threshold, list) else [self.threshold]


class Padding(_Strict):
    """For GPUs: the graph takes `points` padded with zeros, so that light curves of similar lengths share a run."""

    lengths: str = Field(description="the input that says how many points of a window are real: int64 (B,)")
    buckets: list[int] = Field(min_length=1, description="lengths to fill up to, ascending; a longer one stays exact")

    @model_validator(mode="after")
    def _buckets_ascend(self) -> Padding:
        if min(self.buckets) < 1 or sorted(set(self.buckets)) != self.buckets:
            raise ValueError("buckets must ascend from at least 1")
        return self


class Noise(_Strict):
    """One noise input of the graph, shape (passes, ...): drawn from the seed, the same for all light curves."""

    input: str = Field(description="name of the graph's input")
    kind: Literal["dropout", "gumbel"] = Field(description="masks that keep the mean, or noise added to scores")
    rate: float = Field(default=0.0, ge=0, lt=1, description="of dropout: the share of a mask that is zero")


class Stochastic(_Strict):
    """The graph runs `passes` times per light curve, each time with other noise: logits (B, passes, C).

    Probabilities are the mean over passes; variance and mutual information measure how far the passes disagree.
    """

    method: str = Field(description="what the passes sample, for people: mc-dropout, hsa, ensemble, ...")
    passes: int = Field(ge=2, le=1000)
    seed: int = Field(default=0, ge=0, description="of all noise")
    noise: list[Noise] = Field(default_factory=list, description="none where the passes are networks of their own")


class Manifest(_Strict):
    """See each field; a bundle is refused if `sha256` is not that of its `model.onnx`."""

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]*$")
    description: str = ""
    taxonomy: dict[str, str] = Field(description="class -> superclass, in the order of the logits")
    prior: list[float] = Field(description="class frequencies in training, (C,), summing to one")
    preprocessing: Preprocessing
    bands: list[str] = Field(
        default_factory=lambda: list(ZTF_WAVELENGTHS), min_length=1, description="the model knows; others are left out"
    )
    context: list[str] = Field(
        default_factory=list,
        description="columns of the object's context that the graph takes, NaN where missing, as the float32 input"
        f" {CONTEXT_INPUT} (B, columns); none: it has no such input",
    )
    padding: Padding | None = Field(default=None, description="how the graph takes padding; none: exact lengths only")
    stochastic: Stochastic | None = Field(default=None, description="passes under noise; none: one answer, no noise")
    batch_invariant: bool = Field(
        default=True,
        description="false where neighbours in a batch change an answer (dynamic quantisation): then one by one",
    )
    outputs: dict[Literal["logits", "embedding"], str] = Field(
        description="role -> name of the graph's output: logits (B, C), embedding (B, D)"
    )
    minimum_detections: int = Field(default=1, ge=1, description="below this, `too_few_points` is flagged")
    calibration: Calibration
    context_calibration: Calibration | None = Field(
        default=None, description="of light curves with any of `context`; none: `calibration` is for them too"
    )
    out_of_distribution: OutOfDistribution | None = None
    sha256: Sha256
    data_digest: str = Field(description="sha256 over the training tables, as the run recorded it")
    opset: int
    created: str = Field(description="ISO 8601, UTC")

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.taxonomy)

    @property
    def superclasses(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.taxonomy.values()))

    @model_validator(mode="after")
    def _shapes_agree(self) -> Manifest:
        count = len(self.taxonomy)
        if count < 2:
            raise ValueError("taxonomy needs at least two classes")
        if len(self.prior) != count or abs(sum(self.prior) - 1) > 1e-3:
            raise ValueError(f"prior must hold {count} frequencies that sum to one")
        missing = [role for role in ("logits", "embedding") if role not in self.outputs]
        if missing:
            raise ValueError(f"outputs must name the graph's {' and '.join(missing)}")
        unknown = [band for band in self.bands if band not in BAND_CODES]
        if unknown:
            raise ValueError(f"bands holds {', '.join(unknown)}; known bands are {', '.join(BAND_CODES)}")
        refuse_unknown(self.context)
        twice = sorted({name for name in self.context if self.context.count(name) > 1})
        if twice:
            raise ValueError(f"context names {', '.join(twice)} twice")
        for calibration in filter(None, (self.calibration, self.context_calibration)):
            if any(len(row) != count for row in calibration.conformal_thresholds):
                raise ValueError(f"conformal_thresholds must have {count} columns, one per class")
        if self.context_calibration and not self.context:
            raise ValueError("context_calibration is of light curves with context, but context names no column")
        if self.context_calibration and self.context_calibration.edges != self.calibration.edges:
            raise ValueError("context_calibration must have the edges of calibration")
        if self.out_of_distribution and not 0 < len(self.out_of_distribution.means) <= count:
            raise ValueError(f"out_of_distribution.means must have 1 to {count} rows, one per class that has a mean")
        bins = len(self.calibration.edges)
        if self.out_of_distribution and len(self.out_of_distribution.thresholds) not in (1, bins):
            raise ValueError(f"out_of_distribution.threshold must be one number or {bins}, one per detection-count bin")
        return self
