"""NAME_labels: the network's output and the picture's size to labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ccdeploy.runners import Array
from ccdeploy.serving.backend.deployment import NETWORK_OUTPUT, read_deployment
from ccdeploy.serving.backend.steps import labels_of_output
from ccdeploy.serving.backend.triton import answered, tensor_of, version_folder
from ccdeploy.serving.contract import LABELS, SIZE


class TritonPythonModel:
    """See the module; Triton makes and calls it."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Reads what is served."""
        import torch

        torch.set_num_threads(1)  # see `read`
        self._deployment = read_deployment(version_folder(args))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers each request."""
        return answered(requests, self._answer)

    def _answer(self, request: Any) -> dict[str, Array]:
        # A copy: PyTorch takes no read-only arrays.
        output = np.array(tensor_of(request, NETWORK_OUTPUT))
        size = tensor_of(request, SIZE).astype(np.int32)
        return {LABELS: labels_of_output(output, size, self._deployment)}
