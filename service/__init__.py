"""Real-time classification of survey alerts: light curves in, calibrated class probabilities out."""

__version__ = "0.1.0"
