"""CPU use as a rate."""

from __future__ import annotations

from podyard.stats.rates import KEPT, LEAST, Rates

SECOND = 1_000_000_000


def test_the_first_reading_gives_no_rate() -> None:
    assert Rates().rate("/a", 500, 10 * SECOND) is None


def test_a_rate_is_what_was_used_in_the_time_between() -> None:
    rates = Rates()
    rates.rate("/a", 0, 0)
    assert rates.rate("/a", 5 * SECOND, 10 * SECOND) == SECOND // 2
    assert rates.rate("/a", 25 * SECOND, 20 * SECOND) == 2 * SECOND
    assert rates.rate("/b", 1, 20 * SECOND) is None


def test_readings_in_quick_succession_are_compared_with_one_that_is_old_enough() -> None:
    rates = Rates()
    rates.rate("/a", 0, 0)
    assert rates.rate("/a", 7, LEAST // 2) is None
    assert rates.rate("/a", 2 * SECOND, 2 * SECOND) == SECOND
    # A tenth of a second later: still over the two seconds before, not over the tenth.
    assert rates.rate("/a", 21 * SECOND // 10, 21 * SECOND // 10) == SECOND
    for step in range(100):
        assert rates.rate("/a", 3 * SECOND, 3 * SECOND + step) is not None


def test_asking_often_keeps_few_readings() -> None:
    rates = Rates()
    for step in range(1000):
        rates.rate("/a", step, step * SECOND)
    assert len(rates._counters["/a"].readings) == KEPT


def test_a_counter_that_went_back_belongs_to_a_new_cgroup() -> None:
    rates = Rates()
    rates.rate("/a", 100, 0)
    assert rates.rate("/a", 50, 10 * SECOND) is None
    assert rates.rate("/a", 60, 20 * SECOND) == 1


def test_what_is_not_read_any_more_is_forgotten() -> None:
    rates = Rates()
    rates.rate("/a", 1, 0)
    rates.rate("/b", 1, 0)
    rates.forget_unseen()
    rates.rate("/a", 2, 2 * SECOND)
    rates.forget_unseen()
    assert len(rates) == 1
    assert rates.rate("/a", 4, 4 * SECOND) == 1
