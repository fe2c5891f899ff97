"""Pictures pass through a network as the published evaluations do it: against the same in plain loops, in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from ccdeploy import windows
from ccdeploy.ccnet.cards import Card, card_from_dict
from ccdeploy.windows import (
    Plan,
    labels_of_batch,
    labels_of_logits,
    nearest,
    predicted_labels,
    resized,
    window_corners,
)

CLASSES = 5


def card(aligned: bool = False, order: str = "rgb") -> Card:
    data = {
        "description": "A card",
        "network": {"architecture": "somewhere:Net"},
        "input": {"channel_order": order, "mean": [120.0, 110.0, 100.0], "std": [60.0, 55.0, 50.0]},
        "output": {"align_corners": aligned},
    }
    return card_from_dict("tiny", data)


def random_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise that is smooth enough for labels to form regions."""
    coarse = np.random.default_rng(seed).integers(0, 256, (-(-height // 3), -(-width // 3), 3), np.uint8)
    return coarse.repeat(3, axis=0).repeat(3, axis=1)[:height, :width]


class Network:
    """A convolution that sees neighbours and its place in the window, so that windows, padding and mirrors matter."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        # Small: saturated probabilities of two passes would tie.
        self.weight = 0.2 * torch.randn(CLASSES, 3, 5, 5, generator=generator, dtype=torch.float64)
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.float32
        self.seen.append(batch.shape)
        x = torch.from_numpy(np.ascontiguousarray(batch)).double()
        place = torch.linspace(-2, 2, x.shape[3], dtype=torch.float64)[None, None, None]
        return (functional.conv2d(x, self.weight, padding=2) + place).float().numpy()


def naive(picture: np.ndarray, size: tuple[int, int], plan: Plan, of: Card, network: Callable) -> np.ndarray:
    """The labels, by loops over windows and pixels and with torch's own enlargement of whole maps."""
    total = torch.zeros(CLASSES, *size, dtype=torch.float64)
    for scale, mirrored in itertools.product(plan.scales, (False, True) if plan.flip else (False,)):
        height, width = plan.scaled_size(picture.shape[0], picture.shape[1], scale)
        x = resized(picture, height, width).astype(np.float64)
        x = x[..., ::-1] if of.input.channel_order == "bgr" else x
        x = ((x - of.input.mean) / of.input.std).transpose(2, 0, 1)
        x = x[..., ::-1].copy() if mirrored else x
        if plan.mode == "whole":
            logits = network(x[None].astype(np.float32))[0].astype(np.float64)
        else:
            logits = slid(x, plan.crop, plan.stride, network)
        logits = logits[..., ::-1].copy() if mirrored else logits
        enlarged = functional.interpolate(
            torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=of.output.align_corners
        )[0]
        total += enlarged.softmax(dim=0)
    return total.argmax(dim=0).numpy()


def slid(x: np.ndarray, crop: tuple[int, int], stride: tuple[int, int], network: Callable) -> np.ndarray:
    """Logits of windows as the authors' evaluation makes them: one at a time, cut out, padded, cut back, averaged."""
    _, height, width = x.shape
    total, count = np.zeros((CLASSES, height, width)), np.zeros((height, width))
    rows = int(np.ceil(max(height - crop[0], 0) / stride[0])) + 1
    columns = int(np.ceil(max(width - crop[1], 0) / stride[1])) + 1
    for row, column in itertools.product(range(rows), range(columns)):
        bottom, right = min(row * stride[0] + crop[0], height), min(column * stride[1] + crop[1], width)
        top, left = max(bottom - crop[0], 0), max(right - crop[1], 0)
        window = np.zeros((1, 3, *crop), np.float32)
        window[0, :, : bottom - top, : right - left] = x[:, top:bottom, left:right]
        total[:, top:bottom, left:right] += network(window)[0][:, : bottom - top, : right - left]
        count[top:bottom, left:right] += 1
    assert count.min() >= 1
    return total / count


PLANS = {
    "whole": Plan("whole"),
    "whole, fixed size": Plan("whole", size=(29, 31)),
    "whole, ratio kept": Plan("whole", resize=(33, 90)),
    "whole, scales and flip": Plan("whole", scales=(0.5, 1.0, 1.75), flip=True),
    "whole, fixed size and flip": Plan("whole", size=(29, 31), flip=True),
    "slide": Plan("slide", (17, 23), (11, 13)),
    "slide, stride of the crop": Plan("slide", (17, 23), (17, 23)),
    "slide, crop higher than the picture": Plan("slide", (64, 23), (11, 13)),
    "slide, crop larger than the picture": Plan("slide", (64, 80), (11, 13)),
    "slide, scales and flip": Plan("slide", (17, 23), (11, 13), resize=(40, 60), scales=(0.5, 1.5), flip=True),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize(("aligned", "order", "at_once"), [(False, "rgb", None), (True, "bgr", 3)])
def test_labels_are_those_of_plain_loops(plan: Plan, aligned: bool, order: str, at_once: int | None, monkeypatch):
    monkeypatch.setattr(windows, "STRIP", 700)  # several strips, and a rest
    monkeypatch.setattr(windows, "WINDOW_PIXELS", 2 * 17 * 23)
    picture, size, of = random_picture(37, 53), (41, 67), card(aligned, order)
    network = Network()
    got = predicted_labels(picture, size, plan, of, network, at_once)
    expected = naive(picture, size, plan, of, Network())
    assert (got.dtype, got.shape) == (np.uint8, size)
    assert len(np.unique(expected)) >= 4, "the case tells labels apart"
    assert (got == expected).mean() > 0.999
    if at_once:
        assert max(shape[0] for shape in network.seen) <= at_once


@pytest.mark.parametrize(
    "other",
    [
        Plan("slide", (17, 23), (17, 23)),
        Plan("slide", (17, 23), (11, 13), flip=True),
        Plan("slide", (17, 23), (11, 13), scales=(0.75,)),
        Plan("slide", (17, 23), (11, 13), resize=(30, 60)),
        Plan("whole"),
    ],
)
def test_each_part_of_a_plan_has_an_effect(other: Plan):
    picture = random_picture(37, 53)
    mine, others = (
        predicted_labels(picture, (37, 53), plan, card(), Network())
        for plan in (Plan("slide", (17, 23), (11, 13)), other)
    )
    assert (mine != others).mean() > 0.01


def test_memory_and_batches_are_bounded(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW_PIXELS", 3 * 17 * 23 + 5)
    network = Network()
    predicted_labels(random_picture(60, 90), (60, 90), Plan("slide", (17, 23), (11, 13)), card(), network)
    assert [shape[0] for shape in network.seen[:-1]] == [3] * (len(network.seen) - 1)
    largest = 0
    for _, strip in windows._enlarged(torch.zeros(150, 40, 50), (400, 300), False):
        largest = max(largest, strip.numel())
    assert largest <= windows.STRIP


@pytest.mark.parametrize("plan", [PLANS["whole"], PLANS["whole, fixed size"], PLANS["whole, ratio kept"]])
@pytest.mark.parametrize("at_once", [None, 2])
def test_pictures_of_a_batch_get_the_labels_they_get_alone(plan: Plan, at_once: int | None):
    shapes = [(37, 53), (20, 31), (37, 53), (37, 53), (41, 22)]
    pictures = [random_picture(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    sizes = [(37, 53), (20, 31), (50, 60), (37, 53), (41, 22)]
    network = Network()
    got = labels_of_batch(pictures, sizes, plan, card(), network, at_once)
    for labels, picture, size in zip(got, pictures, sizes, strict=True):
        np.testing.assert_array_equal(labels, predicted_labels(picture, size, plan, card(), Network()))
    batches = sorted(shape[0] for shape in network.seen)
    if plan.size:
        assert batches == ([1, 2, 2] if at_once else [5])
    elif not plan.resize:
        assert batches == ([1, 1, 1, 2] if at_once else [1, 1, 3])


@pytest.mark.parametrize("plan", [PLANS["slide"], PLANS["whole, scales and flip"]])
def test_pictures_of_several_passes_go_one_by_one(plan: Plan):
    pictures = [random_picture(37, 53, seed=seed) for seed in (1, 2)]
    got = labels_of_batch(pictures, [(37, 53)] * 2, plan, card(), Network())
    for labels, picture in zip(got, pictures, strict=True):
        np.testing.assert_array_equal(labels, predicted_labels(picture, (37, 53), plan, card(), Network()))


@pytest.mark.parametrize("shape", [(64, 53), (61, 20), (18, 90), (9, 11)])
def test_windows_of_a_picture_at_its_own_size_never_hold_all_logits(shape: tuple[int, int]):
    """Strips of finished rows: the same labels as with all logits at once, from a row of windows."""
    plan, picture = PLANS["slide"], random_picture(*shape)
    whole = windows._logits(picture, plan, card(), Network(), None)
    assert whole.shape == (CLASSES, *shape)
    held = 0
    for row, strip in windows._strips_of_windows(picture, plan, card(), Network(), None):
        assert row == held
        held += strip.shape[1]
        assert strip.shape[1] <= plan.crop[0]
    assert held == shape[0]
    got = predicted_labels(picture, shape, plan, card(), Network())
    np.testing.assert_array_equal(got, whole.argmax(axis=0))


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(
    ("source", "target"), [((5, 7), (13, 11)), ((9, 4), (9, 4)), ((1, 3), (6, 1)), ((9, 4), (5, 30)), ((6, 6), (1, 1))]
)
def test_enlargement_is_torchs(source: tuple[int, int], target: tuple[int, int], aligned: bool, monkeypatch):
    monkeypatch.setattr(windows, "STRIP", 100)
    logits = torch.randn(3, *source)
    pieces = list(windows._enlarged(logits, target, aligned))
    assert [row for row, _ in pieces] == list(itertools.accumulate([0, *(strip.shape[1] for _, strip in pieces[:-1])]))
    whole = functional.interpolate(logits[None], target, mode="bilinear", align_corners=aligned)[0]
    torch.testing.assert_close(torch.cat([strip for _, strip in pieces], dim=1), whole)


def test_windows_cover_a_picture_and_end_with_it():
    assert window_corners(1025, 2049, (769, 769), (513, 513)) == [
        (top, left) for top in (0, 256) for left in (0, 513, 1026, 1280)
    ]
    assert window_corners(769, 700, (769, 769), (513, 513)) == [(0, 0)]
    generator = np.random.default_rng(0)
    for _ in range(200):
        height, width, *crop = (int(side) for side in generator.integers(1, 40, 4))
        stride = tuple(int(generator.integers(1, side + 1)) for side in crop)
        count = np.zeros((height, width), int)
        corners = window_corners(height, width, (crop[0], crop[1]), (stride[0], stride[1]))
        for top, left in corners:
            count[top : top + crop[0], left : left + crop[1]] += 1
            assert top + crop[0] <= max(height, crop[0])
            assert left + crop[1] <= max(width, crop[1])
        assert count.min() >= 1
        assert len(set(corners)) == len(corners)


@pytest.mark.parametrize(
    ("plan", "picture", "scale", "expected"),
    [
        (Plan("whole", resize=(1025, 2049)), (1024, 2048), 1.0, (1025, 2049)),
        (Plan("whole", resize=(1024, 2048)), (1024, 2048), 1.0, (1024, 2048)),
        (Plan("whole", resize=(512, 2048)), (375, 500), 1.0, (512, 683)),
        (Plan("whole", resize=(512, 2048)), (500, 375), 1.0, (683, 512)),
        (Plan("whole", resize=(512, 2048)), (100, 1000), 1.0, (205, 2048)),
        (Plan("whole", resize=(512, 2048)), (375, 500), 0.75, (384, 512)),
        (Plan("whole"), (375, 501), 1.0, (375, 501)),
        (Plan("whole"), (375, 501), 0.5, (188, 251)),
        (Plan("whole"), (1, 1), 0.1, (1, 1)),
        (Plan("whole", size=(64, 32)), (375, 501), 1.0, (64, 32)),
    ],
)
def test_sizes_are_those_of_mmsegmentation(plan: Plan, picture: tuple[int, int], scale: float, expected):
    assert plan.scaled_size(*picture, scale) == expected


def test_resizing_lies_between_pixel_centres():
    """As OpenCV: by a plain loop in float64, off by one where rounding is near a half."""
    picture = np.random.default_rng(3).integers(0, 256, (7, 5, 3), np.uint8)
    height, width = 11, 13
    got = resized(picture, height, width)
    for row, column in np.ndindex(height, width):
        y, x = ((row + 0.5) * 7 / height - 0.5), ((column + 0.5) * 5 / width - 0.5)
        y, x = min(max(y, 0), 6), min(max(x, 0), 4)
        top, left = int(y), int(x)
        below, right = min(top + 1, 6), min(left + 1, 4)
        a, b = y - top, x - left
        value = (1 - a) * ((1 - b) * picture[top, left] + b * picture[top, right].astype(float)) + a * (
            (1 - b) * picture[below, left] + b * picture[below, right].astype(float)
        )
        assert np.abs(got[row, column] - value).max() <= 0.5001
    assert resized(picture, 7, 5) is picture


def test_nearest_takes_the_nearest_centre():
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert nearest(labels, (4, 6)).tolist() == [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2
    assert nearest(labels, (1, 1)).tolist() == [[4]]
    np.testing.assert_array_equal(nearest(labels, (2, 3)), labels)
    big = np.random.default_rng(0).integers(0, 9, (13, 7)).astype(np.uint8)
    exact = functional.interpolate(torch.from_numpy(big)[None, None].float(), (29, 5), mode="nearest-exact")
    np.testing.assert_array_equal(nearest(big, (29, 5)), exact[0, 0].numpy())


def test_a_plan_says_itself():
    plan = Plan("slide", (769, 769), (513, 513), resize=(1025, 2049), scales=(0.5, 1.0), flip=True)
    text = "windows of 769x769 every 513x513, short side at most 1025, long side at most 2049"
    assert str(plan) == f"{text}, scales 0.5, 1, each also mirrored"
    assert str(Plan("whole", size=(256, 512), resize=(1, 2))) == "whole pictures, brought to 256x512"
    assert str(Plan("whole")) == "whole pictures"
    assert (plan.passes, replace(plan, flip=False).passes, Plan("whole").passes) == (4, 2, 1)


@pytest.mark.parametrize("aligned", [False, True])
def test_the_number_of_threads_changes_no_pixel_and_no_label(aligned: bool):
    """A server's steps run on one thread, a local run on all: their results are compared bit for bit."""
    generator = np.random.default_rng(5)
    pictures = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((97, 131), (181, 263), (211, 61))]
    logits = generator.standard_normal((9, 61, 83), dtype=np.float32) * 1e-6 + 1  # near ties
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            small = [resized(picture, 256, 509) for picture in pictures]
            found.append([*small, labels_of_logits(logits, (251, 367), card(aligned))])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_resized_pictures_are_those_of_float64():
    picture = np.random.default_rng(6).integers(0, 256, (131, 203, 3), dtype=np.uint8)
    for size in ((65, 97), (128, 199), (263, 401), (1, 1), (131, 1)):
        planes = torch.tensor(picture).permute(2, 0, 1)[None].double()
        wanted = torch.nn.functional.interpolate(planes, size, mode="bilinear", align_corners=False)[0].round()
        difference = resized(picture, *size).astype(int) - wanted.permute(1, 2, 0).numpy().astype(int)
        assert (difference != 0).mean() < 1e-3, "but for ties"
        assert np.abs(difference).max() <= 1
