"""A run as a whole: what its steps take together, what does not fit, and on which assumptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spr.pipeline.estimates.costs import LONGEST, USE_OF_PRODUCTS
from spr.pipeline.estimates.device import device_memory
from spr.pipeline.estimates.disk import REPORT
from spr.pipeline.estimates.steps import Estimate, Estimator
from spr.pipeline.estimates.units import bytes_text
from spr.pipeline.estimates.work import BOX_ANSWER
from spr.running.steps import StepState

_TERA, _GIGA = 1e12, 1e9


@dataclass(frozen=True, slots=True)
class Takes:
    """The whole run: the most memory of any step, all disk, the report's `report` bytes of it, and all seconds; `open` where
    steps are missing from these sums. `warnings` and `notes` are sentences."""

    total: Estimate
    report: float
    open: bool
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def takes(estimator: Estimator, estimates: Mapping[str, Estimate], states: Mapping[str, StepState]) -> Takes:
    """Sum the estimates of all steps of all rounds up; `states` has the same names. `estimator` is the last round's."""
    memory = [one.memory for one in estimates.values() if one.memory is not None]
    total = Estimate(
        max(memory, default=None),
        REPORT + sum(one.disk or 0 for one in estimates.values()),
        sum(one.seconds or 0 for one in estimates.values()),
    )
    missing = any(None in (one.memory, one.disk, one.seconds) for one in estimates.values())
    return Takes(total, REPORT, missing, _warnings(estimator, estimates, states), tuple(_notes(estimator, estimates)))


def _warnings(estimator: Estimator, estimates: Mapping[str, Estimate], states: Mapping[str, StepState]) -> tuple[str, ...]:
    """The step that is furthest beyond its device's memory, and photos that alone fill the budget of a training sequence."""
    found = []
    needs = {name: one.memory for name, one in estimates.items() if one.memory and not states[name].finished}
    worst = max(needs, key=lambda name: needs[name], default=None)
    device = estimator.devices[0]
    if worst is not None and needs[worst] > (there := device_memory(device)):
        found.append(
            f"{worst} needs about {bytes_text(needs[worst])}, but {device} has {bytes_text(there)}; lower its "
            "batch_size or the pixel limits, or take a larger device"
        )
    budget, longest = estimator.recipe.train.max_tokens, estimator.longest_prompt
    if longest + estimator.answer > budget:
        found.append(
            f"prompts have up to {longest:,} tokens, and with the answer more than train.max_tokens {budget:,}; such pairs are "
            "dropped before training, so raise it or lower the pixel limits"
        )
    return tuple(found)


def _notes(estimator: Estimator, estimates: Mapping[str, Estimate]) -> list[str]:
    """What is unknown and why, and what the numbers rest on."""
    why: dict[str, list[str]] = {}
    for name, one in estimates.items():
        if one.why:
            why.setdefault(one.why, []).append(name)
    notes = [f"no figures for {', '.join(names)}: {reason}" for reason, names in why.items()]
    if isinstance(estimator.model, str):
        return notes
    speed, made = estimator.asking, estimator.written or estimator.told
    answer = f"{estimator.answer:,.0f} tokens a description ({'mean of those made' if made else 'a third of max_new_tokens'})"
    return [
        *notes,
        f"{speed.name}, measured just now: {speed.flops / _TERA:.2g} TFLOP/s in {estimator.recipe.model.dtype}, "
        f"{speed.bandwidth / _GIGA:,.0f} GB/s, {speed.call * 1e6:.1f} µs a call",
        f"assumed: {answer}, {BOX_ANSWER} a box; a batch is written {LONGEST:g} times as long as its mean answer; products "
        f"reach {USE_OF_PRODUCTS:.0%} of what was measured. docs/plan.md has the rest",
    ]
