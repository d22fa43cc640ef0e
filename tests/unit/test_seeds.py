"""Seeds: from content alone, and different for different content."""

from __future__ import annotations

from spr.seeds import derive_random, derive_seed


def test_a_seed_is_pinned_for_good() -> None:
    # The first 8 bytes of sha256("int:0\x1fstr:image\x1fint:1"), halved. A change would change every run of every user.
    assert derive_seed(0, "image", 1) == 4838317129916768771
    assert derive_random(0, "image", 1).sample(range(10), 4) == [4, 2, 5, 0]


def test_numbers_and_their_texts_are_different_content() -> None:
    assert derive_seed("a", 1) != derive_seed("a", "1")


def test_parts_do_not_run_together() -> None:
    assert derive_seed("ab", "c") != derive_seed("a", "bc")


def test_seeds_fit_63_bits() -> None:
    assert all(0 <= derive_seed("x", n) < 2**63 for n in range(200))
