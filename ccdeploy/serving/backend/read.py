"""NAME_read: the bytes of a picture file to the network's input and the picture's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ccdeploy.runners import Array
from ccdeploy.serving.backend.deployment import NETWORK_INPUT, read_deployment
from ccdeploy.serving.backend.steps import network_input
from ccdeploy.serving.backend.triton import answered, tensor_of, version_folder
from ccdeploy.serving.contract import PICTURE, SIZE


class TritonPythonModel:
    """See the module; Triton makes and calls it."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Reads what is served."""
        import torch

        torch.set_num_threads(1)  # instances work side by side: more threads each would take one another's cores
        self._deployment = read_deployment(version_folder(args))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers each request."""
        return answered(requests, self._answer)

    def _answer(self, request: Any) -> dict[str, Array]:
        content = tensor_of(request, PICTURE).tobytes()  # a warm-up's has an axis more
        batch, size = network_input(content, self._deployment)
        return {NETWORK_INPUT: batch, SIZE: size}
