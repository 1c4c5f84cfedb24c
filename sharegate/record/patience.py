"""How long something may take, where many do it at once: one timer for all of them."""

import asyncio
from collections import deque
from types import TracebackType


class Patience:
    """As ``asyncio.timeout`` with always as many seconds, but without a timer for each.

    To set and to clear one was a thirtieth of all that an exchange costs. What began first has to
    end first, so the one timer there is waits for the oldest that is still going on.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._bounds: deque[_Bound] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> "_Bound":
        """Bound what is done in the context; it raises TimeoutError where that takes too long."""
        return _Bound(self)

    def begin(self, bound: "_Bound") -> None:
        """Watch over one more."""
        loop = asyncio.get_running_loop()
        bound.until = loop.time() + self._seconds
        self._bounds.append(bound)
        if self._timer is None:
            self._timer = loop.call_at(bound.until, self._look)

    def end(self) -> None:
        """Forget the oldest as far as they have ended."""
        bounds = self._bounds
        while bounds and bounds[0].task is None:
            bounds.popleft()

    def _look(self) -> None:
        """Cut short what has lasted too long; look again when the next one will have."""
        loop, bounds = asyncio.get_running_loop(), self._bounds
        self._timer = None
        self.end()
        while bounds and bounds[0].until <= loop.time():
            bounds.popleft().cut_short()
            self.end()
        if bounds:
            self._timer = loop.call_at(bounds[0].until, self._look)


class _Bound:
    """One thing that is going on."""

    __slots__ = ("_asked", "_over", "_patience", "task", "until")
    until: float
    task: asyncio.Task[object] | None

    def __init__(self, patience: Patience) -> None:
        self._patience = patience

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._asked = task.cancelling()
        self._over = False
        self._patience.begin(self)

    def cut_short(self) -> None:
        """It has lasted too long."""
        assert self.task is not None
        self._over = True
        self.task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        task, self.task = self.task, None
        self._patience.end()
        assert task is not None
        # Who else cancelled this task meanwhile is not told that it merely took too long.
        if self._over and task.uncancel() <= self._asked and kind is asyncio.CancelledError:
            raise TimeoutError from error
