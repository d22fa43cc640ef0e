"""What the README says of the dialects is what they write."""

from __future__ import annotations

import re
from pathlib import Path

from spr.models import dialects

README = Path(__file__).parents[3] / "README.md"


def test_every_dialect_writes_the_box_as_the_table_shows_it() -> None:
    rows = re.findall(r"^\| `([a-z0-9.-]+)` \| `([^`]+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {name: text.replace("\\|", "|") for name, text in rows}
    assert shown == {
        name: family().ground("a dog", (77, 163, 327, 385), (640, 480)) for name, family in dialects.FAMILIES.items()
    }
