"""A repository is believed only if a server would take it: what is wrong is named before one is started."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccdeploy.errors import ArtefactError, CcdeployError, UsageError
from ccdeploy.serving.repository import Packaging, package, read_repository

CONFIG = "config.pbtxt"


@pytest.fixture(scope="module")
def whole(exports, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "r"
    package([exports.file("ccnet")], folder, Packaging(name="a"))
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "r"))


def edited(model: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / model / CONFIG
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit


def removed(path: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        target = folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return remove


def renamed(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: (folder / old).rename(folder / new) and None


def written(path: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / path).write_bytes(content) and None


DAMAGES = {
    "no text": (edited("a", "{", "{{"), "no model config"),
    "field": (edited("a_read", "backend:", "backend_of:"), "no model config"),
    "bytes": (written("a/config.pbtxt", b"\xff\xfe"), "no model config"),
    "name": (edited("a_labels", '"a_labels"', '"b"'), "of the model 'b'"),
    "backend": (edited("a_network", '"python"', '"pytorch"'), "backend is 'pytorch'"),
    "batch": (edited("a_network", "input {", "max_batch_size: -1\ninput {"), "max_batch_size"),
    "policy": (edited("a_read", "num_versions: 1", "num_versions: 0"), "latest versions"),
    "zero": (edited("a_network", "dims: 65", "dims: 0"), "sizes from 1"),
    "negative": (edited("a_read", "dims: -1", "dims: -2"), "sizes from 1"),
    "type": (edited("a_network", "TYPE_FP32", "TYPE_FP16"), "TYPE_FP16"),
    "string": (edited("a_read", "TYPE_UINT8", "TYPE_STRING"), "TYPE_STRING"),
    "steps": (edited("a_labels", "dims: 97", "dims: 98"), "where it comes out"),
    "step's model": (edited("a", 'model_name: "a_read"', 'model_name: "b_read"'), "no model of it"),
    "unmapped": (edited("a", 'key: "network_output"', 'key: "output"'), "the step a_labels maps"),
    "unused": (edited("a", "output {", 'input { name: "x" data_type: TYPE_UINT8 dims: 1 }\noutput {'), "no step takes"),
    "gpus": (edited("a_network", "kind: KIND_CPU", "kind: KIND_CPU\n  gpus: 0"), "name GPUs"),
    "count": (edited("a_network", "count: 1", "count: 0"), "1 or more instances"),
    "warm-up size": (written("a_read/warmup/picture", b"\xff"), "bytes"),
    "warm-up": (removed("a_network/warmup/input"), "is not there"),
    "warm-up name": (edited("a_network", 'key: "input"', 'key: "inputs"'), "the warm-up"),
    "model": (removed("a_network"), "is not there"),
    "ensemble": (removed("a"), "left of a deployment"),
    "config": (removed("a_read/config.pbtxt"), "no config.pbtxt"),
    "version": (removed("a_read/1"), "no version"),
    "zeros": (renamed("a_read/1", "a_read/01"), "without zeros"),
    "versions": (renamed("a_read/1", "a_read/2"), "has the versions"),
    "code": (removed("a_labels/1/model.py"), "is not there"),
    "artefact": (removed("a_network/1/ccnet.onnx"), "artefact of version 1"),
    "cut": (written("a_network/1/ccnet.onnx", b"onnx"), "artefact of a, version 1"),
    "served": (removed("a_read/1/served.json"), "cannot be read"),
    "not JSON": (written("a_read/1/served.json", b"{"), "not JSON"),
    "folder": (lambda folder: (folder / "junk").mkdir(), "takes every folder"),
    "unfinished": (lambda folder: (folder / ".ccdeploy-r.x.part").mkdir(), "was killed"),
}


def test_a_whole_repository(copy: Path) -> None:
    (copy / "README").write_text("Files beside the models are no models.")
    found = read_repository(copy)
    assert [served.name for served in found.deployments] == ["a"]
    assert found.backends == ("python",)
    assert not found.needs_gpu


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged(copy: Path, damage: str) -> None:
    change, reason = DAMAGES[damage]
    change(copy)
    with pytest.raises(CcdeployError, match=reason):
        read_repository(copy)


def test_another_artefact_in_its_place(copy: Path, exports) -> None:
    shutil.copy(exports.file("ccnet", dynamic="all"), copy / "a_network" / "1" / "ccnet.onnx")
    with pytest.raises(ArtefactError, match="not the artefact"):
        read_repository(copy)


def test_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no deployment"):
        read_repository(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        read_repository(tmp_path / "none")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzzed_files_are_read_or_refused(whole: Path, data: st.DataObject) -> None:
    names = ["a/config.pbtxt", "a_network/config.pbtxt", "a_read/config.pbtxt", "a_labels/1/served.json"]
    path = whole / data.draw(st.sampled_from(names))
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 40)))
    middle = data.draw(st.binary(max_size=20) | st.sampled_from([b"-1", b"0", b'"', b"{", b"}", b"9" * 30, b"\\n"]))
    try:
        path.write_bytes(content[:start] + middle + content[end:])
        with contextlib.suppress(CcdeployError):
            read_repository(whole)
    finally:
        path.write_bytes(content)
