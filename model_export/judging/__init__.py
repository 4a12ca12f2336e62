"""How good a model is: calibration, figures with intervals, baselines, the model card."""
