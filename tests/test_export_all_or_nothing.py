"""An export leaves a whole file with its manifest, or what was there before; what cannot be written is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from ccdeploy import export as export_module
from ccdeploy.ccnet.loading import Model
from ccdeploy.engine import onnx_files
from ccdeploy.engine.manifest import Manifest, read_manifest
from ccdeploy.engine.onnx_files import write_onnx
from ccdeploy.errors import UsageError
from ccdeploy.export import ExportOptions, check_options, export


@pytest.fixture
def write(exports) -> Callable[[Path], Manifest]:
    """Writes a small graph as an export does, without tracing it again."""
    source = exports.file("own")

    def written(target: Path) -> Manifest:
        return write_onnx(ir.load(source), target, read_manifest(source), largest=100)

    return written


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "broken",
    ["onnx.checker.check_model", "onnx_ir.save", "ccdeploy.engine.onnx_files.sha256_of", "pathlib.Path.replace"],
)
@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_failure_midway_leaves_what_was_there(tmp_path: Path, write, monkeypatch, broken: str, error: BaseException):
    target = tmp_path / "folder" / "m.onnx"
    target.parent.mkdir()
    target.write_bytes(b"the old model")
    Path(f"{target}.json").write_bytes(b"the old manifest")
    before = contents(tmp_path)

    def fail(*arguments: object, **options: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        with pytest.raises(type(error)):
            write(target)
    assert contents(tmp_path) == before
    assert [path.name for path in sorted(target.parent.iterdir())] == ["m.onnx", "m.onnx.json"]
    write(target)
    assert read_manifest(target).sha256 == onnx_files.sha256_of(target)


def test_failing_tracer_leaves_nothing(tmp_path: Path, exports, monkeypatch):
    def fail(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export_module, "trace", fail)
    with pytest.raises(KeyboardInterrupt):
        export(exports.model("own"), tmp_path / "new" / "m.onnx", ExportOptions())
    assert contents(tmp_path) == {}


def test_missing_folders_are_made_and_files_get_the_usual_permissions(tmp_path: Path, write):
    target = tmp_path / "a" / "b" / "m.onnx"
    write(target)
    (tmp_path / "usual").touch()
    assert target.stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert sorted(contents(tmp_path)) == ["a/b/m.onnx", "a/b/m.onnx.data", "a/b/m.onnx.json", "usual"]


@pytest.mark.parametrize("occupied", ["m.onnx", "m.onnx.json", "m.onnx.data"])
def test_folder_in_the_place_of_a_file_is_told(tmp_path: Path, write, occupied: str):
    (tmp_path / occupied).mkdir()
    with pytest.raises(UsageError, match=rf"{occupied} is a folder"):
        write(tmp_path / "m.onnx")
    assert contents(tmp_path) == {}


def test_file_in_the_place_of_a_folder_is_told(tmp_path: Path, write):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot be written: (Not a directory|File exists)"):
        write(tmp_path / "file" / "m.onnx")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder_is_told(tmp_path: Path, write):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(UsageError, match="cannot be written: Permission denied"):
        write(folder / "m.onnx")


def test_refused_temporary_folder_is_told(tmp_path: Path, write, monkeypatch):
    """What an unwritable folder looks like to whoever may write everywhere."""

    def refuse(**options: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    with pytest.raises(UsageError, match=r"m\.onnx cannot be written: Permission denied"):
        write(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("options", "target", "what"),
    [
        ({}, "m.pb", "does not end in .onnx"),
        ({}, "onnx", "does not end in .onnx"),
        ({"precision": "fp8"}, "m.onnx", "precision is 'fp8', one of fp32, fp16, bf16 was expected"),
        ({"dynamic": "height"}, "m.onnx", "dynamic is 'height'"),
        ({"io": "video"}, "m.onnx", "io is 'video'"),
        ({"size": (0, 5)}, "m.onnx", "size is 0x5"),
        ({"size": (5, 20000)}, "m.onnx", "size is 5x20000, sides of 1 to 16384"),
        ({"batch": 0}, "m.onnx", "batch is 0"),
        ({"batch": 5000}, "m.onnx", "batch is 5000, 1 to 1024"),
    ],
)
def test_options_outside_what_they_take_are_refused(options, target: str, what: str):
    with pytest.raises(UsageError) as error:
        check_options(ExportOptions(**options), Path(target))
    assert what in error.value.what


def test_options_are_checked_before_the_network_is_touched(tmp_path: Path, exports):
    untouchable = Model(exports.model("own").card, None, exports.model("own").weights)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        export(untouchable, tmp_path / "m.onnx", ExportOptions(precision="int4"))


def test_written_file_is_valid_onnx(exports):
    onnx.checker.check_model(str(exports.file("own")), full_check=True)
