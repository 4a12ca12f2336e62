"""The base class of all errors that the package raises on purpose."""


class AlertClassifierError(Exception):
    """An error that the caller can act on; the message is one clear sentence."""


class SimulationError(AlertClassifierError, ValueError):
    """A sky that can't be simulated; the message names the wrong value and the possible ones."""


class MissingExtraError(AlertClassifierError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""
