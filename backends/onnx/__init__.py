"""ONNX files written from networks: graph, layers in float, layers in 8-bit integers."""
