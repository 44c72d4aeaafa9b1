"""Background work: a call in a thread of its own, whose result the driver takes later."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Background(Generic[Result]):
    """Begins a call at once; it waits for remote processes while the driver works.

    A process that ends does not wait for the thread.

    Args:
        work: The call. While it runs, nobody else uses the env runners that it uses.
        name: Name of the thread.

    Attributes:
        seconds: How long the call took; 0 until it is done.
        waited: How long `result` waited for it.
    """

    def __init__(self, work: Callable[[], Result], name: str):
        self.seconds = self.waited = 0.0
        self._work = work
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether `result` would not wait."""
        return self._done.is_set()

    def wait(self) -> None:
        """Waits for the end of the call, which may be an error."""
        started = time.perf_counter()
        self._done.wait()
        self.waited += time.perf_counter() - started

    def result(self) -> Result:
        """Waits for the call.

        Returns:
            What it returned.

        Raises:
            BaseException: What it raised.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        started = time.perf_counter()
        try:
            self._results.append(self._work())
        except BaseException as error:  # For the thread that waits.
            self._error = error
        self.seconds = time.perf_counter() - started
        self._done.set()
