"""SIGINT and SIGTERM as a request to stop after the current step."""

import signal
import threading
from types import FrameType, TracebackType


class Interrupt:
    """While entered, the first signal is only noted in `signal`; a second Ctrl-C stops at once.

    Outside the main thread Python allows no handlers: there it stays None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "Interrupt":
        self._old = {}
        if threading.current_thread() is threading.main_thread():
            self._old = {
                number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
            }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
