"""What Ferret's evaluation is asked about in ferret_protocol/: answers of every kind, well and badly formed, from one seed.

Nothing here knows what a script makes of them; authors.py has the authors' own say it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

WORDS = [
    "man",
    "woman",
    "dog",
    "cat",
    "bench",
    "umbrella",
    "guitar",
    "crowd",
    "girl",
    "red",
    "big",
    "wooden",
    "left",
    "tall",
    "smiling",
    "old",
    "striped",
]
ODD_PHRASES = [
    "a man 's hat",
    "Señor Müller",
    "a T-shirt",
    "the U.S. flag",
    "a cafe\u0301",
    "one, two",
    'a "stop" sign',
    "İstanbul",
]
SIZES = [(640, 480), (500, 375), (333, 500), (1000, 1000), (1024, 683), (427, 640), (97, 1999), (50, 51)]


@dataclass(frozen=True)
class Scene:
    """What an answer may speak of: phrases, and for each a box near its place, in thousandths."""

    phrases: list[str]
    marks: list[list[int]]

    def said(self, place: int = 0) -> str:
        return f"{self.phrases[place]} {self.mark(place)}"

    def mark(self, place: int = 0) -> str:
        return str(self.marks[place])

    def about(self, rng: Random, count: int) -> str:
        """`count` of the phrases, each with a box of its own near the phrase's."""
        places = [rng.randrange(len(self.phrases)) for _ in range(count)]
        return ", ".join(f"{self.phrases[n]} {[v + rng.randint(-150, 150) for v in self.marks[n]]}" for n in places) + "."

    def numbers(self, place: int = 0) -> list[int]:
        return self.marks[place]


Say = Callable[[Random, Scene], str]


def phrase(rng: Random) -> str:
    """A noun phrase, now and then an odd one."""
    if rng.random() < 0.15:
        return rng.choice(ODD_PHRASES)
    return " ".join([rng.choice(["a", "the", "A", "two"]), *rng.sample(WORDS, rng.randint(1, 3))])


def near(rng: Random, box: Sequence[float], size: tuple[int, int], spread: int = 60) -> list[int]:
    """A pixel box in thousandths, each corner moved by up to `spread`."""
    return [int(value * 1000 / size[axis % 2]) + rng.randint(-spread, spread) for axis, value in enumerate(box)]


