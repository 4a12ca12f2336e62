"""Real-time classification of survey alerts: light curves in, calibrated class probabilities out."""

import os

__version__ = "0.1.0"

# numpy's matrix products here are small; with OpenBLAS's own threads a drain takes 2.7 times the CPU time, for waiting.
# The variable is read when numpy is first imported, so it must be set here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# ONNX Runtime sends usage reports to its makers unless this is set before its import. This service only connects to
# configured hosts.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
