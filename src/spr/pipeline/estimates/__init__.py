"""What a run would take, before it runs: memory, disk and time of each step. docs/plan.md states every assumption."""

from __future__ import annotations
