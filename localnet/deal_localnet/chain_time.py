"""The time that blocks are stamped with: the host's, or ahead of it for a chain that was sent forward."""

from collections.abc import Callable


class ChainTime:
    """Reads a wall clock and adds what the chain was sent ahead; it never goes back."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self.ahead_seconds = 0.0

    def now(self) -> float:
        """Return the chain's time in seconds since 1970."""
        return self._wall_clock() + self.ahead_seconds

    def advance(self, seconds: float) -> None:
        """Send the chain ahead.

        Args:
            seconds: how far, at least 0.

        Raises:
            ValueError: for a time that lies behind.
        """
        if not seconds >= 0:
            raise ValueError("a chain's time never goes back")
        self.ahead_seconds += seconds

    def not_before(self, seconds_since_1970: float) -> None:
        """Go on from a time that the chain has reached before, whatever the host's clock says now."""
        self.ahead_seconds = max(self.ahead_seconds, seconds_since_1970 - self._wall_clock())
