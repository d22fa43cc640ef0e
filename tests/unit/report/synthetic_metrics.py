"""Results and a training log as a run states them, with plausible numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

THRESHOLDS = ("0.5", "0.6", "0.7", "0.8", "0.9")


def make_metrics() -> dict[str, Any]:
    base = dict(zip(THRESHOLDS, (80.4137, 78.02, 74.113, 66.6667, 44.904), strict=True))
    tuned = dict(zip(THRESHOLDS, (80.9137, 78.97, 76.003, 70.1267, 51.744), strict=True))
    gain = {t: tuned[t] - base[t] for t in THRESHOLDS}
    around = {t: [value - 0.35 - 1.1 * float(t), value + 0.35 + 1.1 * float(t)] for t, value in gain.items()}
    return {
        "tasks": {
            "rec": {
                "n": 3120,
                "base": _side(base, 0.7213),
                "tuned": _side(tuned, 0.7422),
                "delta": {"acc": gain, "ci95": around},
                "dropped": {"image_missing": 4},
            },
            "regions": {
                "n": 300,
                "objects": 5.12,
                "base": _described(0.7312, 5.21, 71.3, 64.0, 99.0),
                "tuned": _described(0.7723, 5.24, 71.0, 63.3, 99.3),
                "delta": {
                    "localization": 0.0411,
                    "boxes": 0.03,
                    "right_count": -0.3,
                    "names_right": -0.7,
                    "ci95": {
                        "localization": [0.0288, 0.0533],
                        "boxes": [-0.04, 0.11],
                        "right_count": [-2.7, 2.0],
                        "names_right": [-3.0, 1.7],
                    },
                },
            },
        },
        "funnel": {
            "train": {"in": 40, "out": 39, "parents": 39, "dropped": {"too_long": 1}},
            "eval/rec/base": {"in": 3124, "out": 3120, "parents": 3120, "dropped": {"image_missing": 4}},
        },
        "seconds": {"queries": 1.94, "candidates": 88.2, "scores": 61.7, "pairs": 2.3, "train": 92.1, "evaluation": 55.0},
        "versions": {"spr": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2"},
    }


def make_log(rng: np.random.Generator, updates: int = 100) -> list[dict[str, float]]:
    lines = []
    for step in range(1, updates + 1):
        growth = 1 - np.exp(-step / 40)
        chosen, rejected = -0.06 * growth + rng.normal(0, 0.015), -0.45 * growth + rng.normal(0, 0.03)
        lines.append(
            {
                "step": step,
                "epoch": step / updates,
                "loss": float(np.log1p(np.exp(-(chosen - rejected)))),
                "rewards/chosen": float(chosen),
                "rewards/rejected": float(rejected),
                "rewards/margins": float(chosen - rejected),
                "logps/chosen": float(-21 + chosen / 0.1 + rng.normal(0, 1.2)),
                "logps/rejected": float(-24 + rejected / 0.1 + rng.normal(0, 1.2)),
            }
        )
    return lines


def _side(acc: dict[str, float], mean_iou: float) -> dict[str, Any]:
    ends = {t: [value - 1.4, value + 1.4] for t, value in acc.items()}
    return {"acc": acc, "mean_acc": sum(acc.values()) / 5, "mean_iou": mean_iou, "parse_rate": 99.87, "ci95": ends}


def _described(localization: float, boxes: float, count: float, names: float, parsed: float) -> dict[str, Any]:
    values = {"localization": localization, "boxes": boxes, "right_count": count, "names_right": names}
    return {**values, "parse_rate": parsed, "ci95": {key: [value * 0.97, value * 1.03] for key, value in values.items()}}
