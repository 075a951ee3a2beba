"""The node under test as a process, and a ROS node of the test's own beside it."""

import os
import re
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from bisenet_ros.msg import SegmentationStats
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from bisenet_ros.errors import NodeError
from bisenet_ros.ros.image_messages import image_message
from bisenet_ros.ros.node_process import NODE_COMMAND, Lifecycle, NodeProcess

CONFIGURE = Transition.TRANSITION_CONFIGURE
CLEANUP = Transition.TRANSITION_CLEANUP
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
SHUTDOWN = {
    "unconfigured": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    "inactive": Transition.TRANSITION_INACTIVE_SHUTDOWN,
    "active": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}

SERVICES: dict[Any, str] = {
    ChangeState: "change_state",
    SetParameters: "set_parameters",
    SetParametersAtomically: "set_parameters_atomically",
    GetParameters: "get_parameters",
    DescribeParameters: "describe_parameters",
    GetState: "get_state",
}
"""Those of a managed node."""

TIMEOUT_S = 60.0
"""Generous: what takes longer never happens."""

DEFAULTS = {
    "classes": "",
    "backend": "auto",
    "device": "cpu",
    "precision": "fp32",
    "threads": 0,
    "engine_cache": "",
    "resolution": "",
    "label_size": "input",
    "cameras": [""],
    "batch_cameras": False,
    "fit": "stretch",
    "roi": [0, 0, 0, 0],
    "ignore_mask": "",
    "max_age": 0.0,
    "lazy": False,
    "input_transport": "raw",
    "outputs": ["label", "overlay", "color"],
    "max_rate": 0.0,
    "max_image_pixels": 67108864,
    "bit_depth": 16,
    "overlay_alpha": 0.5,
    "confidence_threshold": 0.0,
    "image_qos.reliability": "reliable",
    "image_qos.durability": "volatile",
    "image_qos.depth": 100,
    "output_qos.reliability": "reliable",
    "output_qos.durability": "volatile",
    "output_qos.depth": 2,
    "bond_heartbeat_period": 0.1,
}
"""Those of the node, except device and precision, which depend on the machine, the QoS of images:
best effort loses what is sent during discovery, and lazy: a camera waits for the subscription."""


