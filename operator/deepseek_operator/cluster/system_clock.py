"""The real clock."""

from datetime import UTC, datetime


class SystemClock:
    """See `interface.Clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)
