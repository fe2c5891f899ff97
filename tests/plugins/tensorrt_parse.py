"""Parses an ONNX file and builds an engine of it with TensorRT-RTX, in a process of its own; prints JSON.

`python tensorrt_parse.py LIBRARY HOW MODEL`; HOW is "open" or "load", as in tensorrt_registry.py.
Dynamic sizes range from 1 to 33.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import tensorrt_rtx_bindings as trt


class Logger(trt.ILogger):
    """Keeps errors, and what the parser says of plugins."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        """Called by TensorRT."""
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.errors.append(message)


def namespaces_of(network: trt.INetworkDefinition) -> list[str]:
    """That of each plugin layer."""
    found = []
    for layer in map(network.get_layer, range(network.num_layers)):
        if layer.type == trt.LayerType.PLUGIN_V3:
            layer.__class__ = trt.IPluginV3Layer
            core = layer.plugin.get_capability_interface(trt.PluginCapabilityType.CORE)
            found.append(core.plugin_namespace)
    return found


def main(library: str, how: str, model: str) -> None:
    """Prints what became of the model."""
    logger = Logger()
    builder = trt.Builder(logger)
    if how == "open":
        ctypes.CDLL(library)
    else:
        assert trt.get_plugin_registry().load_library(library) is not None
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(Path(model).read_bytes())
    engine = None
    namespaces = namespaces_of(network) if parsed else []
    if parsed:
        config = builder.create_builder_config()
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        if any(-1 in tensor.shape for tensor in inputs):
            profile = builder.create_optimization_profile()
            for tensor in inputs:
                sizes = [[known if known != -1 else chosen for known in tensor.shape] for chosen in (1, 9, 33)]
                profile.set_shape(tensor.name, *sizes)
            config.add_optimization_profile(profile)
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM86, 0)
        engine = builder.build_serialized_network(network, config)
    print(
        json.dumps({"parsed": parsed, "namespaces": namespaces, "built": engine is not None, "errors": logger.errors})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
