"""ONNX models of a few nodes, and the GPUs that tests pretend to have."""

from __future__ import annotations

import onnx
import onnx.parser

from ccdeploy.engine.gpu import Gpu, GpuReport

ORIN = Gpu("Orin", "8.7", 8 << 30)
HOPPER = Gpu("NVIDIA H100", "9.0", 80 << 30)
ADA = Gpu("NVIDIA RTX 4090", "8.9", 24 << 30)
NO_GPU = GpuReport(reason="the NVIDIA driver sees no GPU")

WEIGHTS = "<float[4,3,1,1] w = {1,2,3,4,5,6,7,8,9,10,11,12}>"
STATIC = f"g (float[1,3,8,8] input) => (float[1,4,8,8] y) {WEIGHTS} {{ z = Conv(input, w) y = Relu(z) }}"
DYNAMIC = f"g (float[N,3,H,W] input) => (float[N,4,H,W] y) {WEIGHTS} {{ z = Conv(input, w) y = Relu(z) }}"

CRISS_CROSS = """
g (float[1,8,8,8] qkv, float[1,4,8,8] x) => (float[1,4,8,8] y) {
    first = ccdeploy.CrissCrossAttention <query_channels = 2> (qkv, x)
    y = ccdeploy.CrissCrossAttention <query_channels = 2> (qkv, first)
}
<domain: "ccdeploy", opset_import: ["": 20]>
CrissCrossAttention <query_channels> (qkv, residual) => (y) { y = Add(residual, residual) }
"""
"""Two nodes of too few channels for the kernel; the definition only has to be standard ONNX."""
FOR_THE_KERNEL = (
    CRISS_CROSS.replace("1,8,8,8", "1,48,8,8").replace("1,4,8,8", "1,32,8,8").replace("channels = 2", "channels = 8")
)
"""The same within the kernel's limits."""


def parse_model(graph: str, *, opset: int = 20) -> onnx.ModelProto:
    domains = "".join(f', "{domain}": 1' for domain in ("ccdeploy", "acme") if f"{domain}." in graph)
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}{domains}]> {graph}')
