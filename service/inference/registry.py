"""Resident models: one active, others as shadows; swapped between batches without a gap, with a way back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from service.config import Device
from service.inference.bundle import Bundle, BundleError, load_bundle
from service.inference.classifier import Classifier
from service.inference.prediction import Prediction
from service.photometry import SURVEY_CODES, Context, LightCurve

log = logging.getLogger(__name__)

ACTIVE: Final = "active"  # its answers are published
SHADOW: Final = "shadow"  # classifies the same light curves; its answers are stored but not published
OF_SURVEY: Final = "of_survey"  # answers in place of the active one where all points are of its survey
PREVIOUS: Final = "previous"  # active before the last swap, kept for `rollback`


@dataclass(frozen=True, slots=True)
class Residents:
    """The resident models at one moment. Read it once per batch, so that a whole batch uses the same models."""

    active: Classifier
    shadows: tuple[Classifier, ...] = ()
    previous: Classifier | None = None
    of_survey: Mapping[str, Classifier] = field(default_factory=dict)

    @property
    def answering(self) -> tuple[Classifier, ...]:
        """Those whose answers are published: the active one first."""
        return (self.active, *(each for each in self.of_survey.values() if each is not self.active))

    def classify(
        self,
        light_curves: Sequence[LightCurve],
        contexts: Sequence[Context | None] | None = None,
        kept: Sequence[Mapping[str, bytes]] | None = None,
    ) -> list[Prediction]:
        """As `Classifier.classify`; by the model of a survey where all points of a light curve are of that survey.

        `kept`: for each object, what bundles have kept of it by their `embeds_as`.
        """
        if not self.of_survey:
            return self.active.classify(light_curves, contexts, _own(self.active, kept))
        codes = {SURVEY_CODES[survey]: classifier for survey, classifier in self.of_survey.items()}
        rows_of: dict[int, list[int]] = {}
        chosen: dict[int, Classifier] = {}
        for row, light_curve in enumerate(light_curves):
            surveys = light_curve.points["survey"]
            alone = len(surveys) > 0 and bool((surveys == surveys[0]).all())
            classifier = codes.get(int(surveys[0]), self.active) if alone else self.active
            chosen[id(classifier)] = classifier
            rows_of.setdefault(id(classifier), []).append(row)
        answers: dict[int, Prediction] = {}
        for key, rows in rows_of.items():
            classifier, curves = chosen[key], [light_curves[row] for row in rows]
            given = None if contexts is None else [contexts[row] for row in rows]
            own = None if kept is None else _own(classifier, [kept[row] for row in rows])
            answers |= zip(rows, classifier.classify(curves, given, own), strict=True)
        return [answers[row] for row in range(len(light_curves))]


def _own(classifier: Classifier, kept: Sequence[Mapping[str, bytes]] | None) -> list[bytes | None] | None:
    if kept is None or classifier.embeds_as is None:
        return None
    return [each.get(classifier.embeds_as) for each in kept]


class ModelRegistry:
    """The models in memory. Every method may be called from any thread.

    A change loads and warms the new model first, then replaces `residents` in one assignment: readers see the old or
    the new state, never a mixture, and a batch in flight keeps the model it began with. A bundle that can't be loaded
    raises BundleError or DeviceError and changes nothing.
    """

    def __init__(
        self, active: Bundle, device: Device = Device.AUTO, threads: int = 0, trusted_keys: Sequence[str] = ()
    ) -> None:
        """`trusted_keys`: one of these minisign keys must have signed each bundle that is read from now on."""
        self._trusted_keys = tuple(trusted_keys)
        self._device = device
        self._threads = threads
        self._changing = threading.Lock()
        self.residents: Residents = Residents(self._open(active))

    @property
    def active(self) -> Classifier:
        return self.residents.active

    @property
    def shadows(self) -> tuple[Classifier, ...]:
        return self.residents.shadows

    def activate(self, folder: Path) -> Classifier:
        """Make the bundle in `folder` the active one; a version that is already resident is promoted."""
        with self._changing:
            return self._activate(self._resident_or_opened(folder))

    def promote(self, name: str, version: str) -> Classifier:
        """Make a resident model the active one; the disk is not read. Raises BundleError if it is not resident."""
        with self._changing:
            for classifier in self._everyone():
                if (classifier.name, classifier.version) == (name, version):
                    return self._activate(classifier)
            raise BundleError(f"{name} {version} is not resident")

    def rollback(self) -> Classifier:
        """Reactivate the previously active model; a second rollback undoes the first.

        Raises BundleError if there is none.
        """
        with self._changing:
            now = self.residents
            if now.previous is None:
                raise BundleError(f"there is no model to go back to: {now.active.bundle.label} is the first")
            return self._activate(now.previous)

    def add_shadow(self, folder: Path) -> Classifier:
        """Run the bundle in `folder` as a shadow. Raises BundleError if it is the active one."""
        with self._changing:
            classifier = self._resident_or_opened(folder)
            now = self.residents
            if classifier is now.active:
                raise BundleError(f"{classifier.bundle.label} is active: it can't be its own shadow")
            if classifier not in now.shadows:
                self.residents = replace(now, shadows=(*now.shadows, classifier))
                log.info("shadow model: %s", classifier.bundle.label)
            return classifier

    def choose(self, survey: str, folder: Path) -> Classifier:
        """Let the bundle in `folder` answer for objects of one survey. Raises BundleError if it reads nothing of it."""
        if survey not in SURVEY_CODES:
            raise BundleError(f"model.of_survey: there is no survey {survey}, but {', '.join(SURVEY_CODES)}")
        with self._changing:
            classifier = self._resident_or_opened(folder)
            if survey not in {read for read, _ in classifier.bundle.reads()}:
                raise BundleError(f"model.of_survey: {classifier.bundle.label} reads nothing of {survey}")
            now = self.residents
            if now.of_survey.get(survey) is not classifier:
                self.residents = replace(now, of_survey={**now.of_survey, survey: classifier})
                log.info("model of %s: %s", survey, classifier.bundle.label)
            return classifier

    def models(self) -> list[tuple[Classifier, str]]:
        """Every resident model with its role: the active one, those of surveys, the shadows, then the previous one."""
        now = self.residents
        listed = [(now.active, ACTIVE), *((each, OF_SURVEY) for each in now.answering[1:])]
        listed += [(shadow, SHADOW) for shadow in now.shadows if shadow not in now.answering]
        if now.previous is not None and now.previous not in (*now.shadows, *now.answering):
            listed.append((now.previous, PREVIOUS))
        return listed

    def _activate(self, classifier: Classifier) -> Classifier:
        now = self.residents
        if classifier is not now.active:
            shadows = tuple(shadow for shadow in now.shadows if shadow is not classifier)
            self.residents = replace(now, active=classifier, shadows=shadows, previous=now.active)
            log.info("active model: %s (was %s)", classifier.bundle.label, now.active.bundle.label)
        return classifier

    def _everyone(self) -> list[Classifier]:
        now = self.residents
        return [*now.answering, *now.shadows, *([now.previous] if now.previous else [])]

    def _resident_or_opened(self, folder: Path) -> Classifier:
        """A name and version mean one model: if it is resident it is used, and its hash must be equal."""
        bundle = load_bundle(folder, self._trusted_keys)
        for classifier in self._everyone():
            if (classifier.name, classifier.version) == (bundle.manifest.name, bundle.manifest.version):
                if classifier.bundle.manifest != bundle.manifest:
                    raise BundleError(
                        f"another {bundle.label} is resident, from {classifier.bundle.folder}:"
                        f" give the bundle in {folder} a version of its own"
                    )
                return classifier
        return self._open(bundle)

    def _open(self, bundle: Bundle) -> Classifier:
        classifier = Classifier(bundle, self._device, self._threads)
        classifier.try_out()
        return classifier
