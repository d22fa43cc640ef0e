"""A drawn world with a tiny random LLaVA-OneVision, and a whole run in it that many tests look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_world import described_recipe, draw_world, write_candidates

from spr.pipeline import run
from spr.records import RegionQuery
from spr.running.shards import ShardStore
from tiny_random import build_llava_onevision


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world, its model, and the run in it: begun with its queries alone, as somebody who describes them elsewhere would."""
    world = tmp_path_factory.mktemp("described")
    draw_world(world)
    build_llava_onevision(world / "model")
    run(described_recipe(world), world / "run", until="queries")
    queries = ShardStore(world / "run" / "queries", world / "run" / "dropped" / "queries", RegionQuery).all_rows()
    write_candidates(world / "texts.jsonl", queries, "llava-onevision")
    run(described_recipe(world), world / "run")
    return world


@pytest.fixture(scope="session")
def finished(described: Path) -> Path:
    """The run, to be looked at."""
    return described / "run"


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be gone on with."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
