"""Times of a cron expression, in UTC. Pure."""

from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError


class InvalidSchedule(ValueError):
    """No cron expression, or one that no day matches; in words."""


def next_time(schedule: str, *, after: datetime) -> datetime:
    """Raises InvalidSchedule."""
    return _first(schedule, after, reverse=False)


def last_time(schedule: str, *, until: datetime) -> datetime:
    """The newest time that is not later than `until`. Raises InvalidSchedule."""
    return _first(schedule, until.replace(microsecond=0) + timedelta(seconds=1), reverse=True)


def _first(schedule: str, moment: datetime, *, reverse: bool) -> datetime:
    try:
        found = next(CronSim(schedule, moment.astimezone(UTC), reverse=reverse), None)
    except CronSimError as error:
        raise InvalidSchedule(f"{schedule!r}: {error}") from error
    if found is None:
        raise InvalidSchedule(f"{schedule!r}: matches no day of the next fifty years")
    return found
