"""The way to a server over gRPC: one channel for all threads, no retries of gRPC's own."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ccdeploy.errors import CcdeployError
from ccdeploy.runners import Array
from ccdeploy.serving.client import failures
from ccdeploy.serving.client.connections import tls_context
from ccdeploy.serving.client.retrying import Deadline
from ccdeploy.serving.client.statistics import ModelStatistics, parse_statistics
from ccdeploy.serving.client.transport import Connecting, Transport
from ccdeploy.serving.client.wire import LARGEST_ANSWER, Malformed, bytes_on_wire, from_wire, type_on_wire
from ccdeploy.serving.contract import PARAMETER, TOKEN_HEADER

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Triton takes pings more frequent than one in 300 s for an attack. The short timeout is what counts: it bounds how
    # long sent data may go unacknowledged before the connection is taken for dead.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_http_proxy", 0),
)
_BUSY = re.compile("maximum queue size|timeout expired|not ready|no available versions", re.IGNORECASE)
"""In Triton's words when it is there and cannot take a request. gRPC has one code for this and for no connection."""


_UNTRUSTED = re.compile("CERTIFICATE_VERIFY_FAILED|not in peer certificate|Hostname Verification Check failed")
"""In gRPC's words of a certificate that it does not trust, or that is of another name."""


class GrpcTransport(Transport):
    """See the module and the interface."""

    def __init__(self, connecting: Connecting) -> None:
        address = connecting.address
        self._url, self._token, self._closed = str(address), connecting.token, threading.Event()
        if address.secure:
            credentials = grpc.ssl_channel_credentials(_certificates(connecting))
            self._channel = grpc.secure_channel(address.authority, credentials, options=_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address.authority, options=_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        deadline: Deadline,
        most_bytes: int = LARGEST_ANSWER,
    ) -> dict[str, Array]:
        """See the interface."""
        request = service_pb2.ModelInferRequest(model_name=model)
        request.parameters["timeout"].int64_param = max(1, int(deadline.left() * 1e6))
        for name, array in inputs.items():
            request.inputs.add(name=name, datatype=type_on_wire(array), shape=array.shape)
            request.raw_input_contents.append(bytes_on_wire(array))
        for name in outputs:
            request.outputs.add(name=name)
        answer = self._call(self._stub.ModelInfer, request, deadline, model)
        try:
            return _tensors(answer, outputs, most_bytes)
        except Malformed as error:
            raise failures.bad_answer(self._url, str(error)) from error

    def ready(self, deadline: Deadline) -> bool:
        """See the interface."""
        return bool(self._call(self._stub.ServerReady, service_pb2.ServerReadyRequest(), deadline).ready)

    def server(self, deadline: Deadline) -> str:
        """See the interface."""
        answer = self._call(self._stub.ServerMetadata, service_pb2.ServerMetadataRequest(), deadline)
        return failures.one_line(f"Triton {answer.version}")

    def parameter(self, model: str, deadline: Deadline) -> str | None:
        """See the interface."""
        request = service_pb2.ModelConfigRequest(name=model)
        parameters = self._call(self._stub.ModelConfig, request, deadline, model).config.parameters
        return str(parameters[PARAMETER].string_value) if PARAMETER in parameters else None

    def index(self, deadline: Deadline) -> list[str]:
        """See the interface."""
        metadata = ((f"triton-grpc-protocol-{TOKEN_HEADER}", self._token),) if self._token is not None else ()
        request = service_pb2.RepositoryIndexRequest()
        answer = self._call(self._stub.RepositoryIndex, request, deadline, metadata=metadata)
        return sorted({str(entry.name) for entry in answer.models})

    def statistics(self, model: str, deadline: Deadline) -> ModelStatistics:
        """See the interface."""
        request = service_pb2.ModelStatisticsRequest(name=model)
        answer = self._call(self._stub.ModelStatistics, request, deadline, model)
        try:
            return parse_statistics(model, MessageToDict(answer, preserving_proto_field_name=True))
        except (LookupError, TypeError, ValueError) as error:
            raise failures.bad_answer(self._url, f"it has no statistics of {model}") from error

    def close(self) -> None:
        """See the interface."""
        self._closed.set()
        self._channel.close()

    def _call(
        self,
        method: Callable[..., Any],
        request: Any,
        deadline: Deadline,
        model: str = "",
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Any:
        if self._closed.is_set():
            raise failures.closed()
        if (left := deadline.left()) <= 0:
            raise failures.deadline_exceeded(self._url, deadline.seconds)
        try:
            return method(request, timeout=left, metadata=metadata)
        except grpc.RpcError as error:
            raise self._failure(error, deadline, model) from error
        except ValueError as error:  # what a call on a closed channel raises
            if self._closed.is_set():
                raise failures.closed() from error
            raise

    def _failure(self, error: Any, deadline: Deadline, model: str) -> CcdeployError:
        code, reason = error.code(), failures.one_line(error.details() or "") or str(error.code())
        status = grpc.StatusCode
        if self._closed.is_set():
            return failures.closed()
        if code == status.DEADLINE_EXCEEDED:
            return failures.deadline_exceeded(self._url, deadline.seconds)
        if code in (status.UNAUTHENTICATED, status.PERMISSION_DENIED) or "protocol is restricted" in reason:
            return failures.forbidden(self._url, reason)
        if code == status.UNAVAILABLE and _BUSY.search(reason):
            return failures.busy(self._url, reason)
        if code == status.UNAVAILABLE and _UNTRUSTED.search(reason):
            return failures.untrusted(self._url, reason)
        if code in (status.UNAVAILABLE, status.CANCELLED, status.ABORTED):
            return failures.unreachable(self._url, reason)
        if code == status.INVALID_ARGUMENT or (code == status.RESOURCE_EXHAUSTED and "larger than max" in reason):
            return failures.refused(self._url, reason)
        if code == status.RESOURCE_EXHAUSTED:
            return failures.busy(self._url, reason)
        if code == status.NOT_FOUND:
            return failures.unknown_model(self._url, model, reason)
        return failures.server_fault(self._url, f"{code.name}: {reason}")


def _tensors(answer: Any, outputs: Sequence[str], most_bytes: int) -> dict[str, Array]:
    contents = answer.raw_output_contents
    if len(contents) != len(answer.outputs):
        raise Malformed(f"it has {len(answer.outputs)} tensors and the bytes of {len(contents)}")
    if (size := sum(map(len, contents))) > most_bytes:
        raise Malformed(f"it has {size} bytes, {most_bytes} at most were expected")
    found = {
        tensor.name: from_wire(tensor.name, tensor.datatype, list(tensor.shape), content)
        for tensor, content in zip(answer.outputs, contents, strict=True)
        if tensor.name in outputs
    }
    if missing := [name for name in outputs if name not in found]:
        raise Malformed(f"{', '.join(missing)} is not in it")
    return found


def _certificates(connecting: Connecting) -> bytes | None:
    tls_context(connecting.ca)  # says what is wrong with the file, where gRPC writes to the log and goes on
    return None if connecting.ca is None else connecting.ca.read_bytes()
