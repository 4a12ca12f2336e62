"""The one ancestor of all errors that the package raises on purpose."""


class AlertClassifierError(Exception):
    """Something that the caller can understand and act on; the message is one clear sentence."""


class SimulationError(AlertClassifierError, ValueError):
    """A sky that can't be simulated; the message names what was asked for and what there is."""


class MissingExtraError(AlertClassifierError, ImportError):
    """An optional part of the package that is not installed; the message names the extra that brings it."""
