"""A dozen scenes of the tiny world, with two expressions each."""

from __future__ import annotations

import pytest

from spr.tiny.splits import DEVELOPMENT, write_split
from spr.tiny.tasks import write_tasks


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_split(DEVELOPMENT, 12, folder)
    write_tasks(DEVELOPMENT, 12, folder, expressions_each=2)
    return folder
