"""One thread for slow work: transitions and frames take turns, so neither needs locks."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Frame = TypeVar("Frame")


class Worker(Generic[Frame]):
    """Runs jobs in the order given, and between them ``process`` on the newest frame of each slot.

    Slots take turns: one that is filled waits behind those that were filled before it, and keeps
    its place when its frame is replaced. ``process`` gets the frames of up to ``batch_size`` slots,
    and does not wait for those that are empty.

    - ``batch_size``: 1 unless set.
    - ``is_processing``: whether frames are under way.

    The thread is a daemon: a library call that cannot be interrupted, such as loading an engine,
    must not keep the process alive after SIGINT.

    Args:
        process: called with the frames that are taken, at least one.
        failed: called with them and what ``process`` raises.
    """

    def __init__(
        self,
        process: Callable[[Sequence[Frame]], None],
        failed: Callable[[Sequence[Frame], Exception], None],
    ) -> None:
        self.batch_size = 1
        self.is_processing = False
        self._process = process
        self._failed = failed
        self._wake = threading.Condition()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._frames: dict[Hashable, Frame] = {}  # by slot, the first filled first
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Run ``job`` on the worker's thread and return the future of its result.

        A job that has not begun can be cancelled through its future.
        """
        future: Future[Any] = Future()
        with self._wake:
            self._jobs.append((job, future))
            self._wake.notify()
        return future

    def submit_latest(self, frame: Frame, slot: Hashable = None) -> bool:
        """Put ``frame`` into ``slot``; return whether it replaces a frame that waited there."""
        with self._wake:
            replaced = slot in self._frames
            self._frames[slot] = frame
            self._wake.notify()
        return replaced

    def replace_pending(self, frame: Frame, slot: Hashable = None) -> None:
        """Replace the frame that waits in ``slot`` by ``frame``; without one, drop ``frame``."""
        with self._wake:
            if slot in self._frames:
                self._frames[slot] = frame

    def discard_frames(self) -> None:
        """Empty all slots."""
        with self._wake:
            self._frames.clear()

    def stop(self, timeout: float) -> bool:
        """Stop after the current job; return whether the thread ended within ``timeout`` [s]."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._stopping or self._jobs or self._frames):
                    self._wake.wait()
                if self._stopping:
                    return
                job = self._jobs.popleft() if self._jobs else None
                if job is None:
                    slots = list(self._frames)[: self.batch_size]
                    frames = [self._frames.pop(slot) for slot in slots]
            if job is not None:
                call, future = job
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(call())
                except Exception as error:
                    future.set_exception(error)
            else:
                self.is_processing = True
                try:
                    self._process(frames)
                except Exception as error:
                    self._failed(frames, error)
                self.is_processing = False
                del frames  # images of all cameras, which nobody needs until the next


class RateLimit:
    """Limits the rate of frames.

    Args:
        clock: monotonic [s].
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due_s = -math.inf

    def allows_frame(self, rate: float) -> bool:
        """Return whether a frame that arrives now may be processed, and count it if so.

        Args:
            rate: limit [Hz]; 0 = unlimited.
        """
        now = self._clock()
        if not rate:
            return True
        due = self._due_s + 1 / rate
        if now < due:
            return False
        # Relative to the due time, not to now: frames arrive late, and the mean must be ``rate``.
        self._due_s = max(due, now - 0.5 / rate)
        return True
