"""Shapes of calls, from one small matrix to one large one, and many calls at once."""

import contextlib
import threading
import time

# In the first two the caller computes too; in the last two it only waits for its helpers.
SIZES = {
    "one small matrix": (5, 4),
    "many small matrices": (3000, 12, 10),
    "few large matrices": (3, 430, 420),
    "one large matrix": (400, 400),
}


def call_at_once(function, items, callers):
    """[function(item) for item in items], computed by many threads, none of which may hang."""
    found, waiting = {}, list(enumerate(items))

    def serve():
        with contextlib.suppress(IndexError):
            while True:
                index, item = waiting.pop()
                found[index] = function(item)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(callers)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
        assert not thread.is_alive()
    return [found[index] for index in range(len(items))]
