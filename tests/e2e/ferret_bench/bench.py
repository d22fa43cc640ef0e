"""Six questions of Ferret-Bench in the authors' files, a recipe that asks them, and a judge whose scores are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image
from small_world import recipe_values

from chat_server import Body, ChatServer, Reply, says
from spr.recipe import Recipe, check_recipe
from spr.running.files import file_digest, read_json

KINDS = {"ground_conv": "ground_conv", "refer_caption": "refer_desc", "refer_reason": "refer_reason"}


def draw_bench(folder: Path, each: int = 2) -> Path:
    """`each` questions of every kind about as many photos of 64 x 48 pixels, in the authors' files."""
    (folder / "photos").mkdir(parents=True)
    for name, category in KINDS.items():
        (folder / name).mkdir()
        rows = [{"question_id": n, "image": f"{n}.png", "category": category} for n in range(each)]
        texts = {
            "question": f"Question {{}} of {category} about [0.25, 0.5, 0.75, 1.000]?",
            "answer": "It.",
            "context": "A dog.",
        }
        for kind, text in texts.items():
            lines = [json.dumps(row | {"text": text.format(row["question_id"])}) + "\n" for row in rows]
            (folder / name / f"{kind}.jsonl").write_text("".join(lines))
    for number in range(each):
        Image.new("RGB", (64, 48), (40 * number, 90, 200)).save(folder / "photos" / f"{number}.png")
    rules = {category: {"role": "Assistant", "prompt": f"Judge {category}."} for category in KINDS.values()}
    (folder / "rule.json").write_text(json.dumps(rules))
    return folder


def asked_of(body: Body) -> str:
    return str(body["messages"][1]["content"])


def fair(body: Body, _: int) -> Reply:
    """The reference has 8; a dog has 6, a cat 4, and 2 less where places are asked for."""
    prompt = asked_of(body)
    return says(f"8 {(6 if 'A dog' in prompt.partition('[Assistant 2]')[2] else 4) - 2 * ('Judge ground_conv' in prompt)}\nSo.")


def recipe(world: Path, model: ChatServer, judge: ChatServer | None, protocol: str = "plain", **options: Any) -> Recipe:
    """Three shards of two questions; `options` are the judge's."""
    endpoint = options.pop("endpoint", {})
    asked = {"served_name": "judge", "retries": 1, "timeout": 5, **endpoint}
    values = recipe_values(world, Path("base"), "ferret", shard_size=2)
    bench: dict[str, Any] = {"annotations": str(world / "bench"), "image_root": str(world / "bench" / "photos")}
    if judge:
        bench["judge"] = {"endpoint": {"url": judge.url, **asked}, **options}
    values["model"] |= {"name": "base", "endpoint": {"url": model.url, "tuned_name": "mine", "retries": 0}}
    values["evaluation"] = {"backend": "endpoint", "bootstrap": 100, "protocol": protocol, "ferret_bench": bench}
    return check_recipe(values, "test")


def digests(out: Path, side: str) -> list[str | None]:
    return [file_digest(path) for path in sorted((out / "eval" / "ferret_bench" / side / "parts").glob("*.parquet"))]


def notes(out: Path, side: str) -> dict[str, int]:
    """Of all shards together."""
    total: dict[str, int] = {}
    for path in sorted((out / "eval" / "ferret_bench" / side / "parts").glob("*.json")):
        manifest: Any = read_json(path)
        for name, count in manifest["notes"].items():
            total[name] = total.get(name, 0) + count
    return total
