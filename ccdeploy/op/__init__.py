"""The criss-cross operator: one definition, many executions.

`CrissCrossAttention(qkv, residual) -> y` of the ONNX domain `ccdeploy`, version 1, with T one of float, float16
and bfloat16 and the attribute `query_channels` (Cq):

- `qkv` [B, 2 * Cq + C, H, W]: the queries, keys and values of every pixel, stacked on the channel axis.
- `residual` [B, C, H, W]; `y` has its shape and type.
- `y` = the values of a pixel's row and column weighted by softmax(query . key), plus `residual`.

`definition.py` says it in PyTorch, `torch_op.py` makes it an operator of PyTorch's, `kernel.py` runs the CUDA kernel
under that (`kernel_limits.py` says what it takes), `onnx_op.py` holds the ONNX schema and the function body in standard
operators, and `cases.py` the one table of cases that tests all of them.
"""
