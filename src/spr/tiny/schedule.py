"""Optimiser, learning-rate schedule and resumable checkpoints, shared by the trainings of the bundled models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Schedule:
    """Warm-up over 3 % of `steps`, then a cosine down to 2 % of each group's peak rate."""

    steps: int
    peaks: tuple[float, ...]

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the rates for `step` (from 0)."""
        warm_up = max(1, round(0.03 * self.steps))
        share = (step - warm_up) / max(1, self.steps - warm_up)
        scale = (step + 1) / warm_up if step < warm_up else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        for group, peak in zip(optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * scale


def make_optimizer(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW (0.9, 0.98), weight decay 0.05, fused; rates are set by a `Schedule`."""
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), weight_decay=0.05, fused=True)


def save_checkpoint(path: Path, modules: nn.Module, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    """Write weights, optimiser state, the number of finished steps and the seconds they took, whole or not at all."""
    partial = path.with_suffix(".partial")
    state = {"modules": modules.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(path: Path, modules: nn.Module, optimizer: torch.optim.Optimizer, device: str) -> tuple[int, float]:
    """Restore in place and return (finished steps, seconds so far); (0, 0.0) when there is no checkpoint."""
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, map_location=device, weights_only=True)
    modules.load_state_dict(state["modules"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["seconds"])
