"""Intervals, tests, corrections and ranks against hand-computed numbers; which cells are bold."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from filled_sweeps import fill_sweep, rows
from result_builders import small
from scipy import stats

from dfdgbench.errors import ConfigError
from dfdgbench.results.best import best_rows
from dfdgbench.results.cells import placed
from dfdgbench.results.ranking import pairs, rank, score
from dfdgbench.results.statistics import (
    FEWEST_PAIRS,
    average_ranks,
    bootstrap,
    cliques,
    critical_difference,
    friedman,
    holm,
    iman_davenport,
    paired_test,
    t_test,
    welch_test,
)
from dfdgbench.results.table import build

# Demšar 2006, table 6: AUC of four decision trees on 14 data sets. His ranks break the tie on "voting" (0.975 and 0.975).
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.97501, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def values(*trials: float) -> dict[int, float]:
    return dict(enumerate(trials))


class TestIntervals:
    def test_the_same_values_give_the_same_interval(self) -> None:
        given = list(np.random.default_rng(0).normal(size=20))
        assert bootstrap(given, seed=3) == bootstrap(given, seed=3) != bootstrap(given, seed=4)

    @pytest.mark.parametrize("given", [[], [1.0], [1.0, math.nan, 2.0], [1.0, math.inf]])
    def test_none_where_there_is_nothing_to_draw_from(self, given: list[float]) -> None:
        assert bootstrap(given) is None

    def test_no_spread_no_width(self) -> None:
        assert bootstrap([2.5] * 4) == (2.5, 2.5)

    def test_near_the_normal_interval_where_that_is_right(self) -> None:
        draw = random.Random(1)
        given = [draw.gauss(10, 2) for _ in range(200)]
        half = 1.96 * np.std(given, ddof=1) / math.sqrt(200)
        found = bootstrap(given)
        assert found is not None
        assert found.low == pytest.approx(np.mean(given) - half, abs=0.05)
        assert found.high == pytest.approx(np.mean(given) + half, abs=0.05)

    def test_two_values_fall_back_to_percentiles(self) -> None:
        assert bootstrap([1.0, 2.0]) == (1.0, 2.0)  # a quarter of the draws is either value twice


class TestPairs:
    def test_t_by_hand(self) -> None:
        # mean 2, s = 1, se = 1/sqrt(3), t = 2 sqrt(3) on 2 degrees, whose distribution is 1/2 + t / (2 sqrt(2 + t^2)).
        t = 2 * math.sqrt(3)
        upper = 0.5 - t / (2 * math.sqrt(2 + t * t))
        assert t_test([1, 2, 3]) == pytest.approx(2 * upper)
        assert t_test([1, 2, 3], "greater") == pytest.approx(upper)
        assert t_test([-1, -2, -3], "greater") == pytest.approx(1 - upper)

    def test_tests_agree_with_scipy(self) -> None:
        a, b = [3.1, 2.0, 4.4, 5.0], [1.0, 2.5, 2.0]
        assert t_test(a) == pytest.approx(stats.ttest_1samp(a, 0).pvalue)
        assert welch_test(a, b) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
        expected = stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue
        assert welch_test(a, b, "greater") == pytest.approx(expected)

    def test_too_few_for_a_test(self) -> None:
        assert t_test([1.0]) is None
        assert welch_test([1.0, 2.0], [1.0]) is None

    @pytest.mark.parametrize(("given", "p"), [([0.0, 0.0], 1.0), ([2.0, 2.0], 0.0), ([-2.0, -2.0], 1.0)])
    def test_without_any_spread(self, given: list[float], p: float) -> None:
        assert t_test(given, "greater") == p
        assert welch_test([5 + given[0]] * 2, [5.0, 5.0], "greater") == p

    def test_the_fewest_pairs_are_the_fewest(self) -> None:
        smallest = {n: stats.wilcoxon(np.arange(1.0, n + 1)).pvalue for n in (FEWEST_PAIRS - 1, FEWEST_PAIRS)}
        assert smallest[FEWEST_PAIRS] < 0.05 < smallest[FEWEST_PAIRS - 1]

    def test_signed_ranks_by_enumeration(self) -> None:
        given = [1.0, 2.0, -3.0, 4.0, 5.0, 6.0, 7.0]
        ranks = range(1, 8)
        sums = [sum(r for r, sign in zip(ranks, signs, strict=True) if sign) for signs in product((0, 1), repeat=7)]
        expected = 2 * sum(total <= 3 for total in sums) / len(sums)  # the one negative difference has rank 3
        assert paired_test(given).wilcoxon == pytest.approx(expected)
        assert paired_test(given).significant == (expected < 0.05)

    @pytest.mark.parametrize("n", range(FEWEST_PAIRS))
    def test_few_pairs_are_never_significant_and_say_so(self, n: int) -> None:
        found = paired_test([10.0 + i for i in range(n)])
        assert not found.significant
        assert found.wilcoxon is None
        assert f"fewer than {FEWEST_PAIRS}" in found.remark

    def test_pairs_that_do_not_differ_do_not_count(self) -> None:
        found = paired_test([1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0])
        assert (found.n, found.wilcoxon) == (7, None)
        assert "3 pairs that differ" in found.remark

    def test_what_is_not_finite_is_left_out(self) -> None:
        assert paired_test([1.0, math.nan, math.inf, 3.0]).mean == 2.0


def test_holm_by_hand() -> None:
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, the last not below the third.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


class TestRanks:
    def test_demsars_ranks(self) -> None:
        assert average_ranks(DEMSAR) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)

    def test_friedman_of_demsars_ranks(self) -> None:
        # His 9.28 has no correction for ties: four tied once, two tied three times, of 14 (4^3 - 4).
        ranks = average_ranks(DEMSAR)
        plain = 12 * 14 / (4 * 5) * (float(ranks @ ranks) - 4 * 5**2 / 4)
        assert plain == pytest.approx(9.28, abs=5e-3)
        found = friedman(DEMSAR)
        assert found is not None
        assert found.chi_squared == pytest.approx(plain / (1 - (60 + 3 * 6) / (14 * 60)))
        assert iman_davenport(9.28, 14, 4) == pytest.approx(3.69, abs=5e-3)
        assert found.p == pytest.approx(stats.f.sf(found.f, 3, 39))

    def test_no_friedman_of_two_methods_or_one_problem(self) -> None:
        assert friedman(DEMSAR[:, :2]) is None
        assert friedman(DEMSAR[:1]) is None

    def test_friedman_at_the_ends(self) -> None:
        tied, ordered = friedman(np.ones((4, 3))), friedman(np.tile([3.0, 2.0, 1.0], (4, 1)))
        assert tied is not None
        assert ordered is not None
        assert (tied.f, tied.p) == (0.0, 1.0)
        assert (ordered.f, ordered.p) == (math.inf, 0.0)

    def test_demsars_critical_differences(self) -> None:
        assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)
        assert critical_difference(4, 14, 0.1) == pytest.approx(1.12, abs=5e-3)

    @pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (10, 3.164)])
    def test_critical_values_of_his_table_5(self, methods: int, q: float) -> None:
        assert critical_difference(methods, 6 * methods * (methods + 1)) == pytest.approx(q / 6, abs=2e-4)

    def test_cliques_of_demsars_figure(self) -> None:
        assert cliques([3.143, 2.000, 2.893, 1.964], 1.25) == [(3, 1, 2, 0)]
        assert cliques([3.143, 2.000, 2.893, 1.964], 1.12) == [(3, 1, 2), (2, 0)]  # at 0.1, as he says

    @pytest.mark.parametrize(
        ("ranks", "difference", "expected"),
        [
            ([1.0, 1.5, 2.0, 4.0], 0.8, [(0, 1), (1, 2)]),
            ([1.0, 3.0, 5.0], 1.0, []),
            ([2.0, 1.0, 1.2], 5.0, [(1, 2, 0)]),
            ([1.0, 2.0], 1.0, []),
        ],
    )
    def test_cliques(self, ranks: list[float], difference: float, expected: list[tuple[int, ...]]) -> None:
        assert cliques(ranks, difference) == expected


class TestBest:
    @pytest.mark.parametrize(
        ("given", "direction", "expected"),
        [
            ([values(1), values(3), values(2)], "high", {1}),
            ([values(1), values(3), values(2)], "low", {0}),
            ([values(1), values(3), values(2)], "none", set()),
            ([values(3), values(3), values(2)], "high", {0, 1}),
            ([values(3)], "high", set()),
            ([values(3), None, {}], "high", set()),
            ([], "high", set()),
            ([values(math.nan), values(1), values(math.inf), values(2)], "high", {3}),
        ],
    )
    def test_single_trials(self, given: Sequence[dict[int, float] | None], direction: str, expected: set[int]) -> None:
        assert best_rows(given, direction) == expected  # type: ignore[arg-type]

    def test_three_trials_paired(self) -> None:
        # Each loses by about 1 in every trial, so that it is worse, though trials differ by 20.
        best, worse = values(50, 60, 70), values(48.9, 59.0, 69.1)
        # d = 1, 11, -9: mean 1, se 5.8, t = 0.17 < 2.92.
        alike = values(49, 49, 79)
        assert best_rows([best, worse, alike]) == {0, 2}
        assert best_rows([worse, best], "high") == {1}

    def test_the_threshold_is_students(self) -> None:
        # d = 1, 2, x: one-sided 5 % with 2 degrees of freedom is t = 2.92.
        for third, bold in ((0.4, True), (1.2, False)):
            d = [1.0, 2.0, third]
            t = np.mean(d) / (np.std(d, ddof=1) / math.sqrt(3))
            assert (t < 2.92) == bold
            other = values(*(50 - x for x in d))
            assert (1 in best_rows([values(50, 50, 50), other])) == bold

    def test_trials_that_are_not_shared_are_not_paired(self) -> None:
        best = {0: 50.0, 1: 60.0, 2: 70.0}
        other = {3: 49.0, 4: 59.0, 5: 69.0}
        assert best_rows([best, other]) == {0, 1}

    def test_what_cannot_be_tested_is_not_bold(self) -> None:
        assert best_rows([values(50, 60, 70), values(59)]) == {0}

    def test_in_a_table_marked_rows_do_not_compete(self, tmp_path: Path) -> None:
        spec = small(rows=[*rows("A", "B"), *rows("Oracle", oracle=True)])
        sweep = fill_sweep(tmp_path, {"A": {0: [0.5]}, "B": {0: [0.4], 1: [0.3]}, "Oracle": {0: [0.9], 1: [0.2]}}, spec)
        block = build(spec, sweep).blocks[0]
        assert [[cell.best for cell in row.cells] for row in block.rows] == [
            [True, False, False],
            [False, False, False],  # alone in its column but for the oracle
            [False, False, False],
        ]

    def test_where_all_are_marked_they_compete(self, tmp_path: Path) -> None:
        spec = small(rows=rows("A", "B", oracle=True))
        sweep = fill_sweep(tmp_path, {"A": {0: [0.5]}, "B": {0: [0.4]}}, spec)
        assert [row.cells[0].best for row in build(spec, sweep).blocks[0].rows] == [True, False]


class TestMethodsOfASweep:
    def test_ranks_and_pairs(self, tmp_path: Path) -> None:
        given = {
            "A": {0: [0.9, 0.8, 0.7], 1: [0.6, 0.5, 0.4]},
            "B": {0: [0.8, 0.7, 0.6], 1: [0.5, 0.4, 0.3]},
            "C": {0: [0.1, 0.2, 0.3], 1: [0.6, 0.7, 0.8]},
        }
        cells = placed(build(spec := small(rows=rows(*given)), fill_sweep(tmp_path, given, spec)))
        found = rank(cells)
        assert (found.scores.methods, found.scores.problems) == (("A", "B", "C"), ("handwritten", "blended"))
        assert found.scores.values == pytest.approx(np.array([[80, 70, 20], [50, 40, 70]]))
        assert found.ranks == (1.5, 2.5, 2.0)
        first = pairs(cells)[0]
        assert (first.first, first.second, first.test.n) == ("A", "B", 6)
        assert first.test.mean == pytest.approx(10)
        # All six differences have one sign. A and C are alike in one trial: five pairs are no test, so that two were done.
        assert first.test.wilcoxon == pytest.approx(2 / 2**6, rel=0.2)
        assert first.corrected == pytest.approx(2 * (first.test.wilcoxon or 0))

    def test_what_is_incomplete_is_left_out_by_name(self, tmp_path: Path) -> None:
        given = {"A": {0: [0.9], 1: [0.6]}, "B": {0: [0.8], 1: [0.5]}, "C": {0: [0.1]}}
        cells = placed(build(spec := small(rows=rows(*given)), fill_sweep(tmp_path, given, spec)))
        found = score(cells)
        assert (found.methods, found.left_out) == (("A", "B"), ("C",))

    def test_too_little_to_rank_names_what_there_is(self, tmp_path: Path) -> None:
        given = {"A": {0: [0.9], 1: [0.6]}, "B": {}}
        cells = placed(build(spec := small(rows=rows(*given)), fill_sweep(tmp_path, given, spec)))
        with pytest.raises(ConfigError, match=r"at least two methods.*A on handwritten, blended"):
            rank(cells)
