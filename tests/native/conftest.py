"""A plugin library of stand-in sources, with an nvcc that only answers questions: a build takes two seconds."""

from __future__ import annotations

import pytest
from stand_ins import Sandbox


@pytest.fixture
def sandbox(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    return Sandbox(tmp_path, monkeypatch)