def box(rng: Random, size: tuple[int, int]) -> list[int]:
    """A pixel box inside the image, at least a tenth of each side."""
    width, height = size
    x, y = rng.randint(0, width * 8 // 10), rng.randint(0, height * 8 // 10)
    return [x, y, rng.randint(x + width // 10, width), rng.randint(y + height // 10, height)]


def _each(join: str, end: str = ".") -> Say:
    return lambda _, scene: join.join(scene.said(place) for place in range(len(scene.phrases))) + end


def _in(pattern: str) -> Say:
    """`{p}` is the first phrase, `{a}` .. `{d}` its numbers, `{rest}` the other phrases with their boxes."""

    def say(rng: Random, scene: Scene) -> str:
        a, b, c, d = scene.numbers()
        rest = ", ".join(scene.said(place) for place in range(1, len(scene.phrases)))
        return pattern.format(p=scene.phrases[0], a=a, b=b, c=c, d=d, rest=rest)

    return say


def _digits(zero: str) -> Say:
    return lambda _, scene: scene.said().translate({ord("0") + n: chr(ord(zero) + n) for n in range(10)}) + "."


def _huge(rng: Random, scene: Scene) -> str:
    powers = [10**8, 2**31, 10**11, 2**53 + 1, 10**25, 10**308, 10**309, 10**400]
    numbers = [rng.choice([1, 1, -1]) * rng.choice([*powers, rng.randint(0, 999)]) for _ in range(4)]
    return f"{scene.phrases[0]} {numbers}, {scene.said()}."


def _word_long(rng: Random, scene: Scene) -> str:
    """Numbers about what a machine word holds, so that a product of two may wrap; the box covers the whole image."""
    sides = [rng.choice([2**60, 2**62, 2**63 - 1, 2**63, 2**63 + 2048, 2**64, 10**18]), rng.choice([1000, 1024, 4096, 2**62])]
    low = rng.choice([0, 0, 0, -(2**62), -(2**63), -(2**63) - 2048])
    return f"{scene.phrases[0]} {[low, 0, *sides]}, {scene.said()}."


def _cased(rng: Random, scene: Scene) -> str:
    name = scene.phrases[0].upper() if rng.random() < 0.5 else scene.phrases[0].title()
    return rng.choice(['"{}" {}.', "{} - {}!", "{}:{};", " {}  {} ?", "'{}' {}", "*{}* {}."]).format(name, scene.mark())


def _mixed(rng: Random, scene: Scene) -> str:
    kinds = rng.sample([kind for kind in FORMS if kind not in ("mixed", "empty")], rng.randint(2, 4))
    return rng.choice([" ", ", ", "\n", ". "]).join(FORMS[kind](rng, scene) for kind in kinds)


FORMS: dict[str, Say] = {
    "plain": _each(", "),
    "sentences": _each(". "),
    "several": lambda rng, scene: scene.about(rng, rng.randint(4, 20)),
    "same box twice": _in("{p} [{a}, {b}, {c}, {d}], {p} [{a}, {b}, {c}, {d}], {rest}."),
    "one box": _in("{p} [{a}, {b}, {c}, {d}]."),
    "box alone": _in("[{a}, {b}, {c}, {d}]"),
    "prose": _in("It is {p} [{a}, {b}, {c}, {d}] on the left. There is also {rest}."),
    "no box": _in("There is no {p} in the image."),
    "empty": lambda *_: "",
    "floats": _in("{p} [0.{a}, 0.{b}, 0.{c}, 0.{d}], {rest}."),
    "whole floats": _in("{p} [{a}.0, {b}, {c}, {d}], {rest}."),
    "words": _in("{p} [sic] [{a}, {b}, {c}, {d}], {rest}."),
    "letters": _in("{p} [x1, y1, x2, y2]."),
    "two numbers": _in("{p} [{a}, {b}]. {rest}."),
    "three numbers": _in("{p} [{a}, {b}, {c}]. {rest}."),
    "five numbers": _in("{p} [{a}, {b}, {c}, {d}, {a}], {rest}."),
    "trailing comma": _in("{p} [{a}, {b}, {c}, {d},]."),
    "empty bracket": _in("{p} [] [{a}, {b}, {c}, {d}]."),
    "reversed": _in("{p} [{c}, {b}, {a}, {d}], {p} [{c}, {d}, {a}, {b}], {p} [{a}, {b}, {c}, {d}]."),
    "outside": _in("{p} [-{a}, {b}, 1{c}, 9{d}], {rest}."),
    "unclosed": _in("{p} [{a}, {b}, {c}, {d}"),
    "second unclosed": _in("{p} [{a}, {b}, {c}, {d}], {rest}, {p} [{a}, {b}"),
    "nested": _in("{p} [[{a}, {b}, {c}, {d}]], {rest}."),
    "doubled opening": _in("{p} [[{a}, {b}, {c}, {d}]. {rest}."),
    "no opening": _in("{p} {a}, {b}, {c}, {d}]. {rest}."),
    "numbers before closing": _in("{p} [{a}, {b}, {c}, {d}]. {a}, {b}, {c}, {d}]. {rest}."),
    "no delimiter": _each(" and "),
    "no delimiter, no space": _each("", ""),
    "other delimiters": lambda rng, scene: "".join(
        scene.said(i) + rng.choice(".,;!?:|-") + " " for i in range(len(scene.phrases))
    ),
    "semicolons": _in("{p} [{a}; {b}; {c}; {d}]."),
    "two in a bracket": _in("{p} [{a}, {b}, {c}, {d}; {a}, {b}, {c}, {d}]."),
    "round brackets": _in("{p} ({a}, {b}, {c}, {d})."),
    "signs and underscores": _in("{p} [+{a}, 0{b}, 1_0, \u2003{d}\t], {rest}."),
    "minus sign": _in("{p} [\u2212{a}, {b}, {c}, {d}]."),
    "arabic digits": _digits("\u0660"),
    "wide digits": _digits("\uff10"),
    "superscripts": _in("{p} [{a}², {b}, {c}, {d}]."),
    "odd spaces": _in("{p}\u00a0[ {a} ,{b},\u3000{c}\x1f,{d}\n],\u200b {rest}."),
    "newlines": _in("{p}\n[{a},\n{b},\n{c},\n{d}]\n{rest}\n"),
    "huge": _huge,
    "as long as a word": _word_long,
    "too many digits": lambda _, scene: f"{scene.phrases[0]} [{'9' * 4301}, 1, 2, 3], {scene.said()}.",
    "cased": _cased,
    "commas in the phrase": _in("a big, {p} [{a}, {b}, {c}, {d}], {rest}."),
    "delimiter in the phrase": _in("{p} [{a}, {b}, {c}, {d}] vs. {p} [{a}, {b}, {c}, {d}], Mr. {p} [{a}, {b}, {c}, {d}]."),
    "emoji": _in("\U0001f600 {p} [{a}, {b}, {c}, {d}] \U0001f44d, {rest}."),
    "long": lambda rng, scene: scene.about(rng, 45),
    "mixed": _mixed,
}

SENTENCES = [
    "There is no {}",
    "Yes, there is a {}.",
    "There is not a {} in the image. Yes.",
    "The {} [10, 20, 30, 40].",
    "I see a {}.",
]
FRAGMENTS = [
    "yes",
    "no",
    "Yes",
    "No",
    "NO",
    "not",
    "Not",
    "there is",
    "a dog",
    "none",
    "isn't",
    "know",
    "İ",
    "ΝΟ",
    "n\u0585",
    "",
]
JOINTS = [" ", " ", " ", ", ", ",", ". ", ".", "\n", "  ", "\t", "-", "! ", "\u00a0", "\u3002"]
SCORES = ["{}.5", "{}/10", "-{}", "{}e0", "{}_0", "nan", "inf", "**{}**", "{}.", "\uff18", "ten", ""]
BETWEEN = [",", ",", ", ", " , ", "  ", "\t", "\n", "/", "\u00a0", ",,"]
ENDS = ["\n\n1 2", " ", "\r\nIt is.", " 7", ".", "\u3000", "\x0bx"]


def yes_no_answer(rng: Random) -> tuple[str, str]:
    """(kind, answer) for POPE."""
    if rng.random() < 0.3:
        return "sentence", rng.choice(SENTENCES).format(rng.choice(WORDS))
    parts = [rng.choice(FRAGMENTS) + rng.choice(JOINTS) for _ in range(rng.randint(0, 5))]
    text = "".join(parts) + rng.choice(["", *FRAGMENTS])
    return "empty" if not text else "fragments", text


def review(rng: Random) -> str:
    """What a judge may say."""
    start = rng.choice([*[""] * 15, " ", "\n", "Scores: "])
    scores = [rng.choice(["{}"] * 20 + SCORES).format(rng.randint(1, 10)) for _ in range(2)]
    return start + rng.choice([" "] * 5 + BETWEEN).join(scores) + rng.choice(["", "\nBecause of it."] * 5 + ENDS)


def bench_answer(rng: Random) -> tuple[str, str]:
    """(kind, answer) for Ferret-Bench: the forms above, and what only these texts have."""
    scene = Scene([phrase(rng) for _ in range(3)], [[rng.randint(0, 1000) for _ in range(4)] for _ in range(3)])
    own: dict[str, Say] = {
        "bracket at the start": _in("[{a}, {b}, {c}, {d}] is {p}[{a}, {b}, {c}, {d}]."),
        "repeated bracket": _in("{p} [{a}, {b}, {c}, {d}] and [{a}, {b}, {c}, {d}]."),
        "bracket over lines": _in("{p} [{a}, {b},\n{c}, {d}] and [{a}, {b}, {c}, {d}]."),
        "shares already": _in("{p} [1, 2, 3, 4] at [0.001, 0.002, 0.003, 0.004] at [nan, inf, 1e3, -1_0]."),
        "bracket that closes": _in("[1, 2, 3, 4, 5] [1, 2[1, 2, 3, 4, 5], 3, 4, 5]"),
    }
    forms = {**FORMS, **own}
    kind = rng.choice([*own, *forms])
    return kind, forms[kind](rng, scene)
