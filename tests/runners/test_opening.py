"""Opening any artefact: the five lines of a library user, options that do not go together, and what cannot run here."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from fake_gpu import VERSION, FakeGpu

from ccdeploy.ccnet.preprocessing import noise_batch
from ccdeploy.engine.manifest import Engine, read_manifest, write_manifest
from ccdeploy.engine.onnx_files import onnx_manifest
from ccdeploy.errors import ArtefactError, MissingError, UsageError
from ccdeploy.runners import open_runner, why_not_openable
from ccdeploy.runners.ort import OnnxRuntimeRunner, StagedRunner
from ccdeploy.runners.prepared import HostPrepared


@pytest.fixture
def batch(exports) -> np.ndarray:
    return np.asarray(noise_batch(exports.model("own").card, 1, 33, 49, seed=0))


@pytest.fixture
def engine(exports, tmp_path: Path) -> Path:
    """What fake_gpu runs as an engine."""
    onnx_file = exports.file("own")
    path = tmp_path / "own.engine"
    path.write_bytes(onnx_file.read_bytes())
    record = Engine("tensorrt-rtx", VERSION, ("8.9",))
    write_manifest(dataclasses.replace(read_manifest(onnx_file), kind="engine", file=path.name, engine=record), path)
    return path


def test_onnx_file_is_opened_described_and_run(exports, batch):
    path = exports.file("own")
    assert why_not_openable(path) == ""
    with open_runner(str(path), contexts=3, threads=1) as runner:
        outputs = runner.infer({"input": batch})
        said = runner.describe()
    manifest = onnx_manifest(path)
    assert (said.kind, said.precision, said.device, said.contexts) == ("onnx", "fp32", "CPU", 3)
    assert (said.artefact, said.runtime) == (str(path), runner.how)
    assert (said.inputs, said.outputs) == (manifest.inputs, manifest.outputs)
    np.testing.assert_allclose(outputs["logits"], StagedRunner(path, []).infer({"input": batch})["logits"], atol=1e-4)


def test_engine_is_opened_with_its_options(engine: Path, batch, exports, monkeypatch):
    gpu = FakeGpu("tensorrt")
    gpu.install(monkeypatch)
    with open_runner(engine, contexts=2, cuda_graph=True) as runner:
        outputs = runner.infer({"input": batch})
        assert runner.describe().contexts == 2
    assert gpu.calls.count("make context") == 2
    assert gpu.calls.count("launch graph") == 1
    expected = OnnxRuntimeRunner(exports.file("own")).infer({"input": batch})
    np.testing.assert_array_equal(outputs["logits"], expected["logits"])
    gpu.check_all_freed()


def test_engine_of_another_manifest_never_reaches_tensorrt(engine: Path, monkeypatch):
    gpu = FakeGpu()
    gpu.install(monkeypatch)
    engine.write_bytes(engine.read_bytes() + b"\0")
    for use in (open_runner, why_not_openable):
        with pytest.raises(ArtefactError, match=r"has the sha256 .* its manifest is of"):
            use(engine)
    assert gpu.calls == []


def test_engine_that_cannot_run_here_is_told(engine: Path):
    """On a machine without a GPU, as it is."""
    from ccdeploy.engine.gpu import probe_gpus

    if probe_gpus().gpus:
        pytest.skip("not run: there is a GPU")
    assert why_not_openable(engine).startswith("no GPU: ")
    with pytest.raises(MissingError, match="cannot run here: no GPU: "):
        open_runner(engine)


@pytest.mark.parametrize(
    ("precision", "reason"), [("bf16", "onnxruntime has no bfloat16 convolution for the CPU"), ("fp16", "")]
)
def test_file_that_a_cpu_cannot_run_as_it_stands_is_refused(exports, precision: str, reason: str):
    path = exports.file("own", precision=precision)
    assert why_not_openable(path) == reason
    if reason:
        with pytest.raises(MissingError, match=rf"\({precision}\) cannot run here as it stands: {reason}\.\nUse a GPU"):
            open_runner(path)
    else:
        open_runner(path).close()


def test_foreign_file_is_judged_and_described_by_its_graph(tmp_path: Path):
    text = '<ir_version: 10, opset_import: ["": 22]> g ({0}[N,2] x) => ({0}[N,2] y) {{ y = Neg (x) }}'
    for kind, reason in (("bfloat16", "no bfloat16"), ("float", "")):
        onnx.save(onnx.parser.parse_model(text.format(kind)), tmp_path / "m.onnx")
        assert reason in why_not_openable(tmp_path / "m.onnx")
        assert bool(reason) == bool(why_not_openable(tmp_path / "m.onnx"))
    with open_runner(tmp_path / "m.onnx") as runner:
        said = runner.describe()
    assert said.precision == "unknown"
    assert str(said.inputs[0]) == "x: float32 unknown Nx2"
    assert str(said.outputs[0]) == "y: float32 unknown Nx2"


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("own.onnx", {"cuda_graph": True}, "CUDA graphs are captured of engines"),
        ("own.onnx", {"provider": "rocm"}, "'rocm' is no provider of onnxruntime"),
        ("own.onnx", {"contexts": 0}, "0 contexts were asked for, 1 or more were expected"),
        ("own.onnx", {"threads": 0}, "0 threads were asked for, 1 or more were expected"),
        ("own.onnx", {"threads": 2, "provider": "cuda"}, "threads=2 was given with cuda"),
        ("own.onnx", {"device": 1}, "device=1 was given with the provider cpu"),
        ("own.onnx", {"device": -1}, "GPU -1 was asked for, 0 or more was expected"),
        ("own.engine", {"provider": "cuda"}, "the provider cuda was asked for, an engine runs in TensorRT itself"),
        ("own.engine", {"threads": 2}, "threads=2 was given, an engine has none"),
        ("own.engine", {"contexts": -1}, "-1 contexts were asked for"),
    ],
)
def test_options_that_do_not_go_together_are_told_before_the_file_is_read(name: str, options, what: str):
    with pytest.raises(UsageError, match=what):
        open_runner(Path("nowhere") / name, **options)


@pytest.mark.parametrize("name", ["nowhere.onnx", "nowhere.engine", "nowhere"])
def test_missing_file_is_told(tmp_path: Path, name: str):
    for use in (open_runner, why_not_openable):
        with pytest.raises(ArtefactError, match="does not exist or is not a file"):
            use(tmp_path / name)


def test_runner_that_was_closed_says_so(exports, batch):
    runner = open_runner(exports.file("own"))
    prepared = runner.prepare({"input": batch})
    runner.close()
    runner.close()
    for use in (lambda: runner.infer({"input": batch}), prepared.run, lambda: runner.prepare({"input": batch})):
        with pytest.raises(UsageError, match=r"The runner of .* is closed\.\nOpen it again"):
            use()
    assert runner.describe().kind == "onnx", "what it was is still known"


def test_prepared_inference_of_an_onnx_file(exports, batch):
    with open_runner(exports.file("own"), contexts=2) as runner:
        expected = runner.infer({"input": batch})["logits"]
        mine = batch.copy()
        with runner.prepare({"input": mine}) as first, runner.prepare({"input": batch * 2}, slot=1) as second:
            mine[:] = np.nan
            assert first.outputs == {}
            first.run()
            np.testing.assert_array_equal(first.outputs["logits"], expected)
            assert (first.run_on_device(), first.device_bytes) == (None, None)
            second.start()
            first.start()
            first.wait()
            second.wait()
            np.testing.assert_array_equal(first.outputs["logits"], expected)
            assert np.abs(second.outputs["logits"] - expected).max() > 0.1
        with pytest.raises(UsageError, match="Slot 2 was asked for, there are 2"):
            runner.prepare({"input": batch}, slot=2)
        with pytest.raises(ArtefactError, match="takes input; picture was given"):
            runner.prepare({"picture": batch})


def test_slots_of_a_host_runtime_are_under_way_at_once():
    """Each waits for the other: one after the other they would never end."""
    meet = threading.Barrier(2, timeout=60)

    def infer(inputs):
        meet.wait()
        return dict(inputs)

    pair = [HostPrepared(infer, {"x": np.full(2, number)}) for number in (1, 2)]
    for prepared in pair:
        prepared.start()
    for number, prepared in enumerate(pair, start=1):
        for use in (prepared.start, prepared.run, prepared.run_on_device):
            with pytest.raises(UsageError, match=r"under way in this slot\.\nCall wait"):
                use()
        prepared.wait()
        assert prepared.outputs["x"].tolist() == [number, number]
        prepared.close()
    with pytest.raises(UsageError, match="nothing was started"):
        pair[0].wait()


def test_error_of_an_inference_comes_with_wait_and_the_slot_serves_again():
    answers = iter([ValueError("no such luck"), {"y": np.ones(1)}])

    def infer(inputs):
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    with HostPrepared(infer, {}) as prepared:
        prepared.start()
        with pytest.raises(ValueError, match="no such luck"):
            prepared.wait()
        prepared.run()
        assert list(prepared.outputs) == ["y"]
