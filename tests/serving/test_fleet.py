"""What the manifest, the unit and the Dockerfile say, read back from the files."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from fleet_parts import fleet_documents, fleet_facts, fleet_served, fleet_setting, fleet_words

from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.serving.contract import ONNXRUNTIME, PYTHON, TENSORRT, TOKEN_HEADER
from ccdeploy.serving.fleet import Fleet, FleetOptions, render
from ccdeploy.serving.fleet.facts import Facts, read_facts
from ccdeploy.serving.fleet.sizes import Load, needs

PLUGIN = "tiny_network/2/libccdeploy_plugins.so"


def fleet_of(facts: Facts, **options: Any) -> Fleet:
    return render(facts, Path("/data/models"), Path("/data/fleet"), FleetOptions(**options))


def on_gpus(gpus: int) -> Facts:
    return fleet_facts(fleet_served("tiny", TENSORRT, 2), gpus=gpus, plugins=(PLUGIN,), tensorrt="10.7.0", processes=4)


def pod_of(fleet: Fleet) -> dict[str, Any]:
    (deployment,) = [one for one in fleet_documents(fleet.files[1].text) if one["kind"] == "Deployment"]
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def arguments_of(fleet: Fleet) -> dict[str, str]:
    words = pod_of(fleet)["containers"][0]["args"]
    assert words[0] == "tritonserver"
    pairs = [word.removeprefix("--").partition("=") for word in words[1:]]
    assert len(set(pairs)) == len(pairs), "an argument twice"
    return {name: value for name, _, value in pairs}


def test_the_server_listens_on_the_pod_and_is_guarded_there() -> None:
    arguments = arguments_of(fleet_of(on_gpus(1), http_port=9000, grpc_port=9001, metrics_port=9002))
    assert arguments["model-repository"] == "/models"
    assert arguments["model-control-mode"] == "none"
    for protocol, port in (("http", "9000"), ("grpc", "9001"), ("metrics", "9002")):
        assert arguments[f"{protocol}-address"] == "0.0.0.0"
        assert arguments[f"{protocol}-port"] == port
    for option in ("http-restricted-api", "grpc-restricted-protocol"):
        guarded, _, token = arguments[option].partition(":")
        assert {"model-repository", "shared-memory", "trace", "logging"} <= set(guarded.split(","))
        assert token == f"{TOKEN_HEADER}=$(CCDEPLOY_TOKEN)"
    assert arguments["backend-config"] == f"tensorrt,plugins=/models/{PLUGIN}"


def test_an_engine_with_its_own_code_is_let_in() -> None:
    facts = dataclasses.replace(on_gpus(1), plugins=(), host_code=True)
    assert arguments_of(fleet_of(facts))["backend-config"] == "tensorrt,version-compatible=true"


def test_the_token_comes_from_a_secret_that_is_not_in_the_files() -> None:
    fleet = fleet_of(on_gpus(1))
    (token,) = [entry for entry in pod_of(fleet)["containers"][0]["env"] if entry["name"] == "CCDEPLOY_TOKEN"]
    assert token["valueFrom"] == {"secretKeyRef": {"name": "tiny-token", "key": "token"}}
    assert "create secret generic tiny-token --from-file=token=" in fleet.files[1].use[0]
    assert "Secret" not in [document["kind"] for document in fleet_documents(fleet.files[1].text)]


def test_ports_probes_and_scraping_are_of_one_server() -> None:
    fleet = fleet_of(on_gpus(1), http_port=9000, grpc_port=9001, metrics_port=9002, start_timeout_s=333)
    deployment, service = fleet_documents(fleet.files[1].text)
    (container,) = pod_of(fleet)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 9000, "grpc": 9001, "metrics": 9002}
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports
    for probe, path in (("startup", "ready"), ("readiness", "ready"), ("liveness", "live")):
        assert container[f"{probe}Probe"]["httpGet"] == {"path": f"/v2/health/{path}", "port": "http"}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 333
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] == "9002"
    assert annotations["prometheus.io/path"] == "/metrics"


def test_the_service_finds_its_pods() -> None:
    deployment, service, budget = fleet_documents(fleet_of(on_gpus(1), replicas=3, namespace="vision").files[1].text)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selected in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
        deployment["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        assert selected
        assert selected.items() <= labels.items()
    assert {document["metadata"]["namespace"] for document in (deployment, service, budget)} == {"vision"}
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@pytest.mark.parametrize("gpus", [0, 1, 3])
def test_gpus_are_limited_to_those_of_the_instance_groups(gpus: int) -> None:
    facts = on_gpus(gpus) if gpus else fleet_facts(fleet_served())
    pod = pod_of(fleet_of(facts))
    assert pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0) == gpus
    assert ("tolerations" in pod) is (gpus > 0)


def test_the_pod_has_no_rights_and_may_write_where_it_must() -> None:
    pod = pod_of(fleet_of(on_gpus(1)))
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] != 0
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(volumes) == set(mounts)
    assert mounts == {"tmp": "/tmp", "shm": "/dev/shm"}
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"


def test_a_claim_holds_the_repository_instead_of_the_image() -> None:
    fleet = fleet_of(on_gpus(1), claim="weights")
    pod = pod_of(fleet)
    (claim,) = [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert claim["persistentVolumeClaim"] == {"claimName": "weights", "readOnly": True}
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == claim["name"]]
    assert mount == {"name": claim["name"], "mountPath": "/models", "readOnly": True}
    assert "COPY" not in fleet.files[0].text
    assert "--build-context" not in fleet.files[0].use[0]
    assert "COPY --from=models" in fleet_of(on_gpus(1)).files[0].text


@pytest.mark.parametrize("exit_timeout_s", [0, 30, 500])
def test_there_is_time_to_end_in_order(exit_timeout_s: int) -> None:
    fleet = fleet_of(on_gpus(1), exit_timeout_s=exit_timeout_s)
    pod = pod_of(fleet)
    drain = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= drain + exit_timeout_s + 10
    assert arguments_of(fleet)["exit-timeout-secs"] == str(exit_timeout_s)
    assert int(fleet_setting(fleet.files[2].text, "TimeoutStopSec")) > exit_timeout_s


def test_the_unit_serves_on_loopback_and_leaves_the_gpu_open() -> None:
    fleet = fleet_of(
        on_gpus(1),
        http_port=9000,
        python=PurePosixPath("/srv/own env/bin/python"),
        models=PurePosixPath("/srv/100% $x/models"),
        server_binary=PurePosixPath("/srv/triton/bin/tritonserver"),
    )
    name, text = fleet.files[2].name, fleet.files[2].text
    assert name == "ccdeploy-tiny.service"
    start = fleet_words(fleet_setting(text, "ExecStart"))
    assert start[:5] == [":/srv/own env/bin/python", "-m", "ccdeploy", "serve", "/srv/100% $x/models"]
    assert start[start.index("--http-port") + 1] == "9000"
    assert start[start.index("--server-binary") + 1] == "/srv/triton/bin/tritonserver"
    assert "--address" not in start
    ready = fleet_words(fleet_setting(text, "ExecStartPost"))
    assert ready[-2] == "http://127.0.0.1:9000/v2/health/ready"
    assert int(fleet_setting(text, "TimeoutStartSec")) > int(ready[-1])
    keys = set(re.findall(r"^([A-Za-z]+)=", text, re.MULTILINE))
    assert {"NoNewPrivileges", "DynamicUser", "MemoryMax", "IPAddressDeny"} <= keys
    # Each of these shuts the devices of the GPU, or its compiler.
    assert not keys & {"DevicePolicy", "DeviceAllow", "PrivateDevices", "ProtectClock", "MemoryDenyWriteExecute"}


def test_the_image_serves_as_the_manifest_does() -> None:
    fleet = fleet_of(on_gpus(1), http_port=9000, triton_tag="24.12-py3-igpu")
    text = fleet.files[0].text
    assert re.findall(r"^FROM (.*)$", text, re.MULTILINE) == ["nvcr.io/nvidia/tritonserver:24.12-py3-igpu"]
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["1000:1000"]
    (command,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    words = json.loads(command)
    assert words[:5] == ["ccdeploy", "serve", "/models", "--address", "0.0.0.0"]
    assert words[words.index("--http-port") + 1] == "9000"
    assert "http://127.0.0.1:9000/v2/health/ready" in text
    assert "libnvinfer.so.10.7.0" in text, "the build looks whether the image has the engine's TensorRT"
    assert "libnvinfer" not in fleet_of(fleet_facts(fleet_served())).files[0].text


def test_names_that_kubernetes_does_not_take_are_changed_and_said() -> None:
    fleet = fleet_of(fleet_facts(fleet_served("Street_Net.v2", version=7)))
    assert fleet.name == "street-net-v2"
    assert fleet.image == "street-net-v2:7"
    assert any("Street_Net.v2" in note for note in fleet.notes)
    assert not any("Street" in note for note in fleet_of(fleet_facts(fleet_served()), name="own").notes)
    assert not any("docker push" in line for line in fleet.files[0].use), "a name without a registry goes nowhere"
    assert (
        fleet_of(on_gpus(1), image="registry.example.com/x:1").files[0].use[1] == "docker push registry.example.com/x:1"
    )
    several = fleet_of(fleet_facts(fleet_served("a", version=2), fleet_served("b", version=5)))
    assert (several.name, several.image) == ("models", "models:2-5")


def test_an_engine_in_the_python_backend_is_said_to_want_more() -> None:
    served = fleet_served("tiny", TENSORRT)
    from ccdeploy.serving.fleet.facts import _python_on_gpu

    extras, notes = _python_on_gpu((Load(dataclasses.replace(served, backend=PYTHON), 1, 5, 1, True),))
    assert set(extras) == {"tensorrt", "pycuda"}
    assert "pycuda" in notes[0]
    facts = dataclasses.replace(fleet_facts(served, gpus=1), extras=extras)
    assert "ccdeploy[triton,tensorrt,pycuda]==" in fleet_of(facts).files[0].text
    onnx, silent = _python_on_gpu((Load(fleet_served(), 1, 5, 1, True),))
    assert (onnx, silent) == (("onnxruntime-gpu",), ())
    assert "uninstall --yes onnxruntime" in fleet_of(dataclasses.replace(facts, extras=onnx)).files[0].text


def test_engines_of_two_tensorrts_need_two_servers() -> None:
    from ccdeploy.serving.fleet.facts import _tensorrt

    first, second = (fleet_served(name, TENSORRT, tensorrt=of) for name, of in (("a", "10.7.0.23"), ("b", "10.9.0.34")))
    assert _tensorrt((first, fleet_served("c"))) == "10.7.0"
    with pytest.raises(UsageError, match=r"10\.7\.0 \(a\), 10\.9\.0 \(b\)"):
        _tensorrt((first, second))
    with pytest.raises(ArtefactError, match="a version was expected"):
        _tensorrt((fleet_served("a", TENSORRT, tensorrt="\nRUN evil"),))


def test_needs_grow_with_what_is_served() -> None:
    small = Load(fleet_served(), 10 << 20, 5, 1, False)
    assert _gibibytes(small) < _gibibytes(dataclasses.replace(small, file_bytes=4 << 30))
    assert _gibibytes(small) < _gibibytes(dataclasses.replace(small, python_processes=40))
    wide = dataclasses.replace(small.served, size=(1024, 2048), batch=8)
    assert _gibibytes(small) < _gibibytes(dataclasses.replace(small, served=wide))
    in_server = dataclasses.replace(small, served=fleet_served(backend=ONNXRUNTIME))
    assert int(needs([in_server], None, None).cpus) == int(needs([small], None, None).cpus) + 1
    asked = needs([small], "256Mi", "500m")
    assert (asked.memory, asked.shared_memory, asked.cpus) == ("256Mi", "128Mi", "500m")


def _gibibytes(load: Load) -> int:
    return int(needs([load], None, None).memory.removesuffix("Gi"))


def test_facts_of_a_repository(repository: Path, artefact: Path) -> None:
    facts = read_facts(repository)
    (load,) = facts.loads
    assert load.served.name == "tiny"
    assert (facts.gpus, facts.plugins, facts.tensorrt, load.on_gpu) == (0, (), None, False)
    assert load.file_bytes >= artefact.stat().st_size
    assert load.python_processes == 5  # the network's, and two each of the steps around it


def test_gpus_are_counted_and_must_be_the_containers(artefact: Path, tmp_path: Path) -> None:
    from ccdeploy.serving.repository import Packaging, package

    for gpus, expected in (((0, 1), 2), ((), 1)):
        folder = tmp_path / f"on-{len(gpus)}"
        package([artefact], folder, Packaging(name="tiny", gpus=gpus, warmed=False))
        facts = read_facts(folder)
        assert facts.gpus == expected
        assert facts.extras == ("onnxruntime-gpu",)
        assert facts.loads[0].network_instances == expected
    package([artefact], tmp_path / "third", Packaging(name="tiny", gpus=(2,), warmed=False))
    with pytest.raises(UsageError, match="GPUs 2, but a container counts"):
        read_facts(tmp_path / "third")
