"""From an ONNX file to a TensorRT engine: flavours, checks, the build in a child process, the manifest."""
