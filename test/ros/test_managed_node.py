"""Managed nodes: jobs that fail, kinds of errors, and transitions behind a frame."""

from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from threading import Event

import pytest

pytest.importorskip("rclpy")

import rclpy
from error_kinds import USER_ERRORS
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import TransitionCallbackReturn

from bisenet_ros.ros.managed_node import ERROR, FAILURE, ManagedNode
from bisenet_ros.ros.worker import Worker


def test_the_failure_of_a_job_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    rclpy.init()
    worker = Worker[None](lambda frames: None, lambda frames, error: None)
    node = ManagedNode("managed", worker)
    wait([node.run_on_worker(lambda: 1 / 0)])
    assert worker.stop(timeout=60)  # so the failure is logged, too
    node.destroy_node()
    rclpy.shutdown()
    told = capfd.readouterr().err
    assert "[ERROR]" in told
    assert "ZeroDivisionError: division by zero" in told


class Failing(ManagedNode):
    """Raises ``error`` in configure."""

    def __init__(self, error: Exception) -> None:
        super().__init__("failing", Worker[None](lambda frames: None, lambda frames, error: None))
        self.error = error

    def configure(self) -> None:
        raise self.error

    def deactivate(self) -> None:
        pass

    def cleanup(self) -> None:
        pass


@pytest.fixture
def context() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.shutdown()


def configure(error: Exception) -> tuple[TransitionCallbackReturn, str]:
    node = Failing(error)
    result = node.trigger_configure()
    node.worker.stop(timeout=60)
    node.destroy_node()
    return result, node.failure


@pytest.mark.parametrize(
    "error", [*(kind("set it to 1") for kind in USER_ERRORS), OSError("set it to 1")], ids=repr
)
def test_what_a_user_can_fix_fails_the_transition_in_one_sentence(
    context: None, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert configure(error) == (FAILURE, "cannot configure: set it to 1")
    told = capfd.readouterr().err
    assert told.endswith("cannot configure: set it to 1\n")
    assert "Traceback" not in told


@pytest.mark.parametrize("error", [ValueError("shapes"), KeyError("shapes")], ids=repr)
def test_a_bug_is_an_error_transition_with_its_traceback(
    context: None, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    result, failure = configure(error)
    assert result == ERROR
    assert failure == f"cannot configure: {error}"
    told = capfd.readouterr().err
    assert "Traceback (most recent call last)" in told
    assert f"{type(error).__name__}: {error}" in told


class Frames(ManagedNode):
    """A node whose frames take until ``done`` is set, and whose transitions do nothing."""

    def __init__(self, done: Event) -> None:
        self.begun = Event()
        super().__init__("frames", Worker[str](self._process, lambda frames, error: None))
        self._done = done

    def _process(self, frames: Sequence[str]) -> None:
        self.begun.set()
        assert self._done.wait(60)

    def configure(self) -> None:
        pass

    def cleanup(self) -> None:
        pass

    def deactivate(self) -> None:
        pass


def test_a_long_frame_does_not_hold_up_a_transition(
    context: None, capfd: pytest.CaptureFixture[str]
) -> None:
    done = Event()
    node = Frames(done)
    client = node.create_client(ChangeState, "frames/change_state")
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))

    def change() -> bool:
        assert client.wait_for_service(60)
        answer = client.call_async(request)
        rclpy.spin_until_future_complete(node, answer, timeout_sec=60)
        return answer.result().success

    node.worker.submit_latest("frame")
    assert node.begun.wait(60)
    assert not change()
    assert "cannot configure now: a frame has been under way for more than 2.5 s" in (
        capfd.readouterr().err
    )
    done.set()
    assert change()
    assert node.worker.stop(timeout=60)
    node.destroy_node()
