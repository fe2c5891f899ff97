"""Engines and the files around them: manifests, ONNX files as they lie on disk, and TensorRT in two flavours."""
