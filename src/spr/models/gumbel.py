"""Sampling by Gumbel noise: temperature, top-p, then each row's own noise, then argmax.

`argmax(log p + G)` with independent standard Gumbel noise G is an exact draw from p (Gumbel-max; Maddison et al. 2014,
arXiv 1411.0030). Since a row's noise comes from its own generator, what it draws depends on its seed and its logits, and
never on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

_AHEAD = 32
_BLOCK = 1 << 16


class GumbelNoise(LogitsProcessor):
    """Turns greedy decoding into sampling: for `generate(do_sample=False)`, one seed a row, temperature over 0, top_p in
    (0, 1]. Noise is drawn on the CPU, so that a seed means the same on every device."""

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._temperature = temperature
        self._top_p = top_p
        self._noise: torch.Tensor | None = None
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 (the interface)
        """Logits (rows, vocabulary) -> logits plus noise, float32; tokens outside the top-p mass get -inf."""
        scores = scores.float() / self._temperature
        if self._top_p < 1.0:
            scores = keep_top_p(scores, self._top_p)
        return scores + self._draw(scores.shape[1]).to(scores.device)

    def _draw(self, vocabulary: int) -> torch.Tensor:
        """This step's noise (rows, vocabulary). Drawn some steps ahead, how many depends on the vocabulary alone."""
        ahead = min(_AHEAD, max(1, _BLOCK // vocabulary))
        if self._noise is None or self._step == ahead:
            uniform = torch.stack([torch.rand(ahead, vocabulary, generator=generator) for generator in self._generators], dim=1)
            self._noise = -torch.log(-torch.log(uniform.clamp_(min=torch.finfo(torch.float32).tiny)))
            self._step = 0
        self._step += 1
        return self._noise[self._step - 1]


def keep_top_p(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Logits (rows, vocabulary) with -inf for all but the smallest set of likeliest tokens whose mass reaches `top_p`."""
    probabilities, order = scores.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    beyond = probabilities.cumsum(dim=-1) - probabilities >= top_p
    return scores.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), -torch.inf)
