"""What can be said about a tiny scene: referring expressions that name exactly one object, yes/no questions.

An expression is built as a predicate and then read out; it is kept only when the predicate holds for exactly one object,
by a margin that an eye can see. Region descriptions are written by the dialect from the objects inside a region.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from spr.tiny.scenes import CATEGORIES, COLORS, SHAPES, TinyObject

SIZES = ("largest", "smallest")
SIDES = {"leftmost": (0, -1), "rightmost": (0, 1), "topmost": (1, -1), "bottommost": (1, 1)}
RELATIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
_SEEN_MARGIN = 6.0
_SIZE_RATIO = 1.3
_ATTEMPTS = 12


@dataclass(frozen=True, slots=True)
class Expression:
    """A referring expression and the index of the one object it names. `kind`: name, size, side or relation."""

    text: str
    target: int
    kind: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A colour, a shape, both or neither ("object")."""

    color: str | None
    shape: str | None

    def __str__(self) -> str:
        return " ".join(word for word in (self.color, self.shape or "object") if word)

    def matches(self, objects: Sequence[TinyObject]) -> list[int]:
        """Indices of the objects of this kind."""
        return [
            i
            for i, o in enumerate(objects)
            if (self.color is None or o.color == self.color) and (self.shape is None or o.shape == self.shape)
        ]


def expressions(objects: Sequence[TinyObject], rng: random.Random, count: int) -> list[Expression]:
    """Up to `count` different expressions of mixed kinds, each true of exactly one object."""
    found: dict[str, Expression] = {}
    makers = (_by_name, _by_name, _by_size, _by_side, _by_relation)
    for _ in range(3 * count):
        if len(found) == count:
            break
        maker = rng.choice(makers)
        made = next(filter(None, (maker(objects, rng) for _ in range(_ATTEMPTS))), None)
        if made is not None:
            found.setdefault(made.text, made)
    return list(found.values())


def yes_no(objects: Sequence[TinyObject], rng: random.Random) -> tuple[str, str]:
    """A question about what is in the scene and its answer, each answer half of the time."""
    return present(objects, rng) if rng.random() < 0.5 else absent(objects, rng)


def present(objects: Sequence[TinyObject], rng: random.Random) -> tuple[str, str]:
    """A question about something that is there, and yes."""
    return _is_there(rng.choice(sorted({o.category for o in objects}))), "yes"


def absent(objects: Sequence[TinyObject], rng: random.Random) -> tuple[str, str]:
    """A question about something that is not there, though its colour or its form is, and no."""
    there = sorted({o.category for o in objects})
    near = [c for c in CATEGORIES if c not in there and any(set(c.split()) & set(p.split()) for p in there)]
    return _is_there(rng.choice(near)), "no"


def _is_there(category: str) -> str:
    return f"Is there {'an' if category.startswith('orange') else 'a'} {category} in the image?"


def named_together(objects: Sequence[TinyObject], rng: random.Random) -> list[tuple[str, list[int]]]:
    """Two to four different names, as one sentence would hold them, each with the indices of all objects that bear it."""
    names = sorted({o.category for o in objects})
    chosen = rng.sample(names, rng.randint(min(2, len(names)), min(4, len(names))))
    return [(name, [i for i, o in enumerate(objects) if o.category == name]) for name in chosen]


def words() -> list[str]:
    """All words that expressions and questions may use."""
    relation_words = [word for relation in RELATIONS for word in relation.split()]
    return [*COLORS, *SHAPES, "object", *SIZES, *SIDES, *relation_words, "the", "is", "there", "a", "an", "yes", "no"]


def _kind_of(item: TinyObject, rng: random.Random) -> Kind:
    keep = rng.choice(("both", "both", "shape", "color"))
    return Kind(item.color if keep != "shape" else None, item.shape if keep != "color" else None)


def _center(item: TinyObject, axis: int) -> float:
    return (item.box[axis] + item.box[axis + 2]) / 2


def _by_name(objects: Sequence[TinyObject], rng: random.Random) -> Expression | None:
    target = rng.randrange(len(objects))
    kind = _kind_of(objects[target], rng)
    return Expression(f"the {kind}", target, "name") if kind.matches(objects) == [target] else None


def _by_size(objects: Sequence[TinyObject], rng: random.Random) -> Expression | None:
    kind = _kind_of(rng.choice(objects), rng)
    rivals = kind.matches(objects)
    word = rng.choice(SIZES)
    ranked = sorted(rivals, key=lambda i: objects[i].area, reverse=word == "largest")
    if len(ranked) < 2:
        return None
    first, second = (objects[i].area for i in ranked[:2])
    clear = max(first, second) >= _SIZE_RATIO * min(first, second)
    return Expression(f"the {word} {kind}", ranked[0], "size") if clear else None


def _by_side(objects: Sequence[TinyObject], rng: random.Random) -> Expression | None:
    kind = _kind_of(rng.choice(objects), rng)
    rivals = kind.matches(objects)
    word = rng.choice(tuple(SIDES))
    axis, sign = SIDES[word]
    ranked = sorted(rivals, key=lambda i: sign * _center(objects[i], axis), reverse=True)
    if len(ranked) < 2:
        return None
    clear = sign * (_center(objects[ranked[0]], axis) - _center(objects[ranked[1]], axis)) >= _SEEN_MARGIN
    return Expression(f"the {word} {kind}", ranked[0], "side") if clear else None


def _by_relation(objects: Sequence[TinyObject], rng: random.Random) -> Expression | None:
    """The target is one of several of its kind, the anchor the only one of its own."""
    target, anchor = rng.sample(range(len(objects)), 2)
    kind, anchor_kind = _kind_of(objects[target], rng), Kind(objects[anchor].color, objects[anchor].shape)
    rivals = [i for i in kind.matches(objects) if i != anchor]
    if len(rivals) < 2 or anchor_kind.matches(objects) != [anchor]:
        return None
    relation = rng.choice(tuple(RELATIONS))
    axis, sign = RELATIONS[relation]
    offsets = {i: sign * (_center(objects[i], axis) - _center(objects[anchor], axis)) for i in rivals}
    holds = [i for i in rivals if offsets[i] > 0]
    if holds != [target] or any(abs(offset) < _SEEN_MARGIN for offset in offsets.values()):
        return None
    return Expression(f"the {kind} {relation} the {anchor_kind}", target, "relation")
