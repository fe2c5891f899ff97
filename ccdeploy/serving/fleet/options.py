"""What a user may say of the files, and the names that Kubernetes, systemd and Docker take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from ccdeploy.errors import UsageError
from ccdeploy.serving.server.options import LOOPBACK, Options

TRITON_TAG = "24.10-py3"
"""Of nvcr.io/nvidia/tritonserver: the release of the server that ccdeploy's tests run against (2.51)."""
PYTHON = PurePosixPath("/opt/ccdeploy/bin/python")
MODELS = PurePosixPath("/opt/ccdeploy/models")
LONGEST_LABEL = 63
"""Of a part of a DNS name, which names of services must be."""
LONGEST_NAME = 50
"""Of a deployment's name, so that names made from it are labels too, and a Service's name stays short."""
_LABEL = r"[a-z]([a-z0-9-]*[a-z0-9])?"
_IMAGE = (
    r"[a-z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?"
    r"(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_QUANTITY = r"[1-9][0-9]{0,8}(Mi|Gi)"
_CPUS = r"[1-9][0-9]{0,3}|[1-9][0-9]{1,5}m"


@dataclass(frozen=True)
class FleetOptions:
    """What the files say where the repository does not.

    Attributes:
        name: of the Deployment, the Service and the systemd unit; None: from the repository.
        image: that Kubernetes pulls; None: the name, tagged with the versions that it serves.
        namespace: of Kubernetes; None: the one that kubectl is set to.
        replicas: pods.
        claim: a PersistentVolumeClaim that holds the repository; None: it is in the image.
        http_port, grpc_port, metrics_port: that the server listens on.
        start_timeout_s: until all models must be ready.
        exit_timeout_s: for requests in flight when the server is stopped.
        memory: that a pod may take, such as "6Gi"; None: estimated.
        cpus: that a pod is given at least, such as "4" or "500m"; None: estimated.
        triton_tag: of NVIDIA's image that the Dockerfile starts from.
        python: the interpreter that has ccdeploy, where the systemd unit runs.
        models: the repository, where the systemd unit runs.
        server_binary: tritonserver, where the systemd unit runs; None: found there.
    """

    name: str | None = None
    image: str | None = None
    namespace: str | None = None
    replicas: int = 1
    claim: str | None = None
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    start_timeout_s: int = 600
    exit_timeout_s: int = 30
    memory: str | None = None
    cpus: str | None = None
    triton_tag: str = TRITON_TAG
    python: PurePosixPath = PYTHON
    models: PurePosixPath = MODELS
    server_binary: PurePosixPath | None = None

    def __post_init__(self) -> None:
        """Refuses what Kubernetes, systemd or Docker would refuse, or read as something else.

        Raises:
            UsageError: names the option, the value, and what is expected.
        """
        for option, value, pattern, expected in (
            ("name", self.name, _LABEL, "small letters, digits and -, from a letter on, such as street-cameras"),
            ("namespace", self.namespace, _LABEL, "small letters, digits and -, such as vision"),
            ("claim", self.claim, _LABEL, "the name of a PersistentVolumeClaim: small letters, digits and -"),
            ("image", self.image, _IMAGE, "an image's name, such as registry.example.com/vision/streets:3"),
            ("triton-tag", self.triton_tag, _TAG, f"a tag of nvcr.io/nvidia/tritonserver, such as {TRITON_TAG}"),
            ("memory", self.memory, _QUANTITY, "mebibytes or gibibytes, such as 6Gi"),
            ("cpus", self.cpus, _CPUS, "cores, such as 4, or thousandths of one, such as 500m"),
        ):
            if value is not None and not re.fullmatch(pattern, value):
                raise UsageError(f"--{option} is {value!r}, expected were {expected}.", f"Give --{option} another.")
        for option, value, longest in (
            ("name", self.name, LONGEST_NAME),
            ("namespace", self.namespace, LONGEST_LABEL),
            ("claim", self.claim, LONGEST_LABEL),
        ):
            if value is not None and len(value) > longest:
                raise UsageError(f"--{option} has {len(value)} characters, at most {longest}.", "Give a shorter one.")
        if not 1 <= self.replicas <= 10_000:
            raise UsageError(f"{self.replicas} replicas, 1 to 10000 were expected.", "Give --replicas another.")
        if min(self.ports.values()) < 1024:
            raise UsageError(
                f"Ports {', '.join(map(str, self.ports.values()))}: one is below 1024.",
                "The server has no rights to open it: choose ports of 1024 to 65535.",
            )
        if not (1 <= self.start_timeout_s <= 86_400 and 0 <= self.exit_timeout_s <= 3600):
            raise UsageError(
                f"{self.start_timeout_s} s to start and {self.exit_timeout_s} s to stop.",
                "Give 1 to 86400 s to start and 0 to 3600 s to stop.",
            )
        self.server(LOOPBACK)
        for option, path in (("python", self.python), ("models", self.models), ("server-binary", self.server_binary)):
            _check_path(option, path)

    @property
    def ports(self) -> dict[str, int]:
        """By the names that the Service gives them."""
        return {"http": self.http_port, "grpc": self.grpc_port, "metrics": self.metrics_port}

    def server(self, address: str) -> Options:
        """The same as options of `ccdeploy serve`.

        Raises:
            UsageError: a server could not run with them.
        """
        return Options(
            address=address,
            http_port=self.http_port,
            grpc_port=self.grpc_port,
            metrics_port=self.metrics_port,
            start_timeout_s=float(self.start_timeout_s),
            exit_timeout_s=self.exit_timeout_s,
        )


def label_of(text: str) -> str:
    """A name as a part of a DNS name: what it may not hold becomes -; "ccdeploy" where nothing is left.

    Names of models may hold capitals, dots and underscores, which names of services may not.
    """
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if label and not label[0].isalpha():
        label = f"m-{label}"
    return label[:LONGEST_NAME].rstrip("-") or "ccdeploy"


def _check_path(option: str, path: PurePosixPath | None) -> None:
    """A path that a unit of systemd can name."""
    if path is None:
        return
    text = str(path)
    if not path.is_absolute() or ".." in path.parts:
        raise UsageError(
            f"--{option} is {text!r}, which is no absolute path.", "Give it from / on, as it is where the unit runs."
        )
    if not text.isprintable() or any(letter in text for letter in "\"'\\"):
        raise UsageError(
            f"--{option} is {text!r}: systemd takes no quotes, backslashes or control characters there.",
            "Use a path without them.",
        )
