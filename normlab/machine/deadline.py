"""A time limit for a call into somebody else's code."""

import threading
from collections.abc import Callable


def within(seconds: float, action: Callable[[], object]) -> None:
    """Do what may hang, for so long at most. Raises what it raises, or `TimeoutError`.

    An action that is too late goes on in its thread, which does not keep the process from ending.
    """
    failures: list[Exception] = []

    def attempt() -> None:
        try:
            action()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer for {seconds:g} s")
    if failures:
        raise failures[0]
