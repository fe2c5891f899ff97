"""The command line: exit codes, two-line errors, progress apart from results, and nothing left after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['ccdeploy', '--help']\n"
        "from ccdeploy.commands import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'rich', 'numpy', 'tensorrt', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        (["models"], 0),
        (["doctor"], 0),
        (["nonsense"], 2),
        (["export"], 2),
        (["export", "ccnet_r18-d8_edge", "-o", "a.onnx"], 2),
        (["export", "ccnet_r18-d8_edge", "-o", "a.txt", "--random-weights", "1"], 2),
        (["export", "ccnet_r18-d8_edge", "-o", "a.onnx", "--random-weights", "1", "--weights", "b.pth"], 2),
        (["export", "ccnet_r18-d8_edge", "-o", "a.onnx", "--weights", "missing.pth"], 2),
        (["export", "ccnet_r18-d8_edge", "-o", "a.onnx", "--random-weights", "1", "--size", "0x4"], 2),
        (["export", "missing:Net", "-o", "a.onnx", "--random-weights", "1", "--size", "8x8"], 2),
        (["verify", "missing.onnx"], 2),
        (["verify", "missing.engine"], 2),
        (["inspect", "missing.onnx"], 2),
        (["build-engine", "missing.onnx", "-o", "a.engine"], 2),
        (["build-plugin", "--arch", "8.7.1"], 2),
    ],
)
def test_exit_codes_say_what_happened(
    ccdeploy: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = ccdeploy(*arguments)
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.iterdir())


def test_an_error_is_what_happened_and_what_to_do(ccdeploy: Run) -> None:
    ended = ccdeploy("export", "ccnet_r50-d8_512x1024_40k_cityscape", "-o", "a.onnx", "--random-weights", 1)
    *_, what, remedy = ended.err.splitlines()
    assert what.startswith("error: ")
    assert "ccnet_r50-d8_512x1024_40k_cityscapes" in what  # the nearest name
    assert "`ccdeploy models`" in remedy


def test_debug_shows_the_traceback_wherever_it_stands(ccdeploy: Run) -> None:
    for arguments in (("--debug", "inspect", "missing.onnx"), ("inspect", "missing.onnx", "--debug")):
        assert "Traceback" in ccdeploy(*arguments).err


def test_json_is_one_document_also_when_it_is_an_error(ccdeploy: Run) -> None:
    ended = ccdeploy("inspect", "missing.onnx", "--json")
    error = json.loads(ended.out)["error"]
    assert error["exit_code"] == ended.code == 2
    assert "missing.onnx" in error["what"]
    assert json.loads(ccdeploy("models", "--json").out)[0]["name"]
    assert {finding["subject"] for finding in json.loads(ccdeploy("doctor", "--json").out)} >= {
        "torch",
        "GPU",
        "plugin",
    }


def test_a_defect_is_told_as_one(ccdeploy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccdeploy.commands.doctor.examine", lambda: 1 / 0)
    ended = ccdeploy("doctor")
    assert ended.code == 70
    assert "defect" in ended.err
    assert "Traceback" not in ended.err


def test_models_shows_a_card_and_where_its_weights_are(ccdeploy: Run) -> None:
    ended = ccdeploy("models", "ccnet_r50-d8_769x769_40k_cityscapes")
    assert "78.46" in ended.out
    assert "20200616_145125-76d11884" in ended.out


def test_export_build_verify_inspect_one_after_the_other(ccdeploy: Run, exports: Any, tmp_path: Path) -> None:
    card, target = exports.cards["ccnet"], tmp_path / "new folder" / "small.onnx"
    ended = ccdeploy("export", card, "--random-weights", 5, "-o", target, "--precision", "fp16")
    assert ended.code == 0, ended.err
    assert "1x3x65x97" in ended.out
    assert "tracing" in ended.err  # progress is not part of the result
    assert "tracing" not in ended.out
    verified = ccdeploy("verify", target)
    assert verified.code == 0, verified.err
    assert verified.out.rstrip().splitlines()[-1].startswith("passed")
    seen = ccdeploy("inspect", target)
    assert "ccdeploy::CrissCrossAttention" in seen.out
    assert "random, seed 5" in seen.out
    pytest.importorskip("tensorrt_rtx_bindings")
    engine = target.with_suffix(".engine")
    built = ccdeploy(
        "build-engine", target, "-o", engine, "--flavour", "tensorrt-rtx", "--compute-capability", "8.6,8.9"
    )
    assert built.code == 0, built.err
    assert "compute capability 8.6, 8.9" in built.out
    # --plugin auto is answered, not ignored: this network has fewer channels than the kernel takes.
    assert "without the plugin: the kernel does not compute this model: channels is 16" in built.out
    assert "8.6, 8.9" in ccdeploy("inspect", engine).out
    if ccdeploy("verify", engine).code != 0:
        ended = ccdeploy("verify", target, engine)
        assert ended.code == 3
        assert "not run: " in ended.out
        assert "passed" in ended.out
    engine.write_bytes(engine.read_bytes()[:-1])
    assert "sha256" in ccdeploy("verify", engine).err


def test_a_foreign_file_is_inspected_for_what_it_is(ccdeploy: Run, tmp_path: Path) -> None:
    import onnx

    text = '<ir_version: 9, opset_import: ["": 18]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "foreign.onnx")
    ended = ccdeploy("inspect", tmp_path / "foreign.onnx")
    assert ended.code == 0
    assert "ccdeploy did not write this file" in ended.out
    assert ccdeploy("verify", tmp_path / "foreign.onnx").code == 2


def test_ctrl_c_leaves_what_was_there(exports: Any, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    target.write_bytes(b"precious")
    export = ["export", str(exports.cards["ccnet"]), "--random-weights", "1", "--dynamic", "all"]
    command = [sys.executable, "-m", "ccdeploy", *export]
    process = subprocess.Popen(
        [*command, "-o", str(target)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("tracing"):
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 130, rest
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert target.read_bytes() == b"precious"


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m ccdeploy models | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
