"""Turn Ctrl-C and a polite kill into a request to save and stop."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """A context manager that notes SIGINT and SIGTERM instead of dying of them.

    The step in progress is finished and saved. A second signal acts as usual. Outside the
    main thread, where Python allows no handlers, signals act as usual from the start.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    @property
    def asked(self) -> bool:
        """Whether a signal was noted."""
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
