"""Real-time classification of survey alerts: light curves in, calibrated class probabilities out."""

import os

__version__ = "0.1.0"

# numpy's matrix products here are small. Shared out among OpenBLAS's own threads they cost more in waiting than they
# save: a drain takes 2.7 times the CPU time. It is read when numpy is first imported, so it must stand here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# ONNX Runtime sends usage reports to its makers unless this is said before it is imported. A service that sits beside
# an observatory's stream talks to nobody it was not told of.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
