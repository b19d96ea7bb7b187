"""A bundle's network in parts that TensorRT builds: what they are, how they become ONNX, and the plans that are run."""
