"""The network of a deployment as any other runner: windows and passes are made here, logits there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ccdeploy.errors import UsageError
from ccdeploy.runners import Array, Description, Prepared, Runner
from ccdeploy.runners.prepared import HostPrepared, check_slot
from ccdeploy.serving.client.client import Client
from ccdeploy.serving.client.tensors import batch_axis, check_inputs

_DEVICE = "server"
REQUEST_BYTES = (1 << 26) - (1 << 16)
"""Of one request, unless one picture alone has more: newer servers take 64 MiB over HTTP, unless told otherwise."""


class RemoteRunner(Runner):
    """Runs NAME_network on a server.

    Args:
        client: of the deployment. It is the caller's: closing the runner does not close it.
        contexts: how many inferences may be under way at once by `prepare`.
    """

    def __init__(self, client: Client, contexts: int = 1) -> None:
        if contexts < 1:
            raise UsageError(f"{contexts} contexts were asked for.", "Ask for 1 or more.")
        served = client.served
        self.how = f"{client.server} at {client.url}, model {served.names.network}, backend {served.backend}"
        self._manifest, self._contexts = served.manifest_of(), contexts
        self._client: Client | None = client

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Batches larger than the server takes, or than REQUEST_BYTES, go in parts, one after another.

        Raises:
            ArtefactError: inputs that the network does not take.
            RequestError: the server is not there, busy, too slow, or fails (a ServerError).
        """
        client, manifest = self._open_client(), self._manifest
        count = check_inputs(manifest, inputs)
        most = min(client.served.batch, max(1, REQUEST_BYTES * count // sum(array.nbytes for array in inputs.values())))
        if count <= most:
            return client.infer(inputs)
        parts = []
        for first in range(0, count, most):
            chosen = {
                tensor.name: np.take(
                    inputs[tensor.name], range(first, min(first + most, count)), axis=batch_axis(tensor)
                )
                for tensor in manifest.inputs
            }
            parts.append(client.infer(chosen))
        return {
            tensor.name: np.concatenate([part[tensor.name] for part in parts], axis=batch_axis(tensor))
            for tensor in manifest.outputs
        }

    def describe(self) -> Description:
        """See the interface."""
        manifest = self._manifest
        return Description(
            artefact=self._open_client().served.name,
            kind=manifest.kind,
            precision=manifest.types,
            runtime=self.how,
            device=_DEVICE,
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            contexts=self._contexts,
        )

    def prepare(self, inputs: Mapping[str, Array], slot: int = 0) -> Prepared:
        """See the interface: an inference is a request, a slot is a thread."""
        self._open_client()
        check_slot(slot, self._contexts)
        check_inputs(self._manifest, inputs)
        return HostPrepared(self.infer, inputs)

    def close(self) -> None:
        """See the interface; the client stays open."""
        self._client = None

    def _open_client(self) -> Client:
        if self._client is None:
            raise UsageError(f"The runner of {self.how} is closed.", "Make another of the client.")
        return self._client
