"""From operator set 18 to 19 nothing changes: by the schemas, and by running a network before and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import defs

from ccdeploy.op import onnx_op
from ccdeploy.quantize.opset import NEEDED, raise_opset
from ccdeploy.runners.ort import ModelRunner
from ccdeploy.runners.rounding import widened

HISTORY = [(schema.name, schema.since_version) for schema in defs.get_all_schemas_with_history() if not schema.domain]
NEW = {name for name, since in HISTORY if since == NEEDED} & {name for name, since in HISTORY if since < NEEDED}
MORE_ATTRIBUTES = {
    "AveragePool": {"dilations"},
    "Cast": {"saturate"},
    "CastLike": {"saturate"},
    "QuantizeLinear": {"saturate"},
}
"""Attributes that came with 19; each default is what was computed before."""


@pytest.mark.parametrize("name", sorted(NEW))
def test_newer_operator_takes_all_that_the_older_took(name: str):
    old, new = (defs.get_schema(name, version) for version in (NEEDED - 1, NEEDED))
    assert [value.name for value in new.inputs][: len(old.inputs)] == [value.name for value in old.inputs]
    assert all(value.option == defs.OpSchema.FormalParameterOption.Optional for value in new.inputs[len(old.inputs) :])
    assert set(new.attributes) - set(old.attributes) == MORE_ATTRIBUTES.get(name, set())
    assert set(old.attributes) <= set(new.attributes)
    for attribute, spec in old.attributes.items():
        assert new.attributes[attribute].default_value == spec.default_value
    assert not any(new.attributes[attribute].required for attribute in set(new.attributes) - set(old.attributes))
    accepted = {constraint.type_param_str: set(constraint.allowed_type_strs) for constraint in new.type_constraints}
    if set(accepted) == {constraint.type_param_str for constraint in old.type_constraints}:
        for constraint in old.type_constraints:
            assert set(constraint.allowed_type_strs) <= accepted[constraint.type_param_str]


@pytest.mark.parametrize("options", [{}, {"precision": "fp16", "io": "image", "dynamic": "all"}])
def test_network_gives_the_same_numbers_before_and_after(exports, options: dict[str, str]):
    onnx_op.register_schema()
    before = onnx.load(exports.file(**options))
    model = ir.serde.deserialize_model(before)
    raise_opset(model)
    after = ir.serde.serialize_model(model)
    versions = {entry.domain: entry.version for entry in after.opset_import}
    assert versions == {"": 19, onnx_op.DOMAIN: onnx_op.VERSION}
    assert [entry.version for entry in after.functions[0].opset_import] == [19]
    onnx.checker.check_model(after)
    generator = np.random.default_rng(4)
    pictures = generator.integers(0, 256, (1, 65, 97, 3), np.uint8)
    fed = {"image": pictures} if options else {"input": generator.standard_normal((1, 3, 65, 97), dtype=np.float32)}
    results = []
    for each in (before, after):  # widened: left alone, onnxruntime drops other fp16 roundings in each version
        with ModelRunner(widened(each, ["logits"]), Path("m.onnx")) as runner:
            results.append(runner.infer(fed)["logits"])
    np.testing.assert_array_equal(*results)


def test_newer_operator_sets_stay(exports):
    onnx_op.register_schema()
    model = ir.serde.deserialize_model(onnx.load(exports.file(precision="bf16")))
    raise_opset(model)
    assert model.opset_imports[""] == 22
