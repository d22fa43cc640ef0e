"""The intervals' benchmark runs, and is as fast and as small as it should be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "intervals.py"


def found(pattern: str, said: str) -> float:
    match = re.search(pattern, said, re.MULTILINE)
    assert match is not None, said
    return float(match[1])


@pytest.mark.slow
def test_ten_thousand_draws_take_a_fiftieth_of_a_loop_and_less_than_a_gibibyte() -> None:
    command = [sys.executable, str(BENCHMARK), "--loop-draws", "40", "--repeats", "3"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "10000 draws" in said
    assert found(r"^draw by draw .* ratio +([\d.]+)$", said) >= 50
    assert found(r"^without lists .* ratio +([\d.]+)$", said) >= 20
    assert found(r"^peak memory +(\d+) MiB$", said) < 1024
