"""The doctor: what it says of machines good and broken, that every defect has a remedy, and that it never raises."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from fake_drivers import libraries

from ccdeploy import doctor
from ccdeploy.doctor import WORKS_HERE, Finding, abilities, gpu, hardware, serving, software
from ccdeploy.doctor.finding import guarded
from ccdeploy.engine.flavour import FlavourStatus
from ccdeploy.engine.gpu import Gpu, GpuReport
from ccdeploy.errors import MissingError
from ccdeploy.machine import describe_machine
from ccdeploy.machine.files import Files

ADA = GpuReport((Gpu("NVIDIA RTX 4090", "8.9", 24 << 30),), "13.0", "580.65")
HOPPER = GpuReport((Gpu("NVIDIA H100", "9.0", 80 << 30),), "13.0", "580.65")
OLD_DRIVER = GpuReport((Gpu("NVIDIA RTX 4090", "8.9", 24 << 30),), "12.6", "560.35")
NO_GPU = GpuReport(reason="the NVIDIA driver sees no GPU")


def test_every_finding_has_a_group_and_every_defect_a_remedy() -> None:
    findings = doctor.examine()
    groups = list(dict.fromkeys(finding.group for finding in findings))
    assert groups == ["machine", "PyTorch and ONNX", "GPU and TensorRT", "plugin", "video", serving.GROUP, WORKS_HERE]
    assert [finding for finding in findings if not finding.ok and not finding.remedy] == []
    assert {"ccdeploy", "models", "system", "CPU", "torch", "onnx", "onnxruntime", "opencv"} <= {
        finding.subject for finding in findings if finding.ok
    }


def test_programs_get_a_list_of_findings(ccdeploy: Any) -> None:
    ended = ccdeploy("doctor", "--json")
    assert ended.code == 0
    document = json.loads(ended.out, parse_constant=pytest.fail)
    assert all(set(entry) == {"subject", "ok", "seen", "remedy", "group"} for entry in document)


def test_people_get_groups_and_remedies_once(ccdeploy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Finding("GPU", False, "none", "Get one.", "things"),
        Finding("mode", True, "15W", "Be faster.", "things"),
        Finding("run engines", False, "lacks GPU: see above", "Get one.", WORKS_HERE),
    ]
    monkeypatch.setattr("ccdeploy.commands.doctor.examine", lambda: found)
    assert ccdeploy("doctor").out.splitlines() == [
        "things",
        "no   GPU          none",
        "                  Get one.",
        "yes  mode         15W",
        "                  Be faster.",
        "",
        WORKS_HERE,
        "no   run engines  lacks GPU: see above",
    ]


BROKEN = {
    "onnxruntime/__init__.py": "raise SystemExit(7)",
    "cv2/__init__.py": "raise OSError('libGL.so.1: cannot open shared object file')",
    "pycuda/__init__.py": "",
    "pycuda/driver.py": "raise ImportError('libcuda.so.1: no such file')",
    "tensorrt/__init__.py": "raise RuntimeError('half installed')",
    "tensorrt_rtx/__init__.py": "__version__ = None",
    "torch/__init__.py": "raise ImportError('no')",
    "onnx/__init__.py": "1 / 0",
    "psutil/__init__.py": "raise ImportError('psutil is broken')",
    "pynvml.py": "raise ValueError('pynvml is broken')",
    "elftools/__init__.py": "raise ImportError('no elftools')",
}


def test_broken_packages_are_findings(tmp_path: Path) -> None:
    for name, content in BROKEN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    command = [sys.executable, "-m", "ccdeploy", "doctor", "--json"]
    variables = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    seen = {entry["subject"]: entry for entry in json.loads(done.stdout)}
    expected = {
        "onnxruntime": "could not be looked at: SystemExit: 7",
        "opencv": "does not load: libGL.so.1: cannot open shared object file",
        "tensorrt": "TensorRT is installed but does not load: half installed.",
        "torch": "could not be looked at: FileNotFoundError",
    }
    for subject, start in expected.items():
        assert not seen[subject]["ok"], subject
        assert seen[subject]["seen"].startswith(start), seen[subject]
        assert seen[subject]["remedy"]
    assert "does not load: libcuda.so.1: no such file" in seen["pycuda"]["seen"]
    assert not seen["export"]["ok"]
    assert "torch" in seen["export"]["seen"]


def test_a_machine_with_a_card_is_told_whole(tmp_path: Path) -> None:
    folder = libraries(tmp_path / "driver")
    command = [sys.executable, "-m", "ccdeploy", "doctor", "--json"]
    variables = os.environ | {"LD_LIBRARY_PATH": str(folder)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    findings = json.loads(done.stdout)
    gpus = [entry["seen"] for entry in findings if entry["subject"] == "GPU"]
    assert len(gpus) == 2
    assert gpus[0].startswith("Fake RTX, compute capability 8.6, 26 GB, driver ")
    assert gpus[0].endswith(", CUDA up to 13.0")
    seen = {entry["subject"]: entry for entry in findings}
    assert seen["power of the GPU"]["ok"]
    assert seen["power of the GPU"]["seen"] == ("NVML 13.580.65.06: GPU board; also temperature, clock, memory clock")
    assert seen["power mode"]["seen"] == "power limit 300 W of 350 W"
    assert seen["power mode"]["remedy"] == "For benchmarks: sudo nvidia-smi -pl 350"
    assert seen["measure energy"]["ok"]


# --- hardware


def hardware_of(files: Files, report: GpuReport = NO_GPU) -> dict[str, Finding]:
    return {finding.subject: finding for finding in hardware.findings(files, report)}


def plant(root: Path, tree: dict[str, str]) -> Files:
    for path, content in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return Files(root)


ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    "var/lib/nvpmodel/status": "pmode:0000",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
    "sys/class/hwmon/hwmon1/name": "ina3221",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon1/in1_input": "5000",
    "sys/class/hwmon/hwmon1/curr1_input": "1000",
}


def test_a_jetson_is_told_how_to_be_fast(tmp_path: Path) -> None:
    seen = hardware_of(plant(tmp_path, ORIN))
    assert seen["Jetson"].seen == "NVIDIA Jetson Orin Nano Developer Kit, JetPack 6 (L4T 36.4.3)"
    assert seen["power mode"] == Finding(
        "power mode",
        True,
        "15W, clocks vary with the load",
        "For benchmarks: sudo nvpmodel -m 2 (MAXN_SUPER), then sudo jetson_clocks, which holds the clocks",
        "machine",
    )
    assert seen["power of the CPU"].seen == "Jetson INA3221 rails: module (VDD_IN)"
    plant(tmp_path, {"var/lib/nvpmodel/status": "pmode:0002", "sys/class/devfreq/17000000.gpu/min_freq": "1020000000"})
    best = hardware_of(Files(tmp_path))["power mode"]
    assert (best.seen, best.remedy) == ("MAXN_SUPER, clocks held", "")


def test_a_jetson_that_does_not_tell_its_mode_is_a_defect(tmp_path: Path) -> None:
    mode = hardware_of(plant(tmp_path, ORIN | {"var/lib/nvpmodel/status": "?"}))["power mode"]
    assert (mode.ok, mode.seen) == (False, "nvpmodel does not tell")
    assert "nvpmodel" in mode.remedy


def test_a_slow_governor_has_a_hint(tmp_path: Path) -> None:
    governor = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    slow = hardware_of(plant(tmp_path, {governor: "powersave\n"}))["CPU"]
    assert slow.ok
    assert slow.seen.endswith("governor powersave")
    assert slow.remedy == "For benchmarks: sudo cpupower frequency-set -g performance"
    assert hardware_of(plant(tmp_path, {governor: "performance"}))["CPU"].remedy == ""


@pytest.mark.parametrize(
    ("limit", "hint"),
    [("300 W of 350 W", "For benchmarks: sudo nvidia-smi -pl 350"), ("350 W of 350 W", ""), ("400 W of 350 W", "")],
)
def test_a_power_limit_below_the_default_has_a_hint(tmp_path: Path, limit: str, hint: str) -> None:
    machine = dataclasses.replace(describe_machine(Files(tmp_path)), power_mode=limit)
    assert hardware._modes(Files(tmp_path), machine) == [Finding("power mode", True, f"power limit {limit}", hint)]


def test_counters_for_root_only_come_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = "sys/class/powercap/intel-rapl:0"
    files = plant(tmp_path, {f"{zone}/name": "package-0", f"{zone}/energy_uj": "1"})
    content = Files.content
    monkeypatch.setattr(
        Files, "content", lambda self, path: PermissionError(13, "no") if "energy_uj" in path else content(self, path)
    )
    power = hardware_of(files)["power of the CPU"]
    assert (power.ok, power.seen) == (False, f"/{zone}/energy_uj is for root only")
    assert power.remedy.startswith("To allow it: sudo chmod a+r /sys/class/powercap/")


# --- PyTorch, onnxruntime, OpenCV


def torch_of(monkeypatch: pytest.MonkeyPatch, folder: Path, version: str, report: GpuReport) -> Finding:
    (folder / "version.py").write_text(version)
    spec = importlib.util.spec_from_file_location("torch", folder / "__init__.py")
    monkeypatch.setattr(software, "is_installed", lambda name: True)
    monkeypatch.setattr(software, "version_of", lambda name: "2.99")
    monkeypatch.setattr(software.importlib.util, "find_spec", lambda name: spec)
    return software._torch(report)


@pytest.mark.parametrize(
    ("version", "report", "seen", "remedy"),
    [
        ("cuda: Optional[str] = None", NO_GPU, "2.99, a CPU build", ""),
        ("cuda = None", ADA, "2.99, a CPU build", "install a CUDA build"),
        ("cuda: Optional[str] = '13.0'", ADA, "2.99, a build for CUDA 13.0", ""),
        ('cuda = "12.8"', OLD_DRIVER, "2.99, a build for CUDA 12.8", ""),
        ("cuda = '13.0'", OLD_DRIVER, "the driver serves CUDA up to 12.6: it sees no GPU", "Update the NVIDIA"),
        ("cuda = '13.0'", NO_GPU, "2.99, a build for CUDA 13.0", ""),
        ("", ADA, "2.99, of which build is not known", ""),
    ],
)
def test_builds_of_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, report: GpuReport, seen: str, remedy: str
) -> None:
    finding = torch_of(monkeypatch, tmp_path, f"debug = False\n{version}\nhip = None\n", report)
    assert finding.ok, "it exports on the CPU in any case"
    assert finding.seen.endswith(seen)
    assert remedy in finding.remedy
    assert bool(finding.remedy) is bool(remedy)


def onnxruntime_of(
    monkeypatch: pytest.MonkeyPatch, folder: Path, keys: list[str], packages: list[str], report: GpuReport
) -> dict[str, Finding]:
    module = types.ModuleType("onnxruntime")
    module.__dict__.update(
        __version__="1.99", __file__=str(folder / "__init__.py"), get_available_providers=lambda: keys
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    monkeypatch.setattr(software, "is_installed", lambda name: True)
    monkeypatch.setattr(software, "version_of", lambda name: "1.99" if name in packages else "")
    return {finding.subject: finding for finding in reversed(software._onnxruntime(report))}


def test_packages_of_onnxruntime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = ["CPUExecutionProvider"]
    seen = onnxruntime_of(monkeypatch, tmp_path, keys, ["onnxruntime"], NO_GPU)
    assert set(seen) == {"onnxruntime"}
    assert seen["onnxruntime"].seen == "1.99 (package onnxruntime), providers: CPU"
    seen = onnxruntime_of(monkeypatch, tmp_path, keys, ["onnxruntime"], ADA)
    assert seen["onnxruntime"].ok
    assert not seen["onnxruntime on the GPU"].ok
    assert "is built without CUDAExecutionProvider" in seen["onnxruntime on the GPU"].seen
    assert "onnxruntime-gpu" in seen["onnxruntime on the GPU"].remedy
    seen = onnxruntime_of(monkeypatch, tmp_path, keys, ["onnxruntime", "onnxruntime-gpu"], ADA)
    assert not seen["onnxruntime"].ok
    assert "two packages overwrite one another" in seen["onnxruntime"].seen
    assert "pip uninstall onnxruntime onnxruntime-gpu" in seen["onnxruntime"].remedy


def test_a_provider_that_is_listed_and_does_not_run_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    (tmp_path / "capi").mkdir()
    seen = onnxruntime_of(monkeypatch, tmp_path, keys, ["onnxruntime-gpu"], NO_GPU)
    assert seen["onnxruntime"].seen == "1.99 (package onnxruntime-gpu), providers: Tensorrt, CUDA, CPU"
    assert not seen["onnxruntime on the GPU"].ok
    assert "CUDAExecutionProvider does not load" in seen["onnxruntime on the GPU"].seen
    assert seen["onnxruntime on the GPU"].remedy
    monkeypatch.setattr(software, "why_not_provided", lambda provider: ("", ""))
    finding = onnxruntime_of(monkeypatch, tmp_path, keys, ["onnxruntime-gpu"], ADA)["onnxruntime on the GPU"]
    assert (finding.ok, finding.seen, finding.remedy) == (True, "CUDA", "")


def test_opencv_without_video_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("cv2")
    module.__dict__.update(__version__="4.99", getBuildInformation=lambda: "  FFMPEG:      NO\n  GStreamer:   NO\n")
    monkeypatch.setitem(sys.modules, "cv2", module)
    monkeypatch.setattr(software, "is_installed", lambda name: True)
    (finding,) = software.video()
    assert (finding.ok, finding.seen) == (False, "4.99, built without video")
    module.__dict__["getBuildInformation"] = lambda: "  FFMPEG:      NO\n  GStreamer:     YES (1.20)\n"
    (finding,) = software.video()
    assert (finding.ok, finding.seen) == (True, "4.99, video by GStreamer")


# --- TensorRT


class Flavour:
    """A flavour that targets some compute capabilities."""

    def __init__(self, name: str) -> None:
        self.compute_capabilities = ("8.6", "8.9") if name == "tensorrt-rtx" else ()

    def unversioned_library(self) -> None:
        return None


@pytest.fixture
def both_flavours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "load_flavour", Flavour)
    monkeypatch.setattr(gpu, "probe_flavours", lambda: [FlavourStatus("tensorrt-rtx", True, "1.7")])
    monkeypatch.setattr(gpu, "version_of", lambda package: "1.7" if package == "tensorrt-rtx-cu13-libs" else "")


def able(report: GpuReport) -> Finding:
    """Whether engines can be run where all but TensorRT is in order."""
    things = [Finding(subject, True, "there") for subject in ("GPU", "pycuda")]
    found = [*things, *(finding for finding in gpu.findings(report) if finding.subject.startswith("tensorrt"))]
    return next(finding for finding in abilities.findings(found, report) if finding.subject == "run engines")


@pytest.mark.parametrize(
    ("report", "seen", "remedy"),
    [
        (ADA, "1.7", ""),
        (NO_GPU, "1.7", ""),
        (HOPPER, "1.7; it is not for the GPU here (compute capability 9.0)", "Use full TensorRT for this GPU."),
        (OLD_DRIVER, "1.7; it is of CUDA 13, the driver serves CUDA up to 12.6", "Update the NVIDIA driver."),
    ],
)
def test_a_tensorrt_that_does_not_serve_this_gpu_is_told(
    both_flavours: None, report: GpuReport, seen: str, remedy: str
) -> None:
    flavours = [finding for finding in gpu.findings(report) if finding.subject == "tensorrt-rtx"]
    assert [(finding.ok, finding.seen, finding.remedy) for finding in flavours] == [(True, seen, remedy)]
    ability = able(report)
    assert ability.ok is not bool(remedy)
    if remedy:
        assert ability.seen == "lacks a TensorRT for this GPU: see above"
        assert ability.remedy == remedy


def test_a_driver_without_a_device_is_told_with_its_version() -> None:
    report = GpuReport((), "13.0", "580.65", "cuInit answered CUDA_ERROR_NO_DEVICE (100)")
    (finding,) = [finding for finding in gpu.findings(report) if finding.subject == "GPU"]
    assert not finding.ok
    assert finding.seen == "cuInit answered CUDA_ERROR_NO_DEVICE (100) (driver 580.65, CUDA up to 13.0)"


# --- abilities


LOSSES = ["torch", "onnx", "onnxruntime", "GPU", "pycuda", "nvcc", "cmake", "opencv", "models", "tritonclient"]


@pytest.mark.parametrize("lost", [*LOSSES, "tritonserver"])
def test_what_is_lost_with_a_thing(both_flavours: None, lost: str) -> None:
    subjects = [
        *("models", "torch", "onnx", "onnxruntime", "onnxruntime on the GPU", "GPU", "tensorrt", "tensorrt-rtx"),
        *("pycuda", "nvcc", "cmake", "opencv", "power of the CPU", "tritonclient", "tritonserver"),
    ]
    whole = abilities.findings([Finding(subject, True, "") for subject in subjects], ADA)
    assert [finding for finding in whole if not finding.ok] == []
    things = [Finding(subject, subject != lost, "", "" if subject != lost else f"Get {lost}.") for subject in subjects]
    lacking = [finding for finding in abilities.findings(things, ADA) if not finding.ok]
    needing = {
        "models": ["export"],
        "torch": ["export", "run and verify ONNX files", "quantise", "make a model repository"],
        "onnx": [
            *("export", "run and verify ONNX files", "quantise"),
            *("build engines for RTX cards", "build engines of full TensorRT"),
            *("make a model repository", "serve it"),
        ],
        "tritonclient": ["make a model repository", "serve it"],
        "tritonserver": ["serve it"],
        "onnxruntime": ["run and verify ONNX files", "quantise"],
        "GPU": ["build engines of full TensorRT", "run engines", "run ONNX files on the GPU"],
        "pycuda": ["run engines"],
        "nvcc": ["compile the plugin"],
        "cmake": ["compile the plugin"],
        "opencv": ["video and cameras"],
    }
    assert [finding.subject for finding in lacking] == needing[lost]
    assert {finding.seen for finding in lacking} == {f"lacks {lost}: see above"}
    assert {finding.remedy for finding in lacking} == {f"Get {lost}."}


def test_one_of_two_plugins_or_gpus_that_serves_is_enough() -> None:
    found = [Finding("opencv", False, "x", "y"), Finding("opencv", True, ""), Finding("opencv", False, "x", "y")]
    (finding,) = [one for one in abilities.findings(found, NO_GPU) if one.subject == "video and cameras"]
    assert finding.ok


@pytest.mark.parametrize(
    ("error", "seen", "remedy"),
    [
        (MissingError("It is not there.", "Install it."), "It is not there.", "Install it."),
        (ZeroDivisionError("x"), "could not be looked at: ZeroDivisionError: x", "Install it again; "),
        (SystemExit(3), "could not be looked at: SystemExit: 3", "Install it again; "),
    ],
)
def test_errors_are_findings(error: BaseException, seen: str, remedy: str) -> None:
    def look() -> list[Finding]:
        raise error

    (finding,) = guarded("thing", "group", look)
    assert (finding.subject, finding.group, finding.ok, finding.seen) == ("thing", "group", False, seen)
    assert finding.remedy.startswith(remedy)


def test_ctrl_c_is_no_finding() -> None:
    def look() -> list[Finding]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded("thing", "group", look)


# --- Triton


def test_the_server_that_serve_would_take_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "tritonserver"
    for file in (program, *(tmp_path / "backends" / name / f"libtriton_{name}.so" for name in ("python", "tensorrt"))):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    server = serving.findings()[0]
    assert (server.ok, server.seen) == (True, f"on PATH: {program}, backends: python, tensorrt")


def test_without_server_and_client_the_ways_to_them_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> None:
        raise MissingError("There is no tritonserver.", "Install it.")

    monkeypatch.setattr(serving, "find_server", nothing)
    monkeypatch.setattr(serving, "is_installed", lambda module: False)
    server, client = serving.findings()
    assert (server.ok, server.seen, server.remedy) == (False, "There is no tritonserver.", "Install it.")
    assert (client.ok, client.seen) == (False, "not installed")
    assert 'pip install "ccdeploy[triton]"' in client.remedy
