"""Run the segmentation node in a process of its own, and drive its lifecycle."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import rclpy
import rclpy.client
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

import bisenet_ros
from bisenet_ros.errors import NodeError

NODE_NAME = "segmentation"
NODE_COMMAND = (sys.executable, "-m", "bisenet_ros.ros.segmentation_node")
"""Command line of the node with the interpreter and package of the caller: unlike
lib/bisenet_ros/segmentation_node it needs no sourced overlay and works in a pip install."""

START_TIMEOUT_S = 60.0
RESEND_S = 2.0
STOP_PATIENCE_S = 5.0
POLL_S = 0.1

ParameterValue: TypeAlias = bool | int | float | str | Sequence[str]


class NodeProcess:
    """A node's process, for the duration of a ``with`` block; its output goes to a file."""

    def __init__(
        self,
        log: Path,
        *,
        name: str = NODE_NAME,
        namespace: str = "/",
        parameters: Mapping[str, ParameterValue] | None = None,
        ros_arguments: Sequence[str] = (),
        command: Sequence[str] = NODE_COMMAND,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the process.

        Args:
            log: file for the node's output, in an existing folder.
            name: of the node, as its executable names it.
            namespace: absolute, such as ``/robot``.
            parameters: set by ``-p``.
            ros_arguments: further arguments after ``--ros-args``.
            command: the node's executable and its own arguments.
            environ: variables added to those of this process.
        """
        self.log = log
        self.name = f"{namespace.rstrip('/')}/{name}"
        self._arguments = [*command, "--ros-args", "-r", f"__ns:={namespace}", *ros_arguments]
        for key, value in (parameters or {}).items():
            # Parameters are YAML, a superset of JSON: "0" and "640x480" remain strings.
            self._arguments += ["-p", f"{key}:={json.dumps(value)}"]
        package = str(Path(bisenet_ros.__file__).parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            # The format that ``cause`` parses.
            "RCUTILS_CONSOLE_OUTPUT_FORMAT": "[{severity}] [{time}] [{name}]: {message}",
            "RCUTILS_COLORIZED_OUTPUT": "0",
            **(environ or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "NodeProcess":
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._arguments,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal must not reach the node: ``stop`` sends it SIGINT.
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._started.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None while the process runs."""
        return self._started.poll()

    def stop(self) -> int:
        """End the process by SIGINT and, after ``STOP_PATIENCE_S``, by SIGKILL.

        Returns:
            The exit status, as ``returncode``.
        """
        process = self._started
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            return process.wait(STOP_PATIENCE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            return process.wait()

    def check_running(self) -> None:
        """Raise ``NodeError`` if the process has ended."""
        if self.returncode is not None:
            raise NodeError(
                f"the node ended with status {self.returncode}: {self.cause()} (log: {self.log})"
            )

    def cause(self) -> str:
        """Return the log's last error line, or its last line without one."""
        lines = self._lines()
        errors = [line for line in lines if re.match(r"\[(ERROR|FATAL)\]", line)]
        last = (errors or [line for line in lines if line.strip()] or ["it printed nothing"])[-1]
        return re.sub(r"^(\[[^\]]*\] ?){3}: ", "", last)

    def log_tail(self) -> str:
        """Return the last ten lines of the log."""
        return "\n".join(self._lines()[-10:])

    def _lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()

    @property
    def _started(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "use it in a `with` block"
        return self._process


@contextmanager
def client_node(
    name: str, namespace: str, process: NodeProcess
) -> Iterator[tuple[Node, "Lifecycle"]]:
    """Yield a ROS node that drives ``process``, in a context of its own, and its ``Lifecycle``.

    Its callbacks run in ``Lifecycle.spin_until`` only. Ctrl-C remains a KeyboardInterrupt, so that
    the process can be stopped in order.
    """
    with ExitStack() as undo:
        context = rclpy.Context()
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        undo.callback(context.try_shutdown)
        node = Node(name, namespace=namespace, context=context)
        undo.callback(node.destroy_node)
        executor = SingleThreadedExecutor(context=context)
        undo.callback(executor.shutdown)
        executor.add_node(node)
        yield node, Lifecycle(process, node, executor)


class Lifecycle:
    """Requests transitions of a ``NodeProcess``, and spins the caller's executor meanwhile."""

    def __init__(self, process: NodeProcess, node: Node, executor: Executor) -> None:
        """Create clients on ``node``, which is in ``executor``; nobody else may spin that."""
        self.process = process
        self._executor = executor
        self._change = node.create_client(ChangeState, f"{process.name}/change_state")
        # Last: DDS announces them in this order, so a node that answers this one knows the other.
        self._get = node.create_client(GetState, f"{process.name}/get_state")

    def start(self, timeout_s: float) -> None:
        """Configure and activate.

        Raises:
            NodeError: see ``change``.
        """
        self.change(Transition.TRANSITION_CONFIGURE, timeout_s)
        self.change(Transition.TRANSITION_ACTIVATE, timeout_s)

    def change(self, transition: int, timeout_s: float) -> None:
        """Request a transition, by its id in ``lifecycle_msgs/Transition``.

        Raises:
            NodeError: the node refused or failed, ended, or took longer than ``timeout_s``.
        """
        self.state()
        request = ChangeState.Request(transition=Transition(id=transition))
        response = self._call(self._change, request, timeout_s)
        if not response.success:
            action = _ACTIONS.get(transition, f"make transition {transition}")
            cause = self.process.cause().removeprefix(f"cannot {action}: ")
            raise NodeError(f"the node cannot {action}: {cause} (log: {self.process.log})")

    def state(self, timeout_s: float = 10.0) -> int:
        """Return the id of the node's state, as in ``lifecycle_msgs/State``.

        The request is repeated: rmw_fastrtps drops the response to a client that the node has not
        discovered within 100 ms.

        Raises:
            NodeError: the node ended, or did not answer.
        """
        response = self._call(self._get, GetState.Request(), timeout_s, resend_s=RESEND_S)
        state: int = response.current_state.id
        return state

    def spin_until(
        self, condition: Callable[[], bool], timeout_s: float, poll_s: float = POLL_S
    ) -> bool:
        """Spin until ``condition`` holds; return False if it does not within ``timeout_s``.

        ``condition`` is evaluated after each callback, and at least every ``poll_s`` seconds.

        Raises:
            NodeError: the process has ended.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.process.check_running()
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(left, poll_s))
        return True

    def _call(
        self,
        client: "rclpy.client.Client",
        request: Any,
        timeout_s: float,
        resend_s: float = math.inf,
    ) -> Any:
        if not self.spin_until(client.service_is_ready, START_TIMEOUT_S):
            raise NodeError(
                f"no service {client.srv_name} after {START_TIMEOUT_S:.0f} s: "
                f"{self.process.cause()} (log: {self.process.log})"
            )
        futures: list[Future] = []
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            futures.append(client.call_async(request))
            if self.spin_until(lambda: any(f.done() for f in futures), min(left, resend_s)):
                return next(future for future in futures if future.done()).result()
        raise NodeError(
            f"no answer from {client.srv_name} in {timeout_s:.0f} s (log: {self.process.log})"
        )


_ACTIONS = {
    Transition.TRANSITION_CONFIGURE: "configure",
    Transition.TRANSITION_ACTIVATE: "activate",
    Transition.TRANSITION_DEACTIVATE: "deactivate",
    Transition.TRANSITION_CLEANUP: "clean up",
}
