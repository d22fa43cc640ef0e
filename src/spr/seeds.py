"""Seeds from content: the same ids give the same draws, whatever the order, the time or the number of workers."""

from __future__ import annotations

import hashlib
import random


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from the run seed and ids, e.g. `derive_seed(recipe.seed, query_id, k)`."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_random(*parts: str | int) -> random.Random:
    """A generator of its own, seeded by `derive_seed(*parts)`."""
    return random.Random(derive_seed(*parts))
