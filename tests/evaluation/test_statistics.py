from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnstudent.errors import InputError
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.evaluation.statistics import (
    bootstrap,
    bootstrap_runs,
    compare_paired,
    holm,
    signed_rank,
)

score = st.floats(0, 1).map(lambda value: round(value, 4))
samples = st.lists(score, min_size=2, max_size=30)
paired = st.lists(st.tuples(score, score), min_size=1, max_size=30)


@given(samples, st.integers(0, 3))
def test_the_interval_contains_the_mean_and_stays_among_the_values(values, seed):
    table = np.array(values)[:, None]
    ((low, high),) = bootstrap(table, [[0]], seed=seed, resamples=2000)
    assert low - 1e-9 <= table.mean() <= high + 1e-9
    assert min(values) - 1e-9 <= low
    assert high <= max(values) + 1e-9


def test_the_interval_equals_the_theoretical_one():
    """Of many normal values the mean ± 1.96 standard errors."""
    values = np.random.default_rng(0).normal(0.8, 0.1, 400)
    ((low, high),) = bootstrap(values[:, None], [[0]])
    error = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert (low, high) == pytest.approx(
        (values.mean() - error, values.mean() + error), abs=0.1 * error
    )


def test_the_coverage_of_the_interval_is_about_its_level():
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        ((low, high),) = bootstrap(rng.beta(8, 2, 40)[:, None], [[0]], seed=seed, resamples=500)
        hits += low <= 0.8 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_the_seed_determines_the_interval():
    table = np.random.default_rng(0).random((12, 1))
    assert bootstrap(table, [[0]], seed=4) == bootstrap(table, [[0]], seed=4)
    assert bootstrap(table, [[0]], seed=4) != bootstrap(table, [[0]], seed=5)


def test_a_group_is_the_mean_of_its_columns_means_even_if_cases_lack_one():
    table = np.array([[0.5, np.nan], [0.5, 1.0], [0.5, 1.0], [0.5, np.nan]])
    assert bootstrap(table, [[0], [1], [0, 1], []])[0] == (0.5, 0.5)
    low, high = bootstrap(table, [[0, 1]])[0]
    assert (low, high) == (0.5, 0.75)  # now and then a draw has no case of the second column
    assert all(math.isnan(bound) for bound in bootstrap(table[:1], [[0]])[0])
    assert all(math.isnan(bound) for bound in bootstrap(table, [[]])[0])


def test_of_one_training_the_interval_is_that_over_cases():
    scores = np.random.default_rng(3).normal(0.5, 0.1, 40)
    (over_cases,) = bootstrap(scores[:, None], [[0]], resamples=20_000)
    assert bootstrap_runs(scores[None], resamples=20_000) == pytest.approx(over_cases, abs=2e-3)


def test_two_trainings_that_differ_in_every_case_alike():
    # The mean of a resample is 0, 0.5 or 1, with chances of 1/4, 1/2 and 1/4.
    table = np.repeat([[0.0], [1.0]], 30, axis=1)
    assert bootstrap_runs(table) == (0.0, 1.0)
    assert bootstrap_runs(table, level=0.4) == (0.5, 0.5)
    assert bootstrap_runs(np.tile([0.25], (3, 30))) == (0.25, 0.25)


def test_the_variances_of_trainings_and_cases_add_up():
    rng = np.random.default_rng(5)
    trainings, cases = rng.normal(0, 0.2, 25), rng.normal(0.5, 0.3, 60)
    low, high = bootstrap_runs(trainings[:, None] + cases, resamples=20_000)
    known = 2 * 1.96 * math.sqrt(trainings.var() / 25 + cases.var() / 60)
    assert high - low == pytest.approx(known, rel=0.05)
    middle = trainings.mean() + cases.mean()
    assert (low + high) / 2 == pytest.approx(middle, abs=0.02 * known)


def test_a_score_that_is_missing_counts_in_no_resample():
    table = np.array([[0.2, np.nan, 0.2], [np.nan, 0.2, 0.2]])
    assert bootstrap_runs(table) == pytest.approx((0.2, 0.2))
    assert all(math.isnan(bound) for bound in bootstrap_runs(np.full((2, 3), np.nan)))
    assert all(math.isnan(bound) for bound in bootstrap_runs(np.array([[0.5, np.nan]])))


def test_an_impossible_level_is_refused():
    with pytest.raises(InputError, match="level"):
        bootstrap(np.zeros((3, 1)), [[0]], level=95)
    with pytest.raises(InputError, match="at least one resample"):
        bootstrap_runs(np.zeros((2, 3)), resamples=0)


@given(paired)
def test_swapping_the_methods_turns_the_sign_and_keeps_p(pairs):
    one, other = zip(*pairs, strict=True)
    there, back = compare_paired(one, other), compare_paired(other, one)
    assert there.p == pytest.approx(back.p, abs=1e-12)
    assert there.effect == pytest.approx(-back.effect, abs=1e-12)
    assert there.difference == pytest.approx(-back.difference, abs=1e-12)
    assert (there.n, there.n_different) == (back.n, back.n_different)
    assert 0 <= there.p <= 1
    assert -1 <= there.effect <= 1


@given(samples)
def test_a_method_does_not_differ_from_itself(values):
    same = compare_paired(values, values)
    assert (same.p, same.effect, same.difference, same.n_different) == (1.0, 0.0, 0.0, 0)


def test_better_in_every_case_is_an_effect_of_one_and_the_exact_p():
    """With n cases all on one side the exact two-sided p is 2 / 2^n."""
    other = np.linspace(0.3, 0.6, 8)
    result = compare_paired(other + np.linspace(0.01, 0.08, 8), other)
    assert result.effect == 1.0
    assert result.p == pytest.approx(2 / 2**8)


def test_the_effect_is_that_of_the_rank_sums():
    differences = np.array([0.1, -0.2, 0.3, 0.4, 0.0])
    p, effect = signed_rank(differences)
    assert effect == pytest.approx((1 + 3 + 4 - 2) / 10)
    assert p == pytest.approx(stats.wilcoxon([0.1, -0.2, 0.3, 0.4]).pvalue)


def test_nan_leaves_a_case_out():
    result = compare_paired([0.5, math.nan, 0.7], [0.4, 0.4, 0.4])
    assert (result.n, result.difference) == (2, pytest.approx(0.2))
    assert compare_paired([math.nan], [1.0]).n == 0
    with pytest.raises(InputError, match="against 1"):
        compare_paired([1.0, 2.0], [1.0])


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=6))
def test_holm_corrects_upwards_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    assert all(
        p_values[name] <= corrected[name] <= min(1, len(p_values) * p_values[name]) + 1e-12
        for name in p_values
    )
    order = sorted(p_values, key=p_values.__getitem__)
    assert [corrected[name] for name in order] == sorted(corrected.values())


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": math.nan}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": math.nan}, nan_ok=True
    )


def test_means_carry_median_and_interval(methods):
    mean = evaluate(methods / "poor", methods / "truth").means()
    for name in ("liver", "organs"):
        assert mean[name].dsc_interval[0] < mean[name].dsc < mean[name].dsc_interval[1]
        assert mean[name].dsc_median < mean[name].dsc  # five of six are worse than the mean
    assert math.isnan(
        evaluate(methods / "poor" / "c0.nii.gz", methods / "truth").means()["liver"].dsc_interval[0]
    )
