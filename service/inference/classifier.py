"""Light curves in, calibrated predictions out: preprocessing, the graph, calibration, in that order."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service import jit
from service.config import Device
from service.errors import AlertClassifierError
from service.inference import census_kernel
from service.inference.batching import (
    CPU_BATCH,
    CPU_TOKENS,
    CUDA_BATCH,
    CUDA_WINDOW_S,
    equal_shapes,
    lay_end_to_end,
    stack,
)
from service.inference.block_inputs import BlockInputs, Plan
from service.inference.bundle import Bundle, BundleError
from service.inference.calibration import Calibrator, Judgement
from service.inference.prediction import (
    NO_DETECTION,
    NO_MODEL_FOR_SURVEY,
    OUT_OF_DISTRIBUTION,
    TOO_FEW_POINTS,
    UNKNOWN_BAND,
    UNKNOWN_SURVEY,
    UNUSABLE_PHOTOMETRY,
    Prediction,
)
from service.inference.session import CUDA, Session
from service.metrics import stage
from service.photometry import BAND_CODES, BANDS, SURVEY_CODES, SURVEYS, Context, Kind, LightCurve
from service.photometry.context import ContextError

# Light curves prepared at a time: their tensors and embeddings are in memory together, some 10 kB each. Images
# have 200 kB each, so there are fewer at a time: no call should need more than some tens of megabytes.
CHUNK: Final = 1024
CHUNK_BYTES: Final = 32 * 2**20
# Lengths run before the first alert arrives; ONNX Runtime allocates and numpy imports at first use.
WARM_UP_DETECTIONS: Final = (1, 2, 5, 10, 25, 50, 100)
LONG_WARM_UP: Final = 2  # times what is read whole: a light curve in blocks


class NotAListError(AlertClassifierError, TypeError):
    """A light curve where a list of them belongs."""


class Classifier:
    """A bundle ready to answer. Every method may be called from any thread.

    `provider` is the ONNX Runtime execution provider in force; `threads` how many cores one call uses at most;
    `batch_window_s` how long it is worth to wait for more light curves before a call. `embeds_as`: the bundle's, None
    if it keeps nothing of light curves; `keeps_above`: points above which there may be something to keep.
    """

    def __init__(self, bundle: Bundle, device: Device = Device.AUTO, threads: int = 0) -> None:
        """`threads` 0: one per core that this process may use, on CPU; on a GPU one.

        Raises BundleError where graph, preprocessing and manifest don't fit, DeviceError where the device is missing.
        """
        manifest = bundle.manifest
        self.bundle = bundle
        try:
            self._reads = bundle.reads()
            # one point of each, so that no input of the graph is that of a survey which saw nothing
            (sample,) = bundle.tensors([_sample_light_curve(self._reads, max(2, len(self._reads)))])
        except Exception as error:
            raise BundleError(
                f"the manifest of {bundle.folder} gives preprocessing.parameters that"
                f" {manifest.preprocessing.id} can't work with: {error!r}"
            ) from error
        self._session = Session(bundle, device, sample)
        self._blocks = BlockInputs(bundle) if bundle.in_blocks else None
        self.embeds_as = bundle.embeds_as if bundle.in_blocks else None
        self.keeps_above = int(manifest.preprocessing.parameters.get("window", 128))
        self._chunk = max(1, min(CHUNK, CHUNK_BYTES // sum(array.nbytes for array in sample.values())))
        self.provider = self._session.provider
        on_gpu = self.provider == CUDA
        self.threads = threads or (1 if on_gpu else _usable_cores())
        # The caller is one of the threads.
        self._pool = ThreadPoolExecutor(self.threads - 1, "inference") if self.threads > 1 else None
        self.batch_window_s = CUDA_WINDOW_S if on_gpu else 0.0
        self._largest_batch = (CUDA_BATCH if on_gpu else CPU_BATCH) if manifest.batch_invariant else 1
        self._most_tokens = None if on_gpu else CPU_TOKENS

        self._calibrator = Calibrator(manifest)
        self._prior = np.array([manifest.prior], dtype=np.float64) / sum(manifest.prior)  # (1, C)
        self._is_read = np.zeros((len(SURVEYS), len(BANDS)), dtype=np.bool_)
        for survey, band in self._reads:
            self._is_read[SURVEY_CODES[survey], BAND_CODES[band]] = True
        self._classes = manifest.classes
        self._superclasses = manifest.superclasses

    @property
    def name(self) -> str:
        return self.bundle.manifest.name

    @property
    def version(self) -> str:
        return self.bundle.manifest.version

    def classify(
        self,
        light_curves: Sequence[LightCurve],
        contexts: Sequence[Context | None] | None = None,
        kept: Sequence[bytes | None] | None = None,
    ) -> list[Prediction]:
        """One prediction per light curve, in their order. `contexts`: what is known of each one's surroundings, None
        where nothing is; a bundle whose manifest has no `context` does not look at them. Raises ContextError where
        there are more or fewer. `kept`: the `blocks` of an earlier prediction of a bundle that `embeds_as` this one for
        each object, None where there are none: they save time and change no answer.

        What a light curve is classified with does not change its answer by more than rounding (1e-6). Raises
        NotAListError for a light curve alone.
        """
        if isinstance(light_curves, LightCurve):
            raise NotAListError("classify takes a list of light curves: classify([light_curve])")
        if contexts is not None and len(contexts) != len(light_curves):
            given = f"{len(contexts)} contexts for {len(light_curves)} light curves"
            raise ContextError(f"{given}: one each is needed, None where nothing is known")
        predictions: list[Prediction] = []
        for start in range(0, len(light_curves), self._chunk):
            stop = start + self._chunk
            predictions += self._classify(
                light_curves[start:stop],
                contexts[start:stop] if contexts else None,
                kept[start:stop] if kept else None,
            )
        return predictions

    def warm_up(self) -> None:
        """Run light curves of several lengths, so that the first alert is answered as fast as the next."""
        with jit.compiled():
            self.try_out()

    def try_out(self) -> None:
        """`warm_up` without waiting for what is compiled in the background."""
        counts = [count for count in WARM_UP_DETECTIONS for _ in range(2 * self.threads)]
        if self._blocks:  # what cuts and fuses blocks is compiled at first use
            counts.append(LONG_WARM_UP * self.keeps_above)
        self._classify([_sample_light_curve(self._reads, count) for count in counts])

    def _classify(
        self,
        light_curves: Sequence[LightCurve],
        contexts: Sequence[Context | None] | None = None,
        kept: Sequence[bytes | None] | None = None,
    ) -> list[Prediction]:
        with stage("tensors"):
            points, counts = lay_end_to_end(light_curves)
            census = _Census(points, counts, self._is_read)
            usable = census.n_usable > 0
            if not usable.all() or census.n_left_out.any():
                read = np.repeat(usable, counts) & census.is_read
                points, counts = points[read], (counts - census.n_left_out)[usable]
                kept = None if kept is None else list(compress(kept, usable))
            taken = self.bundle.context_inputs(contexts, len(light_curves))
            plan, prepared = self._inputs(points, counts, None if taken is None else taken[usable], kept)
            rows = np.flatnonzero(usable)[prepared]
        with stage("inference"):
            finished = self._blocks.complete(plan, self._embed) if self._blocks else {}
            blocks = {int(rows[row]): packed for row, packed in finished.items()}
            logits, embedding = self._run(plan.newest)
            finite = np.isfinite(logits).all(axis=tuple(range(1, logits.ndim))) & np.isfinite(embedding).all(axis=1)
            rows = rows[finite]
            known = None if taken is None else (taken[rows] == taken[rows]).any(axis=1)  # not NaN
            judged = self._spread(len(light_curves), rows, logits[finite], embedding[finite], census.n_usable, known)
            return self._predictions(census, *judged, blocks)

    def _inputs(
        self,
        points: NDArray[np.void],
        counts: NDArray[np.int64],
        contexts: NDArray[np.float32] | None,
        kept: Sequence[bytes | None] | None,
    ) -> tuple[Plan, NDArray[np.bool_]]:
        """Inputs of those light curves that have any, and which ones (n,)."""
        prepared = np.ones(len(counts), dtype=np.bool_)
        if not len(counts):
            return Plan(), prepared
        try:
            return self._plan(points, counts, contexts, kept), prepared
        except ValueError:  # one of them has none: prepare each by itself, so that only that one is left out
            plan = Plan()
            for row, stop in enumerate(np.cumsum(counts)):
                one = slice(row, row + 1)
                context = None if contexts is None else contexts[one]
                before = None if kept is None else kept[one]
                try:
                    plan.extend(self._plan(points[stop - counts[row] : stop], counts[one], context, before))
                except ValueError:
                    prepared[row] = False
            return plan, prepared

    def _plan(
        self,
        points: NDArray[np.void],
        counts: NDArray[np.int64],
        contexts: NDArray[np.float32] | None,
        kept: Sequence[bytes | None] | None,
    ) -> Plan:
        if self._blocks:
            return self._blocks.plan(points, counts, contexts, kept)
        return Plan(newest=self.bundle.inputs(points, counts, contexts))

    def _embed(self, inputs: list[dict[str, NDArray[Any]]]) -> NDArray[np.float32]:
        """Embeddings (n, D) of blocks."""
        return self._run(inputs)[1]

    def _run(self, inputs: list[dict[str, NDArray[Any]]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (n, C), of stochastic passes (n, P, C), and embeddings (n, D); the threads share out the batches."""
        stochastic = self.bundle.manifest.stochastic
        passes = (stochastic.passes,) if stochastic else ()
        logits = np.empty((len(inputs), *passes, len(self._classes)), dtype=np.float32)
        embedding = np.empty((len(inputs), self._session.embedding_size), dtype=np.float32)
        waiting = deque(equal_shapes(inputs, self._largest_batch, self._most_tokens))

        def work() -> None:
            while True:
                try:
                    batch = waiting.popleft()
                except IndexError:
                    return
                logits[batch], embedding[batch] = self._session.run(stack([inputs[row] for row in batch]))

        helpers = min(self.threads, len(waiting)) - 1
        futures = [self._pool.submit(work) for _ in range(helpers)] if self._pool else []
        try:
            work()
        finally:
            waiting.clear()  # after an error nobody goes on
            for future in futures:
                if not future.cancel():  # a helper that is still busy for another caller is not waited for
                    future.result()
        return logits, embedding

    def _spread(
        self,
        count: int,
        rows: NDArray[np.int64],
        logits: NDArray[np.float32],
        embedding: NDArray[np.float32],
        n_detections: NDArray[np.int64],
        has_context: NDArray[np.bool_] | None,
    ) -> tuple[Judgement, NDArray[np.float32], NDArray[np.bool_]]:
        """Judgement and embedding (count, D) of all light curves, and which are judged (count,): `rows`, some of them
        with context.

        The others get the prior, every class, and an embedding of zeros.
        """
        judged = np.zeros(count, dtype=np.bool_)
        judged[rows] = True
        answer = self._calibrator.judge(logits, embedding, n_detections[rows], has_context)
        if judged.all():
            return answer, embedding, judged
        prior = Judgement(
            probabilities=np.repeat(self._prior.astype(np.float32), count, axis=0),
            superclass_probabilities=np.repeat(self._calibrator.superclasses(self._prior), count, axis=0),
            in_conformal_set=np.ones((count, len(self._classes)), dtype=np.bool_),
            ood_score=np.full(count, np.nan),
            is_out_of_distribution=np.zeros(count, dtype=np.bool_),
            variance=None if answer.variance is None else np.full((count, len(self._classes)), np.nan, np.float32),
            bald=None if answer.bald is None else np.full(count, np.nan),
        )
        for name in Judgement.__slots__:
            if (values := getattr(answer, name)) is not None:
                getattr(prior, name)[rows] = values
        everywhere = np.zeros((count, embedding.shape[1]), dtype=np.float32)
        everywhere[rows] = embedding
        return prior, everywhere, judged

    def _predictions(
        self,
        census: _Census,
        judgement: Judgement,
        embedding: NDArray[np.float32],
        judged: NDArray[np.bool_],
        blocks: Mapping[int, bytes],
    ) -> list[Prediction]:
        """`blocks`: by light curve, what is to be kept of it."""
        # Plain lists: reading an array element by element costs more than everything else here.
        flagged = [
            (NO_DETECTION, census.n_usable == 0),
            (UNUSABLE_PHOTOMETRY, ~judged & (census.n_usable > 0)),
            (TOO_FEW_POINTS, census.n_usable < self.bundle.manifest.minimum_detections),
            (UNKNOWN_BAND, census.has_unknown_band),
            (UNKNOWN_SURVEY, census.has_unknown_survey),
            (NO_MODEL_FOR_SURVEY, census.has_no_model),
            (OUT_OF_DISTRIBUTION, judgement.is_out_of_distribution),
        ]
        flags: list[tuple[str, ...]] = [()] * len(judged)
        for name, where in flagged:
            for row in np.flatnonzero(where).tolist():
                flags[row] += (name,)
        return [
            Prediction(
                classifier=self.name,
                version=self.version,
                classes=self._classes,
                probabilities=probabilities,
                superclass_probabilities=dict(zip(self._superclasses, parents, strict=True)),
                conformal_set=tuple(compress(self._classes, members)),
                ood_score=score,
                n_detections=detections,
                n_upper_limits=upper_limits,
                flags=row_flags,
                embedding=vector,
                variance=variance,
                bald=bald,
                blocks=blocks.get(row),
            )
            for row, (
                probabilities, parents, members, score, detections, upper_limits, row_flags, vector, variance, bald
            ) in enumerate(zip(
                judgement.probabilities,
                judgement.superclass_probabilities.tolist(),
                judgement.in_conformal_set.tolist(),
                judgement.ood_score.tolist(),
                census.per_band(Kind.DETECTION),
                census.per_band(Kind.UPPER_LIMIT),
                flags,
                embedding,
                [None] * len(judged) if judgement.variance is None else judgement.variance,
                [math.nan] * len(judged) if judgement.bald is None else judgement.bald.tolist(),
                strict=True,
            ))
        ]  # fmt: skip


