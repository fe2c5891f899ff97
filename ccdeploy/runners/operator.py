"""Runs the definition of criss-cross attention that an ONNX file carries, alone, in float32, on small cases.

In a whole 16-bit network a slightly wrong definition (a forgotten mask, say) can hide in the roundings; here it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import torch

from ccdeploy.errors import ArtefactError, first_line
from ccdeploy.op.cases import SMALL
from ccdeploy.op.definition import criss_cross_attention
from ccdeploy.op.onnx_op import DOMAIN, NAME, operator_model
from ccdeploy.runners import Array


def operator_results(model: onnx.ModelProto, seed: int) -> Iterator[tuple[Array, Array]]:
    """What the file's definition gives and what PyTorch's gives in float64, for each case of the table SMALL.

    Raises:
        ArtefactError: the definition is missing or does not run.
    """
    functions = [function for function in model.functions if (function.domain, function.name) == (DOMAIN, NAME)]
    if not functions:
        raise ArtefactError(f"The ONNX file has lost the definition of {NAME}.", "Export it again.")
    generator = np.random.default_rng(seed)
    for case in SMALL:
        shape = (case.batch, 2 * case.query_channels + case.channels, case.height, case.width)
        qkv = generator.standard_normal(shape, dtype=np.float32)
        residual = generator.standard_normal((case.batch, case.channels, *shape[2:]), dtype=np.float32)
        alone = operator_model(functions[0], case.query_channels, shape, residual.shape, model.ir_version)
        try:
            session = onnxruntime.InferenceSession(
                alone.SerializeToString(), providers=["CPUExecutionProvider"], enable_fallback=0
            )
            (got,) = session.run(None, {"qkv": qkv, "residual": residual})
        except Exception as error:  # onnxruntime raises types of its own
            what = f"The definition of {NAME} in the ONNX file does not run ({first_line(error)})."
            raise ArtefactError(what, "Export it again.") from error
        wide = criss_cross_attention(
            torch.from_numpy(qkv).double(), torch.from_numpy(residual).double(), case.query_channels
        )
        yield got, wide.numpy()
