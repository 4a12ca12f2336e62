"""Judging a model: calibration, figures with intervals, baselines, the model card."""
