"""The worker: the newest frame of each slot, in turns; jobs first; errors survived; rate limit."""

import threading
import weakref
from collections.abc import Iterator, Sequence

import pytest

pytest.importorskip("rclpy")

from fake_clock import FakeClock

from bisenet_ros.ros.worker import RateLimit, Worker

TIMEOUT_S = 20.0


class Probe:
    """A worker that records its frames and can be held up."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.errors: list[tuple[str, Exception]] = []
        self.batches: list[int] = []
        self.worker: Worker[str] = Worker(self._process, self._failed)

    def _process(self, frames: Sequence[str]) -> None:
        if "bad" in frames:
            raise ValueError("bad frame")
        self.frames.extend(frames)
        self.batches.append(len(frames))

    def _failed(self, frames: Sequence[str], error: Exception) -> None:
        self.errors += [(frame, error) for frame in frames]

    def hold(self) -> threading.Event:
        """Block the worker in a job until the returned event is set."""
        begun, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            begun.set()
            assert go_on.wait(TIMEOUT_S)

        self.worker.submit(wait)
        assert begun.wait(TIMEOUT_S)
        return go_on

    def settle(self) -> None:
        """Wait until the slots are empty and its frame is done."""
        while self.worker._frames:
            self.worker.submit(lambda: None).result(TIMEOUT_S)
        self.worker.submit(lambda: None).result(TIMEOUT_S)


@pytest.fixture
def probe() -> Iterator[Probe]:
    result = Probe()
    yield result
    assert result.worker.stop(TIMEOUT_S)


def test_only_the_newest_frame_is_kept(probe: Probe) -> None:
    go_on = probe.hold()
    assert [probe.worker.submit_latest(frame) for frame in ("a", "b", "c")] == [False, True, True]
    go_on.set()
    probe.settle()
    assert probe.frames == ["c"]
    assert probe.worker.submit_latest("d") is False


def test_a_pending_frame_is_replaced(probe: Probe) -> None:
    go_on = probe.hold()
    probe.worker.replace_pending("a")  # none waits
    probe.worker.submit_latest("b")
    probe.worker.replace_pending("c")
    go_on.set()
    probe.settle()
    assert probe.frames == ["c"]


def test_slots_take_turns_whatever_the_rate_of_each(probe: Probe) -> None:
    go_on = probe.hold()
    arrivals = ["front", "rear", "front", "front", "left", "front", "rear"]
    replaced = [probe.worker.submit_latest(f"{slot} {i}", slot) for i, slot in enumerate(arrivals)]
    assert replaced == [False, False, True, True, False, True, True]
    probe.worker.replace_pending("rear 7", "rear")
    probe.worker.replace_pending("right 8", "right")  # none waits
    go_on.set()
    probe.settle()
    assert probe.frames == ["front 5", "rear 7", "left 4"]


def test_slots_are_emptied_in_batches_that_do_not_wait_to_be_full(probe: Probe) -> None:
    go_on = probe.hold()
    probe.worker.batch_size = 2
    for slot in ("front", "rear", "left", "front"):
        probe.worker.submit_latest(slot, slot)
    go_on.set()
    probe.settle()
    assert (probe.frames, probe.batches) == (["front", "rear", "left"], [2, 1])


def test_frames_are_freed_once_processed() -> None:
    class Image:
        """Can be referred to weakly."""

    done = threading.Event()
    worker = Worker[Image](lambda frames: done.set(), lambda frames, error: None)
    image = Image()
    held = weakref.ref(image)
    worker.submit_latest(image)
    del image
    assert done.wait(TIMEOUT_S)
    worker.submit(lambda: None).result(TIMEOUT_S)  # after the frame
    assert held() is None
    assert worker.stop(TIMEOUT_S)


def test_jobs_run_in_order_and_before_a_frame_that_waits(probe: Probe) -> None:
    go_on = probe.hold()
    probe.worker.submit_latest("frame")
    for name in ("one", "two", "three"):
        probe.worker.submit(lambda name=name: probe.frames.append(name))
    go_on.set()
    probe.settle()
    assert probe.frames == ["one", "two", "three", "frame"]


def test_a_discarded_frame_is_not_processed(probe: Probe) -> None:
    go_on = probe.hold()
    probe.worker.submit_latest("a")
    probe.worker.discard_frames()
    assert probe.worker.submit_latest("b") is False
    go_on.set()
    probe.settle()
    assert probe.frames == ["b"]


def test_errors_are_reported_and_do_not_end_the_thread(probe: Probe) -> None:
    probe.worker.submit_latest("bad")
    probe.settle()
    assert [(frame, str(error)) for frame, error in probe.errors] == [("bad", "bad frame")]
    job = probe.worker.submit(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        job.result(TIMEOUT_S)
    assert probe.worker.submit(lambda: 42).result(TIMEOUT_S) == 42
    probe.worker.submit_latest("good")
    probe.settle()
    assert probe.frames == ["good"]


def test_a_job_that_has_not_begun_can_be_cancelled(probe: Probe) -> None:
    go_on = probe.hold()
    job = probe.worker.submit(lambda: probe.frames.append("cancelled"))
    assert job.cancel()
    go_on.set()
    probe.settle()
    assert probe.frames == []


def test_stop_runs_nothing_more_and_returns_whether_the_thread_ended() -> None:
    probe = Probe()
    go_on = probe.hold()
    probe.worker.submit_latest("a")
    late = probe.worker.submit(lambda: None)
    assert probe.worker.stop(timeout=0.01) is False
    go_on.set()
    assert probe.worker.stop(TIMEOUT_S) is True
    assert probe.frames == []
    assert not late.done()


def test_frames_that_come_late_still_have_the_rate_as_their_mean() -> None:
    clock = FakeClock()
    limit = RateLimit(clock)
    allowed = 0
    for _ in range(300):  # 10 s at 30 Hz
        allowed += limit.allows_frame(20.0)
        clock.now += 1 / 30
    assert allowed == pytest.approx(200, abs=1)
    assert limit.allows_frame(0.0)
    assert limit.allows_frame(0.0)


def test_after_a_pause_at_most_one_frame_is_ahead_of_time() -> None:
    clock = FakeClock()
    limit = RateLimit(clock)
    assert limit.allows_frame(1.0)
    clock.now += 60.0
    allowed = 0
    for _ in range(20):  # 2 s
        allowed += limit.allows_frame(1.0)
        clock.now += 0.1
    assert allowed == 3  # at 0, 0.5 and 1.5 s
