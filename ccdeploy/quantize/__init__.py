"""int8 and fp8 files: which layers, ranges from pictures, pairs of QuantizeLinear and DequantizeLinear in the graph."""