class _Census:
    """What n light curves hold, counted at once: numpy's cost is per call.

    n_usable (n,): detections with a magnitude that the model reads. is_read (points,): whether it reads a point at all.
    n_left_out (n,): points that it does not. has_no_model (n,): all its detections are of surveys that it reads
    nothing of.
    """

    def __init__(self, points: NDArray[np.void], counts: NDArray[np.int64], is_read: NDArray[np.bool_]) -> None:
        """`is_read` [survey, band]: whether the model reads such points."""
        points = np.ascontiguousarray(points).view()
        points.setflags(write=False)  # the kernel is compiled for read-only arrays
        self._counts = np.zeros((len(counts), len(BANDS), len(Kind)), dtype=np.int64)
        self.n_usable = np.zeros(len(counts), dtype=np.int64)
        self.is_read = np.empty(len(points), dtype=np.bool_)
        left_out = np.zeros((len(counts), 2), dtype=np.int64)
        census_kernel.count(points, counts, is_read, self._counts, self.n_usable, left_out, self.is_read)
        self.n_left_out = left_out.sum(axis=1)
        self.has_unknown_band, self.has_unknown_survey = left_out.T > 0
        self.has_no_model = np.zeros(len(counts), dtype=np.bool_)
        if not self.is_read.all():
            self.has_no_model = self._of_unknown_surveys_alone(points, counts, is_read)

    def _of_unknown_surveys_alone(
        self, points: NDArray[np.void], counts: NDArray[np.int64], is_read: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Per light curve: whether all of its detections are of surveys that the model reads nothing of."""
        # a band that is read of every survey, as ATLAS's c and o may be, does not make it one that the model knows
        is_known = np.asarray((is_read & ~is_read.all(axis=0)).any(axis=1)).take(points["survey"])
        curve = np.repeat(np.arange(len(counts)), counts)
        detections = [curve[(points["kind"] == Kind.DETECTION) & which] for which in (is_known, ~is_known)]
        of_known, of_unknown = (np.bincount(rows, minlength=len(counts)) for rows in detections)
        return np.asarray((self.n_usable == 0) & (of_known == 0) & (of_unknown > 0))

    def per_band(self, kind: Kind) -> list[dict[str, int]]:
        """Per light curve: points of a kind in each band that has any."""
        return [
            {band: number for band, number in zip(BANDS, numbers, strict=True) if number}
            for numbers in self._counts[:, :, kind].tolist()
        ]


def _sample_light_curve(reads: Sequence[tuple[str, str]], n_detections: int) -> LightCurve:
    """A plain rise and decline, for checks and warm-up: detections in the surveys and bands of `reads` in turn, and
    before them an upper limit in the first.
    """
    day = np.arange(n_detections + 1, dtype=np.float64)
    mag = 18.0 + 0.02 * np.abs(day - 10.0)
    turns = [reads[max(number - 1, 0) % len(reads)] for number in range(n_detections + 1)]
    return LightCurve.from_columns(
        60000.0 + 2.0 * day,
        [BAND_CODES[band] for _, band in turns],
        mag=np.where(day == 0, np.nan, mag),
        magerr=np.where(day == 0, np.nan, 0.05),
        limit=20.5,
        sign=np.where(day == 0, 0, 1),
        kind=np.where(day == 0, Kind.UPPER_LIMIT, Kind.DETECTION),
        survey=np.array([SURVEY_CODES[survey] for survey, _ in turns], dtype=np.int8),
    )


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
