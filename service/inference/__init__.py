"""Model bundles, light curve -> tensors -> ONNX -> calibrated predictions."""
