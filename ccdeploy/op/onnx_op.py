"""The operator in ONNX: its schema, and its definition in standard operators as a model-local function.

A runtime that has a fused kernel for the node uses that; any other inlines the function.
"""

from __future__ import annotations

from functools import cache

import onnx

DOMAIN = "ccdeploy"
NAME = "CrissCrossAttention"
VERSION = 1
QUERY_CHANNELS = "query_channels"

OPSET = {"fp32": 18, "fp16": 18, "bf16": 22}
"""The standard operator set of an exported model by precision: bfloat16 convolutions came with version 22."""

_FUNCTION = """
<domain: "ccdeploy", opset_import: ["": {opset}]>
CrissCrossAttention <query_channels> (qkv, residual) => (y) {{
  batch_channels = Shape <start = 1, end = 2> (residual)
  cq0 = Constant <value_int: int = @query_channels> ()
  axis0 = Constant <value_ints = [0]> ()
  cq = Unsqueeze (cq0, axis0)
  parts = Concat <axis = 0> (cq, cq, batch_channels)
  wide = Cast <to = 1> (qkv)
  q, k, v = Split <axis = 1> (wide, parts)
  h = Shape <start = 2, end = 3> (residual)
  hs = Squeeze (h)
  zero_scalar = Constant <value_int = 0> ()
  one_scalar = Constant <value_int = 1> ()
  line = Range (zero_scalar, hs, one_scalar)
  axis1 = Constant <value_ints = [1]> ()
  line_r = Unsqueeze (line, axis1)
  line_c = Unsqueeze (line, axis0)
  itself = Equal (line_r, line_c)
  qc = Transpose <perm = [0, 3, 2, 1]> (q)
  kc = Transpose <perm = [0, 3, 1, 2]> (k)
  column = MatMul (qc, kc)
  qr = Transpose <perm = [0, 2, 3, 1]> (q)
  kr = Transpose <perm = [0, 2, 1, 3]> (k)
  row = MatMul (qr, kr)
  minus_inf = Constant <value_float = -inf> ()
  masked = Where (itself, minus_inf, column)
  column_t = Transpose <perm = [0, 2, 1, 3]> (masked)
  energies = Concat <axis = -1> (column_t, row)
  a = Softmax <axis = -1> (energies)
  end = Constant <value_ints = [2147483647]> ()
  axis3 = Constant <value_ints = [3]> ()
  ac = Slice (a, axis0, h, axis3)
  ar = Slice (a, h, end, axis3)
  act = Transpose <perm = [0, 2, 3, 1]> (ac)
  art = Transpose <perm = [0, 1, 3, 2]> (ar)
  vc = Transpose <perm = [0, 3, 1, 2]> (v)
  vr = Transpose <perm = [0, 2, 1, 3]> (v)
  oc = MatMul (vc, act)
  orr = MatMul (vr, art)
  oct = Transpose <perm = [0, 2, 3, 1]> (oc)
  ort = Transpose <perm = [0, 2, 1, 3]> (orr)
  total = Add (oct, ort)
  wide_residual = Cast <to = 1> (residual)
  summed = Add (total, wide_residual)
  y = CastLike (summed, residual)
}}
"""


def function(opset: int) -> onnx.FunctionProto:
    """The definition in operators of the given standard operator set, for any batch, height and width."""
    return onnx.parser.parse_function(_FUNCTION.format(opset=opset))


@cache
def register_schema() -> None:
    """Makes the operator known to `onnx` in this process, so that graphs with it can be built and checked."""
    schema = onnx.defs.OpSchema
    schema_of = schema(
        NAME,
        DOMAIN,
        VERSION,
        doc=__doc__ or "",
        inputs=[schema.FormalParameter("qkv", "T"), schema.FormalParameter("residual", "T")],
        outputs=[schema.FormalParameter("y", "T")],
        type_constraints=[("T", ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"], "")],
        attributes=[schema.Attribute(QUERY_CHANNELS, schema.AttrType.INT, "Cq", required=True)],
    )
    onnx.defs.register_schema(schema_of)
