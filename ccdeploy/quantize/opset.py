"""Raises a file to the operator set in which scales may be of a 16-bit float type and fp8 exists.

From 18 to 19 that changes no result. Each operator with a version of its own in operator set 19 only says more there:
types (fp8, strings), modes (wrap), attributes whose defaults mean what was meant before (dilations, saturate); a test
holds the schemas to it. onnx's own version converter does not go through model-local functions.
"""

from __future__ import annotations

import onnx_ir as ir

from ccdeploy.errors import ArtefactError

OLDEST, NEEDED = 18, 19


def raise_opset(model: ir.Model) -> None:
    """Raises a model and its functions to operator set NEEDED, in place; newer ones stay as they are.

    Raises:
        ArtefactError: a file of an operator set older than OLDEST.
    """
    for imports in (model.opset_imports, *(function.opset_imports for function in model.functions.values())):
        version = imports.get("")
        if version is None:
            continue  # a function of nothing but other functions
        if version < OLDEST:
            raise ArtefactError(
                f"The file is of ONNX operator set {version}, {OLDEST} or newer was expected.", "Export it again."
            )
        imports[""] = max(version, NEEDED)
