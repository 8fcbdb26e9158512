"""The number of CPU threads with which a step is fastest, found by trying."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Tuner:
    """Tries a few numbers of threads for some steps each, keeps the fastest, and tries again later.

    More threads are faster on an idle machine. Beside other work they are not: the threads of a
    convolution's backward pass wait for each other by spinning, and when one of two was not
    running, a step took five times as long as with a single thread.
    """

    def __init__(
        self, numbers: Sequence[int], use: Callable[[int], None], *, every_seconds: float = 120.0
    ) -> None:
        """Start trying.

        Args:
            numbers: Numbers of threads; the first is used if there is no other.
            use: Called with the number to use from now on.
            every_seconds: Time of training after which it tries again.
        """
        self._numbers = list(dict.fromkeys(numbers))
        self._use = use
        self._every = every_seconds
        self._since = 0.0
        self._trial: list[tuple[int, float]] = []
        self._plan: list[int] = []
        self._begin()

    def step(self, seconds: float) -> None:
        """Record how long a step took; this may change the number for the next."""
        if not self._plan:
            self._since += seconds
            if self._since >= self._every:
                self._begin()
            return
        self._trial.append((self._plan.pop(0), seconds))
        if self._plan:
            self._use(self._plan[0])
            return
        # The first step with a number does not count: it allocates and chooses its kernels.
        measured = {
            number: [t for n, t in self._trial if n == number][1:] for number in self._numbers
        }
        self._use(min(self._numbers, key=lambda number: min(measured[number])))
        self._since = 0.0

    def _begin(self) -> None:
        self._trial = []
        self._plan = (
            [number for number in self._numbers for _ in range(3)] if len(self._numbers) > 1 else []
        )
        self._use(self._numbers[0])


def choices(most: int) -> tuple[int, ...]:
    """Numbers of threads worth trying on a machine with this many cores: all, and half of them."""
    return (most, most // 2) if most > 1 else (1,)
