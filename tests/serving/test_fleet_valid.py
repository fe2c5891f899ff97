"""The files before their own validators: Kubernetes' schemas and kubectl, systemd, hadolint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from fleet_parts import fleet_documents, fleet_facts, fleet_program, fleet_served

from ccdeploy.serving.contract import TENSORRT
from ccdeploy.serving.fleet import Fleet, FleetOptions, render

OLDEST_KUBERNETES = (1, 29)
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {
        "name": "street-cameras",
        "image": "registry.example.com:5000/vision/street-cameras:2024.1",
        "namespace": "vision",
        "replicas": 3,
        "claim": "weights",
        "http_port": 9000,
        "memory": "12Gi",
        "cpus": "2500m",
        "triton_tag": "24.12-py3-igpu",
        "models": PurePosixPath("/srv/50% of $HOME/my models"),
        "server_binary": PurePosixPath("/srv/triton server/bin/tritonserver"),
    },
}


@pytest.fixture(params=[f"{case}-{where}" for case in CASES for where in ("cpu", "gpu")])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Fleet:
    case, where = request.param.split("-")
    facts = fleet_facts(fleet_served("Tiny_Net.v2"), fleet_served("other", version=3))
    if where == "gpu":
        plugins = ("tiny_network/1/libccdeploy_plugins.so",)
        facts = fleet_facts(fleet_served("tiny", TENSORRT), gpus=2, plugins=plugins, tensorrt="10.7.0")
    options = FleetOptions(**CASES[case], python=PurePosixPath(sys.executable))
    wheel = "ccdeploy-0.1.0-py3-none-any.whl" if case == "all" else None
    return render(facts, tmp_path / "the repository", tmp_path, options, wheel)


def _written(fleet: Fleet, number: int, folder: Path) -> Path:
    file = folder / fleet.files[number].name
    file.write_text(fleet.files[number].text, encoding="utf-8")
    return file


def test_kubernetes_schemas_take_the_manifest(fleet: Fleet) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    from kubernetes_validate.utils import all_versions

    versions = {version for version in all_versions() if tuple(map(int, version.split(".")[:2])) >= OLDEST_KUBERNETES}
    assert versions
    for document in fleet_documents(fleet.files[1].text):
        for version in sorted(versions):
            validator.validate(document, version, strict=True)


def test_the_schemas_would_find_a_fault(fleet: Fleet) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    deployment = fleet_documents(fleet.files[1].text)[0]
    deployment["spec"]["template"]["spec"]["containers"][0]["startupProb"] = {}
    with pytest.raises(validator.ValidationError):
        validator.validate(deployment, "1.32", strict=True)


def test_kubectl_reads_the_manifest(fleet: Fleet, tmp_path: Path) -> None:
    """Without a cluster kubectl decodes files, but validates nothing."""
    file = _written(fleet, 1, tmp_path)
    command = [fleet_program("kubectl"), "annotate", "--local", "--filename", str(file), "read=yes", "--output=name"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"deployment.apps/{fleet.name}" in done.stdout
    assert f"service/{fleet.name}" in done.stdout


def test_systemd_takes_the_unit(fleet: Fleet, tmp_path: Path) -> None:
    file = _written(fleet, 2, tmp_path)
    command = [fleet_program("systemd-analyze"), "verify", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    # Other units of the machine may have faults of their own.
    ours = [line for line in done.stderr.splitlines() if file.stem in line]
    assert not ours
    assert done.returncode == 0, done.stderr


def test_systemd_would_find_a_fault(fleet: Fleet, tmp_path: Path) -> None:
    file = _written(fleet, 2, tmp_path)
    file.write_text(file.read_text(encoding="utf-8").replace("KillMode=mixed", "KillMode=mixd"), encoding="utf-8")
    done = subprocess.run([fleet_program("systemd-analyze"), "verify", str(file)], capture_output=True, text=True)
    assert "mixd" in done.stderr


def test_hadolint_takes_the_dockerfile(fleet: Fleet, tmp_path: Path) -> None:
    file = _written(fleet, 0, tmp_path)
    done = subprocess.run([fleet_program("hadolint"), "--no-color", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    file.write_text(file.read_text(encoding="utf-8") + "RUN cd /x && pip install y\n", encoding="utf-8")
    assert subprocess.run([fleet_program("hadolint"), str(file)], capture_output=True).returncode == 1
