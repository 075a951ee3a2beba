"""A lifecycle node whose transitions run on a worker thread, and whose failures are logged.

rclpy runs transitions on the executor's thread, so a node that loads an engine answers no service
meanwhile, and reduces an exception in a transition to an error code.
"""

import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any, NoReturn, TypeVar

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.task import Future as Answer

from bisenet_ros.errors import EXPECTED, describe, describe_bug, quoted
from bisenet_ros.ros.manager_bond import ManagerBond, form_bond
from bisenet_ros.ros.worker import Worker

T = TypeVar("T")

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR

FRAME_PATIENCE_S = 2.5
"""Time that a transition waits for the frame under way before it is refused."""

_TRANSITIONS = {
    Transition.TRANSITION_CONFIGURE: "configure",
    Transition.TRANSITION_CLEANUP: "clean up",
    Transition.TRANSITION_ACTIVATE: "activate",
    Transition.TRANSITION_DEACTIVATE: "deactivate",
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: "shut down",
    Transition.TRANSITION_INACTIVE_SHUTDOWN: "shut down",
    Transition.TRANSITION_ACTIVE_SHUTDOWN: "shut down",
}


class ManagedNode(LifecycleNodeMixin, Node):
    """Base of nodes that implement ``configure``, ``activate``, ``deactivate`` and ``cleanup``.

    Each of them runs on ``worker``. UserError and OSError are user errors: the transition fails and
    can be tried again. Anything else is a bug: its traceback is logged, the transition ends in
    ERROR, and the node releases everything and is unconfigured. ``deactivate`` and ``cleanup`` must
    be idempotent, and destroy entities of the node through ``call_on_executor``.

    A transition that is requested waits for the one under way, however long that takes, but for a
    frame no longer than ``FRAME_PATIENCE_S``: then it is refused.

    While it is active, the node has a bond to Nav2's lifecycle manager, where bondpy is installed.
    It must have the parameters ``autostart`` and that of ``heartbeat_period_field``.
    """

    def __init__(self, name: str, worker: Worker[Any]) -> None:
        Node.__init__(self, name)
        # A group of its own, so that get_state is answered while a transition is under way.
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self.worker = worker
        self.failure = ""
        """Error of the latest transition; empty after a success."""
        self._bond: ManagerBond | None = None
        service = self._service_change_state
        self._rclpy_change_state: Callable[[Any, Any], Any] = service.callback
        service.callback = self._change_state  # type: ignore[assignment]  # may be a coroutine
        self._calls: deque[Callable[[], None]] = deque()
        self._calls_waiting = self.create_guard_condition(self._run_calls)

    def destroy_node(self) -> None:
        """Leave the ROS graph now rather than when liveliness expires.

        rclpy does not destroy the state machine, which keeps the DDS participant alive.
        """
        self._close_bond()
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def configure(self) -> None:
        """Load resources and create publishers."""
        raise NotImplementedError

    def activate(self) -> None:
        """Subscribe and start processing."""
        raise NotImplementedError

    def deactivate(self) -> None:
        """Release what ``activate`` acquired."""
        raise NotImplementedError

    def cleanup(self) -> None:
        """Release what ``configure`` acquired."""
        raise NotImplementedError

    def start(self) -> None:
        """Configure, and activate if that succeeds."""
        self.run_on_worker(lambda: self.trigger_configure() == SUCCESS and self.trigger_activate())

    def start_or_wait(self) -> None:
        """Start if parameter ``autostart`` is true, else log that transitions are awaited."""
        if self.get_parameter("autostart").value:
            self.start()
        else:
            self.get_logger().info(
                "unconfigured: waiting for the transitions configure and activate; with "
                "'--ros-args -p autostart:=true' the node makes them itself"
            )

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``configure``; after a failure release what it acquired."""
        return self._transition("configure", self.configure, undo=self.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``activate``; after a failure release what it acquired."""
        return self._transition("activate", self._activate, undo=self._deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``deactivate``."""
        return self._transition("deactivate", self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``cleanup``."""
        return self._transition("clean up", self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        return self._transition("shut down", self.release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything; the node is unconfigured then and can be configured again."""
        return self._attempt("release after an error", self.release)

    def release(self) -> None:
        """Release everything, from any state."""
        self._deactivate()
        self.cleanup()

    def _activate(self) -> None:
        self.activate()
        self._bond = form_bond(self)

    def _deactivate(self) -> None:
        if self._bond is not None:
            self._bond.break_bond()
            self.call_on_executor(self._close_bond)
        self.deactivate()

    def _close_bond(self) -> None:
        bond, self._bond = self._bond, None
        if bond is not None:
            bond.close()

    def run_on_worker(self, job: Callable[[], Any]) -> Future[Any]:
        """Run ``job`` on ``worker`` without waiting for it, and log what it raises."""
        future = self.worker.submit(job)
        future.add_done_callback(self._log_failure)
        return future

    def _log_failure(self, future: Future[Any]) -> None:
        error = future.exception()
        if error is not None and self.context.ok():
            self.get_logger().error(describe_bug(error))

    def run_aside(self, job: Callable[[], T]) -> Future[T]:
        """Run ``job`` on a thread of its own, while frames go on.

        It is a daemon, for the reason of the worker's.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(job())
            except Exception as error:
                future.set_exception(error)

        Thread(target=run, name="aside", daemon=True).start()
        return future

    async def until_done(self, job: Future[Any]) -> None:
        """Wait for ``job`` in a coroutine, such as the callback of a service."""
        # rclpy looks at a waiting coroutine only when something else wakes the executor.
        done = Answer()
        job.add_done_callback(lambda _: self._call_soon(lambda: done.set_result(None)))
        await done

    def call_on_executor(self, call: Callable[[], None]) -> None:
        """Run ``call`` on the executor's thread and wait until it is done.

        Publishers, subscriptions and timers must be destroyed there: the executor raises
        InvalidHandle if one disappears while it builds its wait set.
        """
        done: Future[None] = Future()

        def run() -> None:
            try:
                call()
                done.set_result(None)
            except Exception as error:
                done.set_exception(error)

        self._call_soon(run)
        while wait((done,), timeout=0.2).not_done:
            if not self.context.ok():
                return  # nothing spins any more: the process is ending
        done.result()

    def _call_soon(self, call: Callable[[], None]) -> None:
        self._calls.append(call)
        self._calls_waiting.trigger()

    def _run_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def _transition(
        self, what: str, action: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        self.failure = ""
        return self._attempt(what, action, undo)

    def _attempt(
        self, what: str, action: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        try:
            action()
        except Exception as error:
            if not self.context.ok():
                return ERROR  # the process is ending, so nothing can be created
            usual = isinstance(error, EXPECTED)
            reason = f"cannot {what}: {describe(error)}"
            self.failure = self.failure or reason
            self.get_logger().error(reason if usual else f"cannot {what}: {describe_bug(error)}")
            if not usual:
                return ERROR
            undone = undo is None or self._attempt(f"undo '{what}'", undo) == SUCCESS
            return FAILURE if undone else ERROR
        return SUCCESS

    async def _change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        job = self.worker.submit(lambda: self._make_transition(request, response))
        patience = self.create_timer(
            FRAME_PATIENCE_S,
            lambda: self.worker.is_processing and job.cancel(),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        await self.until_done(job)
        self.destroy_timer(patience)
        name = _transition_name(request.transition)
        if job.cancelled():
            self.get_logger().error(
                f"cannot {name} now: a frame has been under way for more than "
                f"{FRAME_PATIENCE_S:g} s; try again, and lower 'resolution' or 'max_image_pixels' "
                "if it happens often"
            )
            response.success = False
            return response
        try:
            return job.result()
        except Exception as error:  # rclpy's own, since ours are dealt with in ``_attempt``
            self.get_logger().error(f"cannot {name}: {describe(error)}")
            response.success = False
            return response

    def _make_transition(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        wanted = request.transition
        available = self._state_machine.available_transitions  # id, label, ...
        if any(
            label == wanted.label if wanted.label else number == wanted.id
            for number, label, *_ in available
        ):
            return self._rclpy_change_state(request, response)
        possible = " and ".join(label for _, label, *_ in available) or "none"
        self.get_logger().error(
            f"cannot {_transition_name(wanted)}: the node is "
            f"{self._state_machine.current_state[1]}, whose transitions are {possible}"
        )
        response.success = False
        return response


def _transition_name(transition: Transition) -> str:
    """Return the label, or that of the id."""
    if transition.label:
        return quoted(transition.label)
    return _TRANSITIONS.get(transition.id, f"make transition {transition.id}")


def _init(args: list[str] | None) -> None:
    try:
        rclpy.init(args=args)
    except RuntimeError as error:  # rclpy's C++ part raises several kinds
        sys.exit(
            f"cannot start: {describe(str(error))}: correct the ROS arguments, the parameter files "
            "and ROS_DOMAIN_ID"
        )


def _shut_down() -> bool:
    """Shut ROS down; return False if that was done before, or never initialized.

    A signal's handler does so on a thread of its own, perhaps at this moment, so a look at
    ``rclpy.ok`` first would not help.
    """
    try:
        rclpy.shutdown()
    except RuntimeError:
        return False
    return True


def run(make_node: Callable[[], ManagedNode], args: list[str] | None) -> NoReturn:
    """Spin a node until SIGINT or SIGTERM, and end the process.

    The exit status is 0 once there is a node, 130 before, and 1 if ROS cannot be initialized.

    Args:
        make_node: called after ``rclpy.init``.
        args: command line; None for that of the process.
    """
    node, idle = None, True
    try:
        _init(args)
        node = make_node()
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    except Exception:
        # A signal invalidates the context, which the executor reports by several exceptions.
        if rclpy.ok():
            raise
    finally:
        # What follows is short; a second ctrl-C must not interrupt it.
        signal.signal(signal.SIGINT, lambda *_: None)
        if node is not None:
            idle = node.worker.stop(timeout=1.0)
            node.destroy_node()
        if not _shut_down() and node is not None and idle:
            # rclpy does not flush its log file after a signal. A worker that is stuck could still
            # log, so leave the file alone then.
            rclpy_implementation.rclpy_logging_fini()
    # At once. The worker may be in a library call that nothing interrupts, such as loading an
    # engine, and Python takes long to unload PyTorch: both would exceed the time that launch waits
    # after ctrl-C.
    os._exit(130 if node is None else 0)
