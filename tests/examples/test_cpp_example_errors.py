"""What the C++ example refuses, in two lines and with ccdeploy's exit codes; nothing is written then."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
from cpp_build import ROOT, compiled
from cpp_example import Deployment, Network

from ccdeploy.ccnet.cards import Card, load_card
from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.files import sha256_of

BUILD = "Build the engine again with `ccdeploy build-engine`."
BUILD_HERE = "Build the engine again with `ccdeploy build-engine` on this machine."
HELP = "`ccdeploy_segment --help` lists what it takes."
FROM_1 = "from 1 to 100000"
DOCTOR = "`ccdeploy doctor` shows what this machine lacks."


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    compiled()
    return load_card(samples.ccnet_card(tmp_path_factory.mktemp("cards")))


@pytest.fixture
def subject(tmp_path: Path, card: Card) -> Deployment:
    """An engine with the plugin that runs, and a picture."""
    made = Deployment(tmp_path, card, plugin=True)
    made.draw(29, 43)
    return made


def test_another_gpu_or_tensorrt_never_sees_the_engine(subject: Deployment) -> None:
    build = "Build the engine for this GPU with `ccdeploy build-engine`."
    what = "The engine was built for compute capability 8.7, Stand-in has 8.6."
    subject.refused(3, what, build, CAPABILITY="8.6")
    assert not any("deserialize" in call or "loadLibrary" in call for call in subject.calls())
    for version in ("10.16.1.12", "10.16.11.11", "11.16.1.11"):
        what = f"The engine was built by tensorrt 10.16.1.11, version {version} is loaded."
        subject.refused(3, what, BUILD_HERE, VERSION=version)
        assert not any("deserialize" in call or "loadLibrary" in call for call in subject.calls())

    data = subject.manifest()
    data["engine"]["version"] = "10.16.1"  # as packages of Debian call it
    data["engine"]["compute_capabilities"] = ["8.6", "8.7"]
    subject.write_manifest(data)
    assert subject.run().returncode == 0
    what = "The engine was built for compute capability 8.6, 8.7, Stand-in has 8.9."
    subject.refused(3, what, build, CAPABILITY="8.9")
    for version in ("10.16", "10.1", ""):
        data["engine"]["version"] = version
        subject.write_manifest(data)
        assert subject.run(VERSION="10.16.1.11").returncode == (0 if version == "10.16" else 3)

    data["engine"]["flavour"] = "tensorrt-rtx"
    subject.write_manifest(data)
    what = "The engine was built by tensorrt-rtx, this program is linked with tensorrt."
    subject.refused(3, what, "Configure this program with -DTENSORRT_FLAVOUR=tensorrt-rtx.")


def test_there_is_no_gpu(subject: Deployment) -> None:
    what = "There is no GPU that CUDA can use: no CUDA-capable device is detected."
    subject.refused(3, what, DOCTOR, FAIL="cudaGetDeviceCount")
    subject.refused(3, what, DOCTOR, DEVICES="0")


@pytest.mark.parametrize(
    "call",
    [
        "cudaSetDevice",
        "cudaDeviceGetAttribute",
        "cudaDeviceGetAttribute:2",
        "cudaGetDeviceProperties",
        "cudaStreamCreateWithFlags",
        "cudaEventCreate",
        "cudaEventCreate:2",
        "cudaMalloc",
        "cudaMalloc:2",
        "cudaMallocHost",
        "cudaMallocHost:2",
        "cudaMemcpyAsync",
        "cudaMemcpyAsync:2",
        "cudaEventRecord",
        "cudaEventRecord:2",
        "cudaStreamSynchronize:12",
        "cudaEventElapsedTime:2",
    ],
)
def test_every_call_of_cuda_is_checked(subject: Deployment, call: str) -> None:
    name = call.partition(":")[0]
    memory = name in ("cudaMalloc", "cudaMallocHost")
    reason = "out of memory (cudaErrorMemoryAllocation)" if memory else "unknown error (cudaErrorUnknown)"
    remedy = "Free memory of the GPU, or use a smaller engine." if memory else DOCTOR
    subject.refused(3, f"{name} failed: {reason}.", remedy, FAIL=call)


@pytest.mark.parametrize(
    ("call", "code", "what", "remedy"),
    [
        ("createInferRuntime", 3, "TensorRT 10.16.1.11 does not start: its reason stands above.", DOCTOR),
        ("deserializeCudaEngine", 2, "TensorRT refuses the engine: its reason stands above.", BUILD_HERE),
        (
            "createExecutionContext",
            3,
            "TensorRT makes no execution context: its reason stands above.",
            "Free memory of the GPU, or use a smaller engine.",
        ),
        ("setInputShape", 2, "The engine does not take the shape that its manifest states.", BUILD_HERE),
        ("setTensorAddress:2", 2, "TensorRT refuses the buffer of output: its reason stands above.", BUILD_HERE),
        (
            "enqueueV3:4",
            3,
            "TensorRT does not run the engine: its reason stands above.",
            "`ccdeploy verify` shows whether the engine runs there.",
        ),
    ],
)
def test_every_call_of_tensorrt_is_checked(subject: Deployment, call: str, code: int, what: str, remedy: str) -> None:
    subject.refused(code, what, remedy, FAIL=call)


def test_a_real_tensorrt_takes_the_plugin_and_says_that_there_is_no_gpu(
    subject: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The registry and the version functions are those of TensorRT's lean runtime here, CUDA is the stand-in."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "plugins"))
    from tensorrt_hosts import HOSTS

    if probe_gpus().gpus:
        pytest.skip("there is a GPU: TensorRT would start, and the engine is none")
    packages = HOSTS["TensorRT 10.16 lean"].folder()
    assert packages is not None
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    (libraries / "libnvinfer.so").symlink_to(packages / "tensorrt_lean_libs" / "libnvinfer_lean.so.10")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(libraries))
    subject.refused(3, "TensorRT 10.16.1.11 does not start: its reason stands above.", DOCTOR)
    data = subject.manifest()
    data["engine"]["plugin"]["version"] = "2"
    subject.write_manifest(data)
    what = f"TensorRT found no plugin CrissCrossAttention, version 2, in {subject.plugin}."
    remedy = "Build it on this machine with `ccdeploy build-plugin`, and the engine with it."
    subject.refused(3, what, remedy)


def test_errors_of_tensorrt_are_passed_on(subject: Deployment) -> None:
    subject.write("something else\n")
    done = subject.run()
    assert done.stderr.splitlines()[0] == "TensorRT: this is not an engine"
    assert "an engine is read" not in done.stderr  # which is of the severity of an information
    assert done.returncode == 2


def test_the_plugin_is_the_one_of_the_build(subject: Deployment, tmp_path: Path) -> None:
    engine = subject.manifest()["engine"]
    with subject.plugin.open("ab") as file:
        file.write(b"\0")
    wanted, seen = engine["plugin"]["sha256"], sha256_of(subject.plugin)
    what = f"The plugin {subject.plugin} has sha256 {seen}, the engine was built with {wanted}."
    remedy = "Take the library that the engine was built with, or build the engine again."
    subject.refused(2, what, remedy)
    assert not any("loadLibrary" in call for call in subject.calls())

    subject.plugin.unlink()
    what = "The engine's plugin libccdeploy_plugins.so is not beside it."
    subject.refused(3, what, "Copy it there, or name it with --plugin FILE.")
    what = "none.so cannot be read: No such file or directory."
    subject.refused(2, what, "Name the library that the engine was built with.", "--plugin", "none.so")


def test_a_plugin_that_does_not_load_is_found_out(subject: Deployment) -> None:
    what = f"TensorRT found no plugin CrissCrossAttention, version 1, in {subject.plugin}."
    remedy = "Build it on this machine with `ccdeploy build-plugin`, and the engine with it."
    subject.refused(3, what, remedy, FAIL="loadLibrary")
    data = subject.manifest()
    data["engine"]["plugin"]["version"] = "2"
    subject.write_manifest(data)
    subject.refused(3, what.replace("version 1", "version 2"), remedy)


def test_plugins_that_are_not_wanted(subject: Deployment) -> None:
    data = subject.manifest()
    data["engine"]["plugin"]["embedded"] = True
    subject.write_manifest(data)
    what = "The engine carries native code (an embedded plugin), which this program does not run."
    subject.refused(3, what, "Build the engine without --embed-plugin.")
    data["engine"]["plugin"] = None
    subject.write_manifest(data)
    what = "--plugin x.so was given, but the engine has no plugin layer."
    subject.refused(2, what, "Leave --plugin out.", "--plugin", "x.so")


# The boundaries of SHA-256's blocks: the length fits into the last block, or takes another.
@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 100_003])
def test_the_engine_is_the_one_of_the_manifest(subject: Deployment, size: int) -> None:
    content = np.random.default_rng(size).bytes(size)
    wanted = sha256_of(subject.engine)
    subject.engine.write_bytes(content)
    seen = hashlib.sha256(content).hexdigest()
    what = f"{subject.engine} has sha256 {seen}, its manifest says {wanted}."
    subject.refused(2, what, "Copy the engine again together with its manifest, or build it again.")
    assert not any("deserialize" in call for call in subject.calls())


def test_files_that_are_missing(subject: Deployment, tmp_path: Path) -> None:
    content = subject.engine.read_bytes()
    subject.engine.unlink()
    what = f"{subject.engine} cannot be read: No such file or directory."
    subject.refused(2, what, "Name an engine that `ccdeploy build-engine` wrote.")
    subject.engine.write_bytes(content)

    subject.picture.unlink()
    what = f"{subject.picture} cannot be read: No such file or directory."
    subject.refused(2, what, "Name a picture file.")
    assert subject.calls() == []
    subject.picture.mkdir()
    subject.refused(2, f"{subject.picture} cannot be read: Is a directory.", "Name a picture file.")

    Path(f"{subject.engine}.json").unlink()
    what = f"{subject.engine}.json cannot be read: No such file or directory."
    subject.refused(2, what, "Keep the manifest that `ccdeploy build-engine` writes beside its engine.")


def test_outputs_that_cannot_be_written(subject: Deployment) -> None:
    (subject.folder / "folder" / "full").mkdir(parents=True)
    for out, remedy in (("none/out.png", "Check the file, and the space left."), ("folder", "Name another file.")):
        done = subject.call(str(subject.engine), str(subject.picture), "-o", out)
        what, advice = done.stderr.splitlines()
        assert what.startswith(f"error: {out} cannot be written: ")
        assert advice == f"       {remedy}"
        assert (done.returncode, done.stdout) == (2, "")
        assert not list(subject.folder.rglob("*.part"))


def test_classes_that_are_not_the_networks(subject: Deployment, tmp_path: Path, card: Card) -> None:
    remedy = "The card's classes are not the network's: correct the card, export and build again."
    data = subject.manifest()
    del data["card"]["output"]["classes"][20]
    subject.write_manifest(data)
    subject.refused(2, "The engine gives 21 classes, 20 classes were expected.", remedy)

    weights = np.zeros((257, 4), np.float32)
    subject.write(Network(weights).engine("logits", subject.shape, plugin="1"))
    data["sha256"], data["card"]["output"]["classes"] = sha256_of(subject.engine), []
    subject.write_manifest(data)
    subject.refused(2, "The engine gives 257 classes, 256 classes were expected.", remedy)

    (tmp_path / "labels").mkdir()
    labels = Deployment(tmp_path / "labels", card, io="image")
    labels.draw(5, 5)
    only = np.zeros((22, 4), np.float32)
    only[21, 3] = 1
    labels.write(Network(only).engine("labels", labels.shape))
    labels.refused(2, "The engine gives class 21, 21 classes were expected.", remedy)


@pytest.mark.parametrize(
    "engine",
    [
        {"names": ("other", "output")},
        {"names": ("input", "other")},
        {"names": ("output", "input")},
        {"types": (1, 0)},
        {"types": (0, 1)},
    ],
)
def test_tensors_that_are_not_the_manifests(subject: Deployment, engine: dict[str, Any]) -> None:
    subject.write(subject.network.engine("logits", subject.shape, plugin="1", **engine))
    subject.refused(2, "The engine's tensors are not input and output as its manifest states.", BUILD_HERE)


def test_an_engine_of_another_shape(subject: Deployment) -> None:
    subject.write(subject.network.engine("logits", (1, 3, 14, 21), plugin="1"))
    subject.refused(2, "The engine does not take the shape that its manifest states.", BUILD_HERE)
    subject.write(subject.network.engine("labels", (1, 3, 13, 21), plugin="1", types=(0, 0)))
    subject.refused(2, "The engine's output is not NCHW as its manifest states.", BUILD_HERE)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "ENGINE, PICTURE and -o OUT.png were expected."),
        (["a", "b"], "ENGINE, PICTURE and -o OUT.png were expected."),
        (["a", "-o", "c"], "ENGINE, PICTURE and -o OUT.png were expected."),
        (["a", "b", "c", "-o", "d"], "'c' was not expected."),
        (["a", "b", "--quick"], "'--quick' was not expected."),
        (["a", "", "-o", "d"], "'' was not expected."),
        (["a", "b", "-o"], "-o was given without its value."),
        (["a", "b", "-o", ""], "-o was given without its value."),
        *(
            (
                ["a", "b", "-o", "c", "--runs", text],
                f"--runs is '{text}', a whole number from 1 to 100000 was expected.",
            )
            for text in ("0", "-1", "100001", "1.5", "ten", "5x", "99999999999999999999")
        ),
    ],
)
def test_wrong_usage(subject: Deployment, arguments: list[str], what: str) -> None:
    done = subject.call(*arguments)
    assert done.stderr.splitlines() == [f"error: {what}", f"       {HELP}"]
    assert (done.returncode, done.stdout) == (2, "")


def test_help_names_every_option(subject: Deployment) -> None:
    done = subject.call("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ccdeploy_segment ENGINE PICTURE -o OUT.png")
    for option in ("-o FILE", "--mask FILE", "--plugin FILE", "--runs N", "--help"):
        assert f"  {option} " in done.stdout
