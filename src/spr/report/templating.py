"""How the report's pages are made of templates: one environment, its filters, and what every page knows.

In pages every value is escaped; only what this package drew itself comes in as markup. A text, such as a model card, escapes
where it quotes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import math
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from spr.evaluation.paper_markdown import escaped
from spr.report.photo_svg import CHOSEN, FOUND, OTHER, REJECTED, TRUTH
from spr.report.svg import COLOURS, FONT

STROKES = {"chosen": CHOSEN, "rejected": REJECTED, "other": OTHER, "found": FOUND, "truth": TRUTH}
"""The colours over photos by what they stand for, for legends and keys."""


def render_page(template: str, script: str = "", **values: Any) -> str:
    """One whole page of `templates/`. `script` names a file there that is the only script the page may run: the browser
    is told its digest, so that not even markup that got past the escaping could run another."""
    code = _script(script) if script else ""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    shell = {
        "colours": COLOURS,
        "font": Markup(FONT),
        "strokes": STROKES,
        "script": Markup(code),
        "script_source": Markup(f"; script-src 'sha256-{digest}'" if code else ""),
    }
    return _environment().get_template(template).render(**shell, **values)


def render_text(template: str, **values: Any) -> str:
    """A Markdown text of `templates/`, in which only what goes through the filter `escaped` is safe to show."""
    return _environment(autoescape=False).get_template(template).render(**values)


@functools.cache
def _environment(autoescape: bool = True) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spr.report", "templates"),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(num=number, signed=signed, count=count, words=words, duration=duration, percent=percent)
    environment.filters["escaped"] = escaped
    return environment


def _script(name: str) -> str:
    return (resources.files("spr.report") / "templates" / name).read_text(encoding="utf-8")


def number(value: float | None, digits: int) -> str:
    """A number with so many decimals; a dash for what is None or not finite."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float | None, digits: int) -> str:
    """A number with its sign."""
    text = number(value, digits)
    return text if value is None or not value > 0 else f"+{text}"


def words(name: str) -> str:
    """A name of the code as words."""
    return name.replace("_", " ")


def count(value: int | None) -> str:
    """A whole number with its thousands apart; a dash for None."""
    return "\N{EN DASH}" if value is None else f"{value:,}"


def percent(value: float | None) -> str:
    """A share as percent, with one decimal; a dash for what is None or not finite."""
    return f"{number(100 * value, 1)} %" if value is not None and math.isfinite(value) else "\N{EN DASH}"


def duration(seconds: float) -> str:
    """Seconds for people: 48 s, 5 min 12 s, 3 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
