"""The benchmarks run, and what the documentation says of them holds here too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_eight_answers_together_take_less_than_half_of_eight_calls() -> None:
    command = [sys.executable, str(BENCHMARKS / "generation.py"), "--regions", "6", "--k", "8", "--repeats", "3"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ratio = re.search(r"^ratio +([\d.]+)$", said, re.MULTILINE)
    assert ratio is not None, said
    assert float(ratio[1]) >= 2
    assert "equal texts     48 of 48" in said
