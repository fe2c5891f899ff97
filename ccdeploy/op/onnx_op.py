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
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  axis_0 = Constant <value_ints = [0]> ()
  axis_1 = Constant <value_ints = [1]> ()
  rest = Constant <value_ints = [-1]> ()
  nothing = Constant <value_float = 0.0> ()
  minus_infinity = Constant <value_float = -inf> ()
  cq_scalar = Constant <value_int: int = @query_channels> ()
  cq = Reshape (cq_scalar, rest)
  b = Shape <start = 0, end = 1> (residual)
  c = Shape <start = 1, end = 2> (residual)
  h = Shape <start = 2, end = 3> (residual)
  w = Shape <start = 3, end = 4> (residual)

  qkv_float = Cast <to = 1> (qkv)
  residual_float = Cast <to = 1> (residual)
  channels = Concat <axis = 0> (cq, cq, c)
  q, k, v = Split <axis = 1> (qkv_float, channels)

  h_scalar = Squeeze (h)
  line = Range (zero, h_scalar, one)
  line_down = Unsqueeze (line, axis_1)
  line_across = Unsqueeze (line, axis_0)
  itself = Equal (line_down, line_across)
  column_mask = Where (itself, minus_infinity, nothing)

  column_qk_shape = Concat <axis = 0> (rest, cq, h)
  q_bwch = Transpose <perm = [0, 3, 1, 2]> (q)
  k_bwch = Transpose <perm = [0, 3, 1, 2]> (k)
  column_q = Reshape (q_bwch, column_qk_shape)
  column_k = Reshape (k_bwch, column_qk_shape)
  column_q_t = Transpose <perm = [0, 2, 1]> (column_q)
  column_energy = MatMul (column_q_t, column_k)
  column_masked = Add (column_energy, column_mask)

  row_qk_shape = Concat <axis = 0> (rest, cq, w)
  q_bhcw = Transpose <perm = [0, 2, 1, 3]> (q)
  k_bhcw = Transpose <perm = [0, 2, 1, 3]> (k)
  row_q = Reshape (q_bhcw, row_qk_shape)
  row_k = Reshape (k_bhcw, row_qk_shape)
  row_q_t = Transpose <perm = [0, 2, 1]> (row_q)
  row_energy = MatMul (row_q_t, row_k)

  bwhh = Concat <axis = 0> (b, w, h, h)
  bhww = Concat <axis = 0> (b, h, w, w)
  column_energy_bwhh = Reshape (column_masked, bwhh)
  column_energy_bhwh = Transpose <perm = [0, 2, 1, 3]> (column_energy_bwhh)
  row_energy_bhww = Reshape (row_energy, bhww)
  energy = Concat <axis = 3> (column_energy_bhwh, row_energy_bhww)
  attention = Softmax <axis = -1> (energy)
  h_and_w = Concat <axis = 0> (h, w)
  column_attention_bhwh, row_attention_bhww = Split <axis = 3> (attention, h_and_w)

  column_attention_bwhh = Transpose <perm = [0, 2, 1, 3]> (column_attention_bhwh)
  column_attention_shape = Concat <axis = 0> (rest, h, h)
  column_attention = Reshape (column_attention_bwhh, column_attention_shape)
  column_attention_t = Transpose <perm = [0, 2, 1]> (column_attention)
  v_bwch = Transpose <perm = [0, 3, 1, 2]> (v)
  column_v_shape = Concat <axis = 0> (rest, c, h)
  column_v = Reshape (v_bwch, column_v_shape)
  column_sum = MatMul (column_v, column_attention_t)
  bwch = Concat <axis = 0> (b, w, c, h)
  column_sum_bwch = Reshape (column_sum, bwch)
  from_column = Transpose <perm = [0, 2, 3, 1]> (column_sum_bwch)

  row_attention_shape = Concat <axis = 0> (rest, w, w)
  row_attention = Reshape (row_attention_bhww, row_attention_shape)
  row_attention_t = Transpose <perm = [0, 2, 1]> (row_attention)
  v_bhcw = Transpose <perm = [0, 2, 1, 3]> (v)
  row_v_shape = Concat <axis = 0> (rest, c, w)
  row_v = Reshape (v_bhcw, row_v_shape)
  row_sum = MatMul (row_v, row_attention_t)
  bhcw = Concat <axis = 0> (b, h, c, w)
  row_sum_bhcw = Reshape (row_sum, bhcw)
  from_row = Transpose <perm = [0, 2, 1, 3]> (row_sum_bhcw)

  row_and_residual = Add (from_row, residual_float)
  sum = Add (row_and_residual, from_column)
  rounded = CastLike (sum, residual)
  y = Identity (rounded)
}}
"""
"""Written for how onnxruntime optimises on a CPU; suffixes name a value's axes in memory.

- The reshapes to three axes keep its transpose optimiser from merging two cheap permutations into a slow one
  (0, 3, 2, 1: 33 ms instead of 2 ms for V at 97x97); the transposes of the last two axes fuse into the products.
- The mask comes from Range and Equal, because TensorRT's parser refuses EyeLike of a dynamic size.
- Casts of float32 to float32 cost nothing: onnxruntime drops them, the last one thanks to the Identity behind it.
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


def operator_model(
    definition: onnx.FunctionProto,
    query_channels: int,
    qkv: tuple[int, ...],
    residual: tuple[int, ...],
    ir_version: int,
    element: int = onnx.TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model of nothing but the operator: inputs `qkv` and `residual` of these shapes, output `y`.

    Args:
        definition: the function that computes it, of `function` or of a file.
        query_channels: Cq.
        qkv: shape [B, 2 * Cq + C, H, W].
        residual: shape [B, C, H, W].
        ir_version: of the model.
        element: the type of all three, an onnx.TensorProto.DataType.
    """
    helper = onnx.helper
    node = helper.make_node(NAME, ["qkv", "residual"], ["y"], domain=DOMAIN)
    node.attribute.append(helper.make_attribute(QUERY_CHANNELS, query_channels))
    inputs = [helper.make_tensor_value_info(n, element, s) for n, s in (("qkv", qkv), ("residual", residual))]
    graph = helper.make_graph([node], "operator", inputs, [helper.make_tensor_value_info("y", element, residual)])
    opsets = [*definition.opset_import, helper.make_opsetid(DOMAIN, VERSION)]
    return helper.make_model(graph, functions=[definition], opset_imports=opsets, ir_version=ir_version)
