"""Runs a network in PyTorch: the reference that artefacts are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ccdeploy.ccnet.adopt import adopt
from ccdeploy.ccnet.loading import Model, does_not_run
from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.ccnet.stages import BACKBONE, FEATURES, LOGITS, recorded
from ccdeploy.deployable import enlarged, tensor_of
from ccdeploy.errors import CcdeployError
from ccdeploy.runners import Array, Runner


class PyTorchRunner(Runner):
    """The network as it was trained: separate projections, batch norms, gamma; on the CPU, in float32 or float64.

    Takes the normalised input [B, channels, H, W] under any one name, and gives every stage of the network by name:
    backbone, criss-cross passes, and logits at the input's size (or features, of a bare module).
    """

    def __init__(self, model: Model, double: bool = False) -> None:
        self.model = model
        self.dtype = torch.float64 if double else torch.float32
        self.how = f"PyTorch {torch.__version__}, CPU, {'float64' if double else 'float32'}"
        _, adoption = adopt(model.network)
        self.passes = [model.network.get_submodule(name) for name in adoption.replaced if name in self._paths()]
        self.passes = self.passes or [model.network]

    def _paths(self) -> set[str]:
        return {name for name, _ in self.model.network.named_modules()}

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See the class.

        Raises:
            ModelError: a user's network whose forward raised.
        """
        (picture,) = inputs.values()
        x = torch.from_numpy(np.ascontiguousarray(picture)).to(self.dtype)
        network = self.model.network.to(self.dtype)
        try:
            with torch.no_grad(), CudaStaysOnCpu(), recorded(network._modules.get(BACKBONE), self.passes) as values:
                output = tensor_of(network(x))
        except CcdeployError:
            raise
        except Exception as error:  # a user's code may raise anything
            raise does_not_run(self.model.name, error, tuple(x.shape)) from error
        finally:
            network.to(torch.float32)
        if self.model.card.network.architecture == "criss-cross":
            values = {stage: value for stage, value in values.items() if value is not output} | {FEATURES: output}
        else:
            if output.dim() == 4 and output.shape[-2:] != x.shape[-2:]:
                output = enlarged(output, x.shape[2], x.shape[3], self.model.card.output.align_corners)
            values = {**values, LOGITS: output}
        return {stage: value.numpy() for stage, value in values.items()}

    def close(self) -> None:
        """Nothing is held beyond the model."""
