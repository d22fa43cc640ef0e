"""What a server's reply is worth: its answers, or which kind of fault it states.

Pure functions over texts and plain values, so that every kind of reply can be tried without a server.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from spr.models.base import Generation

REFUSED = "refused"
"""The finish reason of an answer that the server would not give."""
_LONGEST_SENTENCE = 300
_MOST_TOKENS = 2**31
_ENDS = {"stop": "stop", "length": "length"}


class Garbage(Exception):
    """A reply that holds no answers; the message says what is wrong with it."""


class TooFew(Exception):
    """Fewer answers than were asked for; `count` of them."""

    def __init__(self, count: int) -> None:
        super().__init__(str(count))
        self.count = count


def refused(n: int) -> list[Generation]:
    """What stands for n answers that the server would not give."""
    return [Generation("", REFUSED, 0, 0)] * n


def answers_of(text: str, n: int) -> list[Generation]:
    """The n answers of a chat completion, in the server's order.

    `prompt_tokens` and `completion_tokens` are the server's count, 0 where it states none; of several answers it states the
    sum alone, which is spread evenly. Raises Garbage, or TooFew where n is more than there are.
    """
    reply = _json(text)
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        raise Garbage("a reply without choices")
    if len(choices) < n:
        raise TooFew(len(choices))
    if len(choices) > n:
        raise Garbage(f"{len(choices)} answers where {n} were asked for")
    usage = reply.get("usage")
    prompt, completion = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    shares = [completion // n + (place < completion % n) for place in range(n)]
    return [_answer(choice, prompt, share) for choice, share in zip(choices, shares, strict=True)]


def names_of(text: str) -> tuple[str, ...]:
    """The models of a reply to /models; none where it cannot be read, since some servers do not tell."""
    try:
        rows = _json(text)["data"]
        return tuple(str(row["id"]) for row in rows)
    except (Garbage, TypeError, KeyError):
        return ()


def sentence(text: str, key: str | None) -> str:
    """What a server said of a fault, in one line: its own message where it has one, without the key, which some send back."""
    said = _message(text)
    if key:
        said = said.replace(key, "***")
    said = " ".join(re.sub(r"(?i)(bearer)\s+[^\s'\",}]+", r"\1 ***", said).split())
    return said if len(said) <= _LONGEST_SENTENCE else said[: _LONGEST_SENTENCE - 3] + "..."


def asked_wait(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks to wait, in either of its forms; None without a readable one."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
    return max(0.0, seconds) if seconds == seconds else None


def _answer(choice: dict[str, Any], prompt_tokens: int, completion_tokens: int) -> Generation:
    message, reason = choice.get("message"), choice.get("finish_reason")
    said: dict[str, Any] = message if isinstance(message, dict) else {}
    text = said.get("content")
    if reason == "content_filter" or (text is None and said.get("refusal")):
        return Generation("", REFUSED, 0, 0)
    if text is None and reason == "length":
        text = ""  # All tokens went into thoughts, which a server with a reasoning parser keeps apart.
    if not isinstance(text, str):
        raise Garbage("an answer without content")
    if not isinstance(reason, str) or reason not in _ENDS:
        raise Garbage(f"an answer that ended by {sentence(str(reason), None)}")
    # Half a surrogate pair is possible in json and in no file.
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Generation(whole, _ENDS[reason], prompt_tokens, completion_tokens)


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 < value < _MOST_TOKENS else 0


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Garbage("a reply that is no json") from None


def _message(text: str) -> str:
    """`{"error": {"message": ...}}`, `{"error": ...}`, `{"detail": ...}`, `{"message": ...}`, or the text as it is."""
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "detail", "message"):
        if isinstance(said, dict) and said.get(name):
            said = said[name]
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
