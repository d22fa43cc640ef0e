"""Displacement of the chosen answers: what counts as it, what is said of it while training, and what the report keeps."""

from __future__ import annotations

import time

import numpy as np
import pytest
from conftest_training import WORDS, make_pair, make_recipe
from scipy.stats import ttest_1samp

from spr.recipe_train import Train
from spr.training.displacement import Standing, Tally, first_displaced, standing
from spr.training.job import train
from spr.training.log import read_log
from spr.training.watch import warning

ALIKE = [make_pair(i, chosen=" ".join(WORDS[:3]), rejected=" ".join((WORDS * 3)[i : i + 9])) for i in range(6)]
"""Chosen texts that say in short what the rejected say at length: unlearning these, a policy unlearns those."""


def lines(chosen, margin, beta=0.1):
    """A log with the chosen and the margin in nats."""
    both = enumerate(zip(chosen, margin, strict=True), start=1)
    return [{"step": i, "rewards/chosen": beta * c, "rewards/margins": beta * m} for i, (c, m) in both]


def test_means_are_those_of_the_last_quarter_in_nats():
    falling = lines([0] * 30 + [-2, -4] * 5, [0] * 30 + [3, 5] * 5, beta=0.5)
    assert standing(falling, 0.5) == Standing(10, pytest.approx(-3), pytest.approx(4), displaced=True)


def test_eight_updates_are_the_fewest_that_are_judged():
    assert standing(lines([-3, -4] * 3, [3, 4] * 3), 0.1) is None
    assert standing(lines([-3, -4] * 4, [3, 4] * 4), 0.1).displaced


def test_sft_has_no_rewards_to_judge():
    assert standing([{"step": i, "logps/chosen": -1.0} for i in range(9)], 0.1) is None


@pytest.mark.parametrize(
    ("chosen", "margin"),
    [
        ([3, 4] * 4, [3, 4] * 4),  # both rise
        ([-3, -4] * 4, [1, -1] * 4),  # the chosen fall, but the rejected with them
        ([-9, 8] * 4, [3, 4] * 4),  # a mean of -0.5 that batches explain
        ([-0.3, -0.4] * 4, [3, 4] * 4),  # not half a nat
        ([0] * 8, [0] * 8),  # nothing moves
    ],
)
def test_what_is_not_displacement(chosen, margin):
    assert not standing(lines(chosen, margin), 0.1).displaced


def test_the_first_update_of_a_fall_is_remembered_when_it_is_over():
    recovered = lines([0, -1] * 2 + [-3, -4] * 6 + [5, 6] * 24, [3, 4] * 32)
    assert first_displaced(recovered, 0.1) == 10  # the last eight are then 0, -1, and three times -3, -4
    assert not standing(recovered, 0.1).displaced
    assert first_displaced(lines([3, 4] * 8, [3, 4] * 8), 0.1) is None


def test_the_update_is_told_by_its_number_and_the_last_one_is_looked_at():
    falling = lines([0, -1] * 2 + [-3, -4] * 3, [3, 4] * 5)
    assert first_displaced(falling[:-1], 0.1) is None
    assert first_displaced([{**line, "step": 5 * line["step"]} for line in falling], 0.1) == 50


@pytest.mark.parametrize(("swing", "displaced"), [(0.54, True), (0.575, False)])
def test_chance_is_that_of_a_sample_of_eight(swing, displaced):
    # t = sqrt(7) / swing = 4.90 and 4.60, of which 4.785 is the border for seven degrees of freedom at 0.001.
    assert standing(lines([-1 - swing, -1 + swing] * 4, [3, 4] * 4), 0.1).displaced == displaced
    assert standing(lines([-3, -4] * 4, [1 - swing, 1 + swing] * 4), 0.1).displaced == displaced


def test_every_update_of_a_log_is_judged_as_a_plain_look_at_its_last_quarter_judges_it():
    random, firsts = np.random.default_rng(0), set()
    for _ in range(30):
        count = int(random.integers(5, 90))
        chosen = random.normal(random.uniform(-1.5, 0), random.uniform(0.5, 2), count).cumsum() / 10 + random.normal(
            0, 1, count
        )
        margin = random.normal(1, 2, count)
        log, tally, plain = lines(chosen, margin, beta=0.25), Tally(0.25), None
        for end in range(1, count + 1):
            tally.add(log[end - 1])
            size = max(8, end // 4)
            found = tally.standing()
            assert (found is None) == (end < size)
            if found is None:
                continue
            last, grown = chosen[:end][-size:], margin[:end][-size:]
            beyond = [ttest_1samp(some, 0, alternative="greater").pvalue < 0.001 for some in (-last, grown)]
            assert found == Standing(
                size, *map(pytest.approx, (last.mean(), grown.mean())), last.mean() <= -0.5 and all(beyond)
            )
            plain = end if plain is None and found.displaced else plain
        assert first_displaced(log, 0.25) == plain
        firsts.add(plain)
    assert None in firsts
    assert len(firsts) > 5


def test_rewards_that_are_no_numbers_count_for_nothing():
    falling = lines([-3, -4] * 4, [3, 4] * 4)
    broken = [{**falling[0], "rewards/chosen": float("nan")}, {**falling[0], "rewards/margins": float("inf")}]
    assert standing([*falling[:4], *broken, *falling[4:]], 0.1) == standing(falling, 0.1)


def test_a_long_log_is_looked_at_in_the_time_of_a_glance():
    # Looking at each of its ends anew takes a minute.
    log = lines([-0.4, -0.5] * 5000, [3, 4] * 5000)
    begun = time.process_time()
    assert first_displaced(log, 0.1) is None
    assert time.process_time() - begun < 2


def test_noise_about_the_reference_is_hardly_ever_taken_for_it():
    # 40 runs of 130 updates whose margins grow while the chosen stay: at the end none, on the way one in twenty at most.
    random, found, ends = np.random.default_rng(0), 0, 0
    for _ in range(40):
        log = lines(random.normal(0, 2, 130), np.linspace(0, 10, 130) + random.normal(0, 2, 130))
        found += first_displaced(log, 0.1) is not None
        ends += standing(log, 0.1).displaced
    assert (found <= 2, ends) == (True, 0)


def test_the_warning_says_what_it_means_and_what_helps():
    found = Standing(8, -2.61, 5.9, displaced=True)
    said = warning(found, 27, Train())
    assert said == (
        "likelihood displacement at update 27: in the last 8 updates the chosen answers were 2.6 nats less likely than under "
        "the reference, while the margin over the rejected grew to 5.9. The policy tells the two apart by unlearning both; add "
        "sft to train.loss_type, lower train.learning_rate, or raise train.beta"
    )
    assert "give sft more of train.loss_weights" in warning(found, 27, Train(loss_type=("sigmoid", "sft")))


@pytest.mark.parametrize(("losses", "displaced"), [(["sigmoid"], True), (["sigmoid", "sft"], False)])
def test_a_training_that_unlearns_its_chosen_is_warned_of_once_and_reported(
    losses, displaced, models, image_root, tmp_path, capsys
):
    recipe = make_recipe(models("llava"), loss_type=losses, max_steps=16)
    report = train(ALIKE, recipe, image_root, tmp_path)
    log = read_log(tmp_path / "log.jsonl")
    said = [line for line in capsys.readouterr().err.splitlines() if "likelihood displacement" in line]
    assert report.displaced == standing(log, 0.1).displaced == displaced
    assert len(said) == displaced
    assert all(line.startswith(f"WARNING: likelihood displacement at update {report.displaced_at}: ") for line in said)
    assert (report.displaced_at is not None) == displaced
