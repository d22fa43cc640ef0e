"""One question to a model on a server, and servers that answer it or say what they have."""

from __future__ import annotations

import json
from typing import Any

from PIL import Image

from chat_server import Reply, says
from spr.models.base import Request, Sampling
from spr.recipe import Model

ONE = [Request((Image.new("RGB", (4, 4)),), "what ?", (1,))]
DRAWN = Sampling(1.0, 1.0, 8)


def recipe(url: str, **options: Any) -> Model:
    return Model(name="some/model", dialect="tiny", endpoint={"url": url, "retries": 0, **options})


def lists(*names: str) -> Reply:
    return Reply(text=json.dumps({"data": [{"id": name} for name in names]}))


def answers(body: dict[str, Any], number: int) -> Reply:
    return says("a dog")
