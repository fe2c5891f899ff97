"""Float types by their names."""

from __future__ import annotations

import torch

from ccdeploy.precision import PRECISIONS, torch_type


def test_types_are_pytorchs() -> None:
    assert [torch_type(precision) for precision in PRECISIONS] == [torch.float32, torch.float16, torch.bfloat16]
