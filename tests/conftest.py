"""What tests of every kind share: the folder of real photos, and how properties are tried."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A first example may have to import a library; how long that takes says nothing about the code under test.
settings.register_profile("spr", deadline=None)
settings.load_profile("spr")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder named by SPR_TEST_DATA; a test that asks for it is skipped where there is none."""
    folder = os.environ.get("SPR_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SPR_TEST_DATA names no folder of real photos and annotations")
    return Path(folder)
