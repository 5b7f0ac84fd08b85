"""Model input to prediction, on onnxruntime."""
