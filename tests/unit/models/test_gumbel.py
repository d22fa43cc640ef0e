"""Gumbel sampling draws from the softmax, by each row's own seed."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare

from spr.models.gumbel import GumbelNoise, keep_top_p

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5, -2.0])


def draws(count, temperature=1.0, top_p=1.0):
    """One token a seed, from the same logits."""
    noise = GumbelNoise(range(count), temperature, top_p)
    return noise(torch.zeros(count, 0), LOGITS.expand(count, -1)).argmax(dim=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature):
    counts = torch.bincount(draws(4000, temperature), minlength=6)
    expected = (LOGITS / temperature).softmax(0).double() * 4000
    assert chisquare(counts.numpy(), (expected * (4000 / expected.sum())).numpy()).pvalue > 0.001


def test_later_steps_follow_the_softmax_too():
    noise = GumbelNoise([5], 1.0, 1.0)
    tokens = torch.cat([noise(torch.zeros(1, 0), LOGITS[None]).argmax(dim=1) for _ in range(4000)])
    expected = LOGITS.softmax(0).double() * 4000
    assert chisquare(torch.bincount(tokens, minlength=6).numpy(), (expected * (4000 / expected.sum())).numpy()).pvalue > 0.001


def test_a_row_depends_on_its_seed_and_not_on_its_neighbours():
    def third(seeds):
        noise = GumbelNoise(seeds, 0.9, 0.95)
        scores = torch.randn(len(seeds), 6, generator=torch.Generator().manual_seed(0))
        return [noise(torch.zeros(len(seeds), 0), scores)[2] for _ in range(70)]

    one, other = third([1, 2, 3, 4]), third([8, 9, 3, 7])
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0], third([1, 2, 4, 4])[0])


def test_top_p_keeps_the_smallest_set_that_reaches_the_mass():
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]))
    assert keep_top_p(scores, 0.75).isfinite().tolist() == [[True, True, False, False], [False, False, True, True]]
    assert keep_top_p(scores, 0.01).isfinite().sum(dim=1).tolist() == [1, 1]


def test_top_p_limits_what_is_drawn():
    kept = (LOGITS.softmax(0) > 0.15).nonzero().flatten().tolist()  # 0.56 and 0.21: together 0.77
    assert sorted(set(draws(500, top_p=0.7).tolist())) == kept


def test_a_vocabulary_of_a_hundred_thousand_words():
    scores = torch.zeros(2, 100_000)
    noisy = GumbelNoise([1, 2], 1.0, 1.0)(torch.zeros(2, 0), scores)
    assert noisy.shape == scores.shape
    assert noisy.isfinite().all()
    assert abs(float(noisy.mean()) - 0.5772) < 0.02  # the mean of a standard Gumbel variable
