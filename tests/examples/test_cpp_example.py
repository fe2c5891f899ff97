"""The C++ example does with a picture what ccdeploy does in Python; TensorRT and CUDA are stand-ins that compute.

The stand-ins catch what a GPU would not forgive: memory of the device that is read on the host, copies from memory that
is not page-locked, results that are read before the stream was waited for.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import samples
from cpp_build import compiled
from cpp_example import Deployment, Network
from PIL import Image

from ccdeploy.ccnet.cards import Card, load_card
from ccdeploy.ccnet.preprocessing import Pictures, normalise
from ccdeploy.datasets import LabelMap
from ccdeploy.engine.manifest import Engine, Profile, Tensor
from ccdeploy.windows import Plan, nearest, predicted_labels, resized


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Card]:
    """One card of each colour order; that of BGR aligns corners."""
    compiled()
    folder = tmp_path_factory.mktemp("cards")
    return {
        "rgb": load_card(samples.ccnet_card(folder)),
        "bgr": load_card(samples.ccnet_card(folder, "official")),
    }


def overlaid(picture: Pictures, classes: LabelMap, card: Card) -> Pictures:
    palette = np.array([info.color for info in card.classes])
    return np.asarray((picture.astype(int) + palette[classes]) // 2, np.uint8)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("size", [(29, 43), (9, 61), (1, 1), (13, 21)])
@pytest.mark.parametrize("step", [1, 3])
def test_logits_become_the_classes_that_ccdeploy_finds(
    tmp_path: Path, cards: dict[str, Card], order: str, size: tuple[int, int], step: int
) -> None:
    card = cards[order]
    subject = Deployment(tmp_path, card, step=step, seed=size[0])
    picture = subject.draw(*size)
    done = subject.run()
    assert (done.returncode, done.stderr) == (0, "")

    given = normalise(resized(picture, *subject.size)[None], card)
    difference = np.abs(subject.inputs() - given)
    level = 1 / min(card.input.std)  # rounding to 8 bits may fall to the other side of a half
    assert difference.max() <= 1.001 * level
    assert (difference > 1e-5).mean() <= 0.005

    plan = Plan("whole", size=subject.size)
    expected = predicted_labels(picture, size, plan, card, subject.network.logits)
    assert subject.classes().shape == size
    assert (subject.classes() == expected).mean() >= (0.995 if size[0] > 1 else 1)
    assert np.array_equal(np.asarray(Image.open(subject.out)), overlaid(picture, subject.classes(), card))


@pytest.mark.parametrize("size", [(13, 21), (29, 43), (6, 8)])
@pytest.mark.parametrize("step", [1, 2])
def test_labels_are_taken_from_the_nearest(
    tmp_path: Path, cards: dict[str, Card], size: tuple[int, int], step: int
) -> None:
    subject = Deployment(tmp_path, cards["bgr"], io="image", step=step)
    picture = subject.draw(*size)
    assert subject.run().returncode == 0
    given = resized(picture, *subject.size)
    difference = np.abs(subject.inputs()[0].astype(int) - given)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.005
    labels = subject.network.labels(subject.inputs())[0]
    assert np.array_equal(subject.classes(), nearest(labels, size))


def test_the_first_of_equal_classes_wins(tmp_path: Path, cards: dict[str, Card]) -> None:
    subject = Deployment(tmp_path, cards["rgb"])
    subject.draw(29, 43)
    weights = np.zeros((21, 4), np.float32)
    weights[[4, 9], 3] = 1
    subject.write(Network(weights).engine("logits", subject.shape))
    assert subject.run().returncode == 0
    assert np.array_equal(subject.classes(), np.full((29, 43), 4))


def test_every_slot_of_a_batch_is_filled(tmp_path: Path, cards: dict[str, Card]) -> None:
    for io in ("image", "tensor"):
        subject = Deployment(tmp_path, cards["rgb"], io=io, batch=3)
        subject.draw(29, 43)
        done = subject.run()
        assert done.returncode == 0, done.stderr
        assert "on the device, a batch of 3 (median of 3 after 10)" in done.stdout
        first, *others = subject.inputs()
        assert len(others) == 2
        assert all(np.array_equal(first, other) for other in others)


def test_dynamic_sizes_are_the_profiles(tmp_path: Path, cards: dict[str, Card]) -> None:
    subject = Deployment(tmp_path, cards["rgb"])
    subject.draw(29, 43)
    subject.shape = (2, 3, 17, 11)
    foreign = Profile("other", (9, 3, 9, 9), (9, 3, 9, 9), (9, 3, 9, 9))
    profile = Profile("input", (2, 3, 5, 7), (4, 3, 17, 11), (8, 3, 99, 99))
    subject.write(
        subject.network.engine("logits", (-1, 3, -1, -1)),
        inputs=(Tensor("input", "float32", "NCHW", ("N", 3, "H", "W")),),
        engine=Engine("tensorrt", "10.16.1.11", ("8.7",), profiles=(foreign, profile)),
    )
    done = subject.run()
    assert done.returncode == 0, done.stderr
    assert "43x29, run as 11x17" in done.stdout
    assert "a batch of 2 " in done.stdout
    assert subject.inputs().shape == (2, 3, 17, 11)
    data = subject.manifest()
    del data["engine"]["profiles"][1]
    subject.write_manifest(data)
    assert "a profile of the input input was expected" in subject.run().stderr


def test_it_says_what_ran_and_how_long(tmp_path: Path, cards: dict[str, Card]) -> None:
    subject = Deployment(tmp_path, cards["rgb"], plugin=True)
    subject.draw(29, 43)
    # Ten warm up; of the others the median is 4, their mean is 9.4.
    done = subject.run("--runs", "5", MS="99 99 99 99 99 99 99 99 99 99 30 1 4 2 10")
    assert done.returncode == 0, done.stderr
    engine, runs_on, plugin, picture, time, wrote, *shares = done.stdout.splitlines()
    digest = subject.manifest()["engine"]["plugin"]["sha256"]
    assert engine == f"engine   {subject.engine}: small-net, fp16"
    assert runs_on == "runs on  Stand-in (compute capability 8.7), tensorrt 10.16.1.11"
    assert plugin == f"plugin   {subject.plugin} (sha256 {digest[:16]}...)"
    assert picture == f"picture  {subject.picture}: 43x29, run as 21x13"
    assert re.fullmatch(r"time     \d+\.\d{3} ms host to host, 4\.000 ms on the device \(median of 5 after 10\)", time)
    assert wrote == f"wrote    {subject.out}, {subject.mask}"
    counts = np.bincount(subject.classes().ravel(), minlength=len(cards["rgb"].classes))
    expected = [
        f"{100 * counts[index] / counts.sum():8.2f}%  {cards['rgb'].classes[index].name}"
        for index in np.argsort(-counts, kind="stable")
        if counts[index]
    ]
    assert shares == expected
    # An even number of runs: the mean of the two in the middle.
    assert " 3.000 ms on the device" in subject.run("--runs", "4", MS="9 9 9 9 9 9 9 9 9 9 30 1 4 2").stdout


def test_calls_come_in_order_and_everything_is_given_back(tmp_path: Path, cards: dict[str, Card]) -> None:
    subject = Deployment(tmp_path, cards["rgb"], plugin=True)
    subject.draw(29, 43)
    assert subject.run().returncode == 0
    calls = subject.calls()
    elements = 13 * 21
    assert calls[:15] == [
        "cudaGetDeviceCount",
        "cudaSetDevice 0",
        "cudaDeviceGetAttribute",
        "cudaDeviceGetAttribute",
        "cudaGetDeviceProperties",
        f"loadLibrary {subject.plugin}",
        "createInferRuntime",
        f"deserializeCudaEngine {subject.engine.stat().st_size}",
        "createExecutionContext",
        "cudaStreamCreateWithFlags",
        "cudaEventCreate",
        "cudaEventCreate",
        "setInputShape",
        f"cudaMallocHost {3 * elements * 4}",
        f"cudaMalloc {3 * elements * 4}",
    ]
    run = [
        "cudaMemcpyAsync to the device",
        "cudaEventRecord",
        "enqueueV3",
        "cudaEventRecord",
        "cudaMemcpyAsync to the host",
        "cudaStreamSynchronize",
    ]
    given_back = ["cudaFree", "cudaFreeHost"] * 2 + ["cudaEventDestroy"] * 2 + ["cudaStreamDestroy"]
    end = [*given_back, "~IExecutionContext", "~ICudaEngine", "~IRuntime"]
    start = calls.index(run[0])
    assert calls[start:] == run * 10 + [*run, "cudaEventElapsedTime"] * 3 + end


def test_a_manifest_without_classes_gives_numbers_and_grey(tmp_path: Path, cards: dict[str, Card]) -> None:
    subject = Deployment(tmp_path, cards["rgb"])
    picture = subject.draw(13, 21)
    data = subject.manifest()
    del data["card"]["output"]["classes"]
    subject.write_manifest(data)
    done = subject.run()
    assert done.returncode == 0, done.stderr
    classes = subject.classes()
    assert f"class {classes[0, 0]}\n" in done.stdout
    grey = (255 * classes.astype(int) // 20)[..., None]
    assert np.array_equal(np.asarray(Image.open(subject.out)), (picture + grey) // 2)


def test_a_card_of_windows_is_told(tmp_path: Path, cards: dict[str, Card]) -> None:
    subject = Deployment(tmp_path, cards["rgb"])
    subject.draw(13, 21)
    note = "note     the figures of this network's card are of windows; the picture was run whole"
    assert note not in subject.run().stdout
    data = subject.manifest()
    data["card"]["evaluation"]["mode"] = "slide"
    data["quantization"] = {"type": "int8"}
    subject.write_manifest(data)
    done = subject.run()
    assert note in done.stdout.splitlines()
    assert "small-net, int8+fp16" in done.stdout


def test_the_plugin_may_lie_elsewhere(tmp_path: Path, cards: dict[str, Card]) -> None:
    subject = Deployment(tmp_path, cards["rgb"], plugin=True)
    subject.draw(13, 21)
    elsewhere = tmp_path / "elsewhere" / "plugin.so"
    elsewhere.parent.mkdir()
    shutil.move(subject.plugin, elsewhere)
    done = subject.run("--plugin", "elsewhere/plugin.so")  # loadLibrary gets the whole path
    assert done.returncode == 0, done.stderr
    assert f"loadLibrary {elsewhere}" in subject.calls()


def test_a_relative_engine_finds_its_plugin(tmp_path: Path, cards: dict[str, Card]) -> None:
    subject = Deployment(tmp_path, cards["rgb"], plugin=True)
    subject.draw(13, 21)
    done = subject.call("net.engine", "photo.png", "-o", "out.png")
    assert done.returncode == 0, done.stderr
    assert f"loadLibrary {subject.plugin}" in subject.calls()
    assert "median of 50 after 10" in done.stdout
    assert not subject.mask.exists()
