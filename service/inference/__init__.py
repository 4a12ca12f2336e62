"""Model bundles, light curve -> tensors -> ONNX -> calibrated predictions.

Import from the modules: `bundle` (load_bundle), `classifier` (Classifier), `registry` (ModelRegistry),
`prediction`. This package imports none of them, so that `preprocessing.alert_clr` costs training nothing else.
"""
