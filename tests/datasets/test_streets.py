"""Street scenes: the same from the same seed, of any size, with every class, and masts that only their ends tell."""

from __future__ import annotations

import numpy as np
import pytest

from ccdeploy.ccnet.cards import find_card
from ccdeploy.datasets import scene
from ccdeploy.datasets.streets import HELD_OUT_SEED, TRAINING_SEED, Streets
from ccdeploy.errors import UsageError

SIZE = (64, 128)


def test_a_scene_depends_on_its_seed_and_index_alone() -> None:
    few, many = Streets(3, SIZE, seed=7), Streets(50, SIZE, seed=7)
    last = few[2]
    assert (last.picture == many[2].picture).all()
    assert (last.labels == many[2].labels).all()
    assert last.name == many[2].name
    assert not (last.picture == few[1].picture).all()
    assert not (last.picture == Streets(3, SIZE, seed=8)[2].picture).all()
    assert TRAINING_SEED != HELD_OUT_SEED


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (97, 61), (64, 401), (257, 129)])
def test_scenes_have_any_size(size: tuple[int, int]) -> None:
    sample = Streets(1, size, seed=int(np.random.default_rng().integers(1 << 30)))[0]
    assert (sample.picture.dtype, sample.picture.shape) == (np.uint8, (*size, 3))
    assert (sample.labels.dtype, sample.labels.shape) == (np.uint8, size)


def test_labels_are_the_cards_classes_and_each_occurs() -> None:
    names = [info.name for info in find_card("ccnet_r18-d8_streets").classes]
    assert names[scene.LAMP] == "street lamp"
    assert names[scene.SIGNAL] == "traffic light"
    assert names[scene.PERSON] == "person"
    seen = np.bincount(np.concatenate([sample.labels.ravel() for sample in Streets(24, SIZE)]), minlength=256)
    assert (seen[: len(names)] > 0).all()
    assert seen[len(names) :].sum() == 0


def test_the_size_of_a_picture_does_not_change_what_is_in_it() -> None:
    small, large = (Streets(1, (side, 2 * side), seed=5)[0].labels for side in (64, 256))
    assert (large[2::4, 2::4] == small).mean() > 0.93


def test_shafts_of_both_kinds_look_alike() -> None:
    """A shaft's colour does not tell a lamp from a traffic light, hardly better than chance."""
    brightness: dict[int, list[float]] = {scene.LAMP: [], scene.SIGNAL: []}
    for sample in Streets(120, SIZE, seed=3):
        lower = slice(sample.labels.shape[0] // 2, sample.labels.shape[0] * 3 // 4)  # far below arms and heads
        for kind, values in brightness.items():
            inside = sample.labels[lower] == kind
            if inside.any():
                values.append(float(sample.picture[lower][inside].mean()))
    lamps, signals = (np.array(brightness[kind]) for kind in (scene.LAMP, scene.SIGNAL))
    assert min(len(lamps), len(signals)) > 40
    below = (lamps[:, None] < signals[None, :]).mean()  # 0.5 where the two are drawn from one distribution
    assert 0.35 < below < 0.65


@pytest.mark.parametrize(
    ("count", "size", "seed"), [(0, SIZE, 1), (1, (15, 64), 1), (1, (64, 99999), 1), (1, SIZE, -1)]
)
def test_a_data_set_that_cannot_be_is_refused(count: int, size: tuple[int, int], seed: int) -> None:
    with pytest.raises(UsageError, match=f"{count} scenes of {size[0]}x{size[1]} with seed {seed}"):
        Streets(count, size, seed)


def test_there_is_nothing_beyond_the_last_scene() -> None:
    scenes = Streets(2, SIZE)
    assert len(list(scenes)) == 2
    with pytest.raises(IndexError):
        scenes[2]
