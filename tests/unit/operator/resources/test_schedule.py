"""Times of cron expressions."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deepseek_operator.resources.schedule import InvalidSchedule, last_time, next_time

SCHEDULES = st.sampled_from(["* * * * *", "0 3 * * *", "*/15 8-18 * * 1-5", "30 4 1 * *", "0 0 29 2 *"])
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)).map(lambda each: each.replace(tzinfo=UTC))


@given(SCHEDULES, MOMENTS)
@example("* * * * *", datetime(2020, 1, 1, 0, 0, 59, 1, tzinfo=UTC))  # a fraction before the next minute
def test_no_time_lies_between_the_last_and_the_next(schedule, moment) -> None:
    last, following = last_time(schedule, until=moment), next_time(schedule, after=moment)
    assert last <= moment < following
    assert next_time(schedule, after=last) == following
    assert last_time(schedule, until=following) == following


def test_times_are_of_utc() -> None:
    east = datetime.fromisoformat("2026-11-23T02:30:00+05:00")
    assert next_time("0 3 * * *", after=east) == datetime(2026, 11, 22, 21, 30, tzinfo=UTC) + timedelta(
        hours=5.5
    )


@pytest.mark.parametrize("schedule", ["61 * * * *", "0 0 30 2 *", "every day at noon please"])
def test_what_is_no_schedule_is_refused_by_its_own_words(schedule) -> None:
    with pytest.raises(InvalidSchedule, match=schedule.split(maxsplit=1)[0].replace("*", r"\*")):
        next_time(schedule, after=datetime(2026, 1, 1, tzinfo=UTC))
