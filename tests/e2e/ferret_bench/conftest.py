"""The questions in a drawn world, a scripted model behind a real server, and an adapter that nobody loads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import draw_bench
from small_world import draw_world

from chat_server import ChatServer, chat_server, says
from spr.models import endpoint_server


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    draw_world(folder)
    draw_bench(folder / "bench")
    return folder


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(endpoint_server, "FIRST_WAIT", 0.01)


@pytest.fixture
def model() -> Iterator[ChatServer]:
    """Base sees a cat, tuned a dog, where the question says."""
    seen = {"base": "A cat [250, 500, 750, 1000].", "mine": "A dog [250, 500, 750, 1000]."}
    with chat_server(lambda body, _: says(seen[body["model"]])) as server:
        yield server


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return folder
