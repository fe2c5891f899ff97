"""Pictures on disk that PNG holds exactly, for networks that `exports` makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccdeploy.ccnet.preprocessing import noise_pictures

WritePicture = Callable[..., np.ndarray]


@pytest.fixture
def write_picture(exports) -> WritePicture:
    """Writes a noise picture of a size and returns it, [H, W, 3]."""

    def write(path: Path, height: int, width: int, seed: int = 0) -> np.ndarray:
        picture = noise_pictures(exports.model().card, 1, height, width, seed=seed)[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
        return picture

    return write


@pytest.fixture(autouse=True)
def no_threads_are_left() -> object:
    """Whatever a test did, the threads of the pipeline have ended."""
    import threading

    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("ccdeploy-")]