class Bench:
    """Drives the process of one node; every wait has a condition and a deadline."""

    services = SERVICES | {SetBool: "enable", Trigger: "reload"}

    def __init__(self, process: NodeProcess, model: Path) -> None:
        self.process = process
        self._model = str(model)
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("bench", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._entities: list[Callable[[], object]] = []
        # One client each, since only requests of the same client arrive in order.
        self._clients = {
            kind: self.node.create_client(kind, f"{process.name}/{name}")
            for kind, name in self.services.items()
        }
        # Created last, so a node that answers its clients has discovered ours.
        self._lifecycle = Lifecycle(process, self.node, self._executor)
        self._met = False
        self._log_start = 0

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def reset(self) -> None:
        """Unconfigure the node, set ``DEFAULTS`` and the tiny model, and remove our entities."""
        self.forget()
        for state, transition in (("active", DEACTIVATE), ("inactive", CLEANUP)):
            if self.state() == state:
                assert self.change(transition)
        self.set({"model": self._model} | DEFAULTS)
        self._log_start = len(self.process.log.read_text())

    # Waiting.

    def spin_until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            self.process.check_running()
            assert time.monotonic() < deadline, f"not in {TIMEOUT_S} s: {what}\n{self._stacks()}"
            self._executor.spin_once(timeout_sec=0.02)

    def _stacks(self) -> str:
        """Abort the node, and return its log with the stack of each thread."""
        if self.process.returncode is None:
            ended = os.pidfd_open(self.process.pid)
            os.kill(self.process.pid, signal.SIGABRT)
            select.select([ended], [], [], TIMEOUT_S)
            os.close(ended)
        return self.log()

    def log(self) -> str:
        """Return the node's log since ``reset``."""
        return self.process.log.read_text()[self._log_start :]

    def wait_for_log(self, pattern: str) -> str:
        """Wait for a log line that matches ``pattern`` and return it."""
        self.spin_until(lambda: re.search(pattern, self.log()), f"the log says '{pattern}'")
        return next(line for line in self.log().splitlines() if re.search(pattern, line))

    # Services.

    def request(self, kind: Any, request: Any) -> Future:
        self._meet()
        return self._clients[kind].call_async(request)

    def call(self, kind: Any, request: Any) -> Any:
        answer = self.request(kind, request)
        self.spin_until(answer.done, f"answer from {self.services[kind]}")
        return answer.result()

    def _meet(self) -> None:
        """Wait until the node, which drops responses to unknown clients, has discovered ours."""
        if self._met:
            return
        for kind, client in self._clients.items():
            self.spin_until(client.service_is_ready, f"service {self.services[kind]}")
        try:
            self._lifecycle.state(TIMEOUT_S)
        except NodeError as error:
            raise AssertionError(f"{error}\n{self._stacks()}") from error
        self._met = True

    def request_change(self, transition: int) -> Future:
        message = ChangeState.Request(transition=Transition(id=transition))
        return self.request(ChangeState, message)

    def change(self, transition: int) -> bool:
        answer = self.request_change(transition)
        self.spin_until(answer.done, f"answer to transition {transition}")
        return answer.result().success

    def start(self, parameters: Mapping[str, Any] | None = None) -> None:
        """Set, configure and activate."""
        self.set(parameters or {})
        assert self.change(CONFIGURE), self.log()
        assert self.change(ACTIVATE), self.log()

    def state(self) -> str:
        return self.call(GetState, GetState.Request()).current_state.label

    def try_set(self, name: str, value: Any) -> SetParametersResult:
        parameters = [Parameter(name, value=value).to_parameter_msg()]
        request = SetParameters.Request(parameters=parameters)
        return self.call(SetParameters, request).results[0]

    def set(self, parameters: Mapping[str, Any]) -> None:
        messages = [Parameter(name, value=v).to_parameter_msg() for name, v in parameters.items()]
        request = SetParameters.Request(parameters=messages)
        for result in self.call(SetParameters, request).results:
            assert result.successful, result.reason

    def get(self, names: Sequence[str]) -> dict[str, Any]:
        answer = self.call(GetParameters, GetParameters.Request(names=names))
        values = map(parameter_value_to_python, answer.values)
        return dict(zip(names, values, strict=True))

    def describe(self, names: Sequence[str]) -> dict[str, Any]:
        request = DescribeParameters.Request(names=names)
        answer = self.call(DescribeParameters, request)
        return {descriptor.name: descriptor for descriptor in answer.descriptors}

    # Topics.

    def topic(self, name: str) -> str:
        """Return the absolute name of the node's ``~/name``."""
        return f"{self.process.name}/{name}"

    def publishers(self, name: str) -> list[Any]:
        return self.node.get_publishers_info_by_topic(self.topic(name))

    def listen(
        self, kind: Any, name: str, *, latched: bool = False, call: Callable[[Any], None] = id
    ) -> list[Any]:
        """Subscribe to the node's ``~/name`` and return the growing list of messages.

        To be called before ``camera``: the node discovers the two in this order, and publishes
        only images that have a subscriber.
        """
        heard: list[Any] = []

        def receive(message: Any) -> None:
            heard.append(message)
            call(message)

        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=200, durability=durability, reliability=ReliabilityPolicy.RELIABLE)
        subscription = self.node.create_subscription(kind, self.topic(name), receive, qos)
        self._entities.append(lambda: self.node.destroy_subscription(subscription))
        self.spin_until(lambda: self.publishers(name), f"a publisher of {name}")
        return heard

    def diagnostics(self) -> list[DiagnosticArray]:
        """Subscribe to /diagnostics and return the growing list of messages."""
        heard: list[DiagnosticArray] = []
        listener = self.node.create_subscription(
            DiagnosticArray, "/diagnostics", heard.append, QoSProfile(depth=10)
        )
        self._entities.append(lambda: self.node.destroy_subscription(listener))
        return heard

    def forget(self) -> None:
        """Remove our publishers and subscriptions."""
        while self._entities:
            self._entities.pop()()

    def camera(self, topic: str = "/image", kind: Any = Image) -> Any:
        """Return a publisher that is matched with the node."""
        publisher = self.node.create_publisher(kind, topic, QoSProfile(depth=200))
        self._entities.append(lambda: self.node.destroy_publisher(publisher))
        self.spin_until(
            lambda: self.node.count_subscribers(topic) and publisher.get_subscription_count(),
            f"the node listens to {topic}",
        )
        return publisher

    def stats_when(self, condition: Callable[[SegmentationStats], bool]) -> SegmentationStats:
        """Return the first statistics for which ``condition`` holds."""
        heard = self.listen(SegmentationStats, "stats")
        self.spin_until(lambda: heard and condition(heard[-1]), "statistics")
        return heard[-1]


def header(number: int) -> Header:
    """Return the header of frame ``number``, which is unique."""
    result = Header(frame_id=f"camera_{number}")
    result.stamp.sec, result.stamp.nanosec = 1000 + number, number
    return result


def picture(number: int, width: int = 160, height: int = 120) -> np.ndarray:
    """Return colored blocks, uint8 [H,W,3], unique; the first pixel encodes the number."""
    blocks = np.random.default_rng(number).integers(0, 256, (4, 8, 3), np.uint8)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 8 // width
    pixels = blocks[rows[:, None], columns[None]]
    pixels[0, 0] = number >> 8, number & 255, 77
    return pixels


def frame(number: int, width: int = 160, height: int = 120) -> Image:
    """Return ``picture`` as a message with ``header``."""
    return image_message(picture(number, width, height), "rgb8", header(number))


def pixels_of(message: Image) -> np.ndarray:
    """Return the pixels of an image from the node, uint8 [H,W] or [H,W,3]."""
    channels = {"mono8": 1, "rgb8": 3}[message.encoding]
    assert message.step == message.width * channels
    assert len(message.data) == message.step * message.height
    shape = (message.height, message.width, channels)[: 2 if channels == 1 else 3]
    return np.frombuffer(message.data, np.uint8).reshape(shape)


def start_process(
    log: Path, parameters: Mapping[str, Any], *, command: Sequence[str] = NODE_COMMAND, **more: Any
) -> NodeProcess:
    """Return the node's process, on one thread, so that its sums equal those of this process."""
    environ = {"OMP_NUM_THREADS": "1", "ROS_LOG_DIR": str(log.parent), "PYTHONFAULTHANDLER": "1"}
    return NodeProcess(log, parameters=parameters, command=command, environ=environ, **more)
