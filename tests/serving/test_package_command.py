"""`ccdeploy package`: options in, a repository and words out."""

from __future__ import annotations

import json
from pathlib import Path

from ccdeploy.serving.repository import read_repository
from ccdeploy.serving.repository.schema import parsed


def test_it_says_what_was_written_and_what_comes_next(ccdeploy, exports, tmp_path: Path) -> None:
    done = ccdeploy("package", exports.file("ccnet"), "-o", tmp_path / "r s", "--name", "a", "--no-warm-up")
    assert done.code == 0
    assert "a_network, backend python, fp32" in done.out
    assert "brought to 65x97" in done.out
    assert "--mode slide" in done.out
    assert done.out.rstrip().endswith(f"ccdeploy serve '{tmp_path}/r s'")
    assert [served.name for served in read_repository(tmp_path / "r s").deployments] == ["a"]


def test_every_option_reaches_the_config(ccdeploy, exports, tmp_path: Path) -> None:
    done = ccdeploy(
        *("package", exports.file("ccnet", dynamic="all"), "-o", tmp_path / "r", "--name", "a", "--version", 3),
        *("--keep", 2, "--max-batch", 5, "--queue-delay", 250, "--queue-size", 9, "--instances", 2, "--gpus", "0,2"),
        *("--cpu-instances", 3, "--most-pixels", 50000, "--backend", "onnxruntime", "--json"),
    )
    assert done.code == 0, done.err
    document = json.loads(done.out)
    (made,) = document["packaged"]
    assert (made["version"], made["batch"], made["most_pixels"], made["backend"]) == (3, 5, 50000, "onnxruntime")
    network = parsed(tmp_path / "r" / "a_network" / "config.pbtxt")
    assert network.version_policy.latest.num_versions == 2
    assert network.max_batch_size == 5
    assert network.dynamic_batching.max_queue_delay_microseconds == 250
    assert network.dynamic_batching.default_queue_policy.max_queue_size == 9
    assert (network.instance_group[0].count, list(network.instance_group[0].gpus)) == (2, [0, 2])
    labels = parsed(tmp_path / "r" / "a_labels" / "config.pbtxt")
    assert labels.instance_group[0].count == 3
    assert labels.dynamic_batching.default_queue_policy.max_queue_size == 9


def test_gpus(ccdeploy, exports, tmp_path: Path) -> None:
    source = exports.file("ccnet")
    for gpus in ("0,", "a", "-1", "0;1", "\u0661"):
        done = ccdeploy("package", source, "-o", tmp_path / "r", f"--gpus={gpus}")
        assert done.code == 2
        assert "no list of GPUs" in done.err
    done = ccdeploy("package", source, "-o", tmp_path / "r", "--name", "a", "--gpus", "all", "--no-warm-up")
    assert done.code == 0
    assert read_repository(tmp_path / "r").placements["a"].gpus == ()


def test_errors_are_two_lines(ccdeploy, exports, tmp_path: Path) -> None:
    done = ccdeploy("package", tmp_path / "none.onnx", "-o", tmp_path / "r")
    assert done.code == 2
    assert "none.onnx does not exist" in done.err
    source = exports.file("ccnet")
    done = ccdeploy("package", source, "-o", tmp_path / "r", "--name", "../a", "--json")
    assert done.code == 2
    assert "--name is '../a'" in json.loads(done.out)["error"]["what"]
    done = ccdeploy("package", source, "-o", tmp_path / "r", "--name", "a", "--warm-up", source)
    assert done.code == 2
    assert "neither a JPEG nor a PNG" in done.err
    assert list(tmp_path.iterdir()) == []
