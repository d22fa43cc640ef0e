"""Fixtures of the unit tests."""

from __future__ import annotations

import pytest
from bracket_dialect import Bracket


@pytest.fixture(scope="session")
def bracket() -> Bracket:
    """A dialect that a pencil can follow."""
    return Bracket()
