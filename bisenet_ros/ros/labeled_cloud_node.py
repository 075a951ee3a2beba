"""The node ``labeled_cloud``: label images in, labeled points and a grid of the ground out."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2

from bisenet_ros.geometry.pose import pose_from_angles
from bisenet_ros.msg import ClassMap
from bisenet_ros.ros.camera_info import CameraInfoSubscription
from bisenet_ros.ros.camera_pose import CameraPoses, FixedPose, TransformPoses
from bisenet_ros.ros.cloud_parameters import CLOUD_PARAMETERS, CloudParameters
from bisenet_ros.ros.cloud_pipeline import CloudPipeline, CloudPublishers
from bisenet_ros.ros.diagnostics import active_diagnosis, diagnostic_array, state_diagnosis
from bisenet_ros.ros.frame_counts import FrameCounts
from bisenet_ros.ros.frame_errors import FrameErrorLog
from bisenet_ros.ros.lazy_inputs import LazyInputs
from bisenet_ros.ros.log_forwarding import forward_log
from bisenet_ros.ros.managed_node import ManagedNode, run
from bisenet_ros.ros.parameter_set import NodeParameters
from bisenet_ros.ros.qos import LATCHED, qos_profile
from bisenet_ros.ros.synchronizer import Synchronizer
from bisenet_ros.ros.topic_watchdog import (
    REPORT_PERIOD_S,
    ClockWatchdog,
    ConditionWatchdog,
    Remedies,
    TopicWatchdog,
    diagnose_silence,
)
from bisenet_ros.ros.worker import Worker

NAME = "labeled_cloud"

QUEUE_DEPTH = 10
"""Messages of each topic that wait until the executor takes them."""

INPUTS = {
    "label": (Image, "label image", "start the segmentation node"),
    "confidence": (
        Image,
        "confidence image",
        "add confidence to the segmentation node's 'outputs', or set 'with_confidence' to false",
    ),
    "depth": (Image, "depth image", "start the depth camera's driver with registered depth"),
    "cloud": (PointCloud2, "point cloud", "start what publishes the organized cloud"),
}
"""Type, name and remedy of each topic that is matched by stamp."""


@dataclass(frozen=True)
class _Configured:
    """Resources from configure to cleanup."""

    parameters: CloudParameters
    publishers: CloudPublishers
    poses: CameraPoses | None  # only where the geometry is ground


@dataclass
class _Listening:
    """State while an output is wanted: subscriptions to the inputs, and what arrives there."""

    synchronizer: Synchronizer
    missing: ConditionWatchdog
    mismatch: ConditionWatchdog
    received: dict[str, int]  # messages by topic
    matched: int = 0
    watchdogs: dict[str, TopicWatchdog] = field(default_factory=dict)
    resources: ExitStack = field(default_factory=ExitStack)  # closed on the executor's thread


@dataclass
class _Active:
    """State from activate to deactivate."""

    pipeline: CloudPipeline
    errors: FrameErrorLog
    clock: ClockWatchdog
    inputs: tuple[str, ...]
    counts: FrameCounts = field(default_factory=FrameCounts)
    camera_info: CameraInfoSubscription | None = None
    class_map: ClassMap | None = None
    listening: _Listening | None = None
    process_ms: float = 0.0  # of the latest frame
    resources: ExitStack = field(default_factory=ExitStack)  # closed on the executor's thread
    report: Future[None] | None = None


@dataclass(frozen=True)
class _Frame:
    """Matched messages by topic, and the activation in which they arrived."""

    messages: dict[str, Any]
    activation: _Active


class LabeledCloudNode(ManagedNode):
    """The managed node; see ``CloudParameters`` for its parameters."""

    def __init__(self) -> None:
        self._configured: _Configured | None = None
        self._active: _Active | None = None
        self._resources = ExitStack()  # from configure to cleanup; closed on the executor's thread
        super().__init__(NAME, Worker[_Frame](self._process, self._frame_failed))
        forward_log(self.get_logger())
        self._declared = NodeParameters(self, CLOUD_PARAMETERS, _is_fixed)
        self._lazy = LazyInputs(self, self._listen)
        # In all states: monitors must also see a node that failed to start.
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady: reports must continue while simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(REPORT_PERIOD_S, self._request_report, clock=steady)
        self.start_or_wait()

    # Transitions, on the worker's thread.

    def configure(self) -> None:
        """Read the parameters, create the publishers and listen to transforms."""
        self._declared.fixed = True
        values = self._declared.read()
        poses = self._poses(values)
        if poses is not None:
            self._resources.callback(poses.close)
        # Volatile: a late subscriber gets nothing old, so that no output is wanted without one.
        qos = qos_profile(values.output_reliability, "volatile", values.output_depth)
        publishers = CloudPublishers(self._advertise, values.geometry == "ground", qos)
        self._configured = _Configured(values, publishers, poses)
        if publishers.obstacles is not None and publishers.grid is None:
            self.get_logger().warning(
                "~/grid is not published: install nav_msgs (apt: ros-$ROS_DISTRO-nav-msgs)"
            )

    def _advertise(self, kind: Any, topic: str, qos: QoSProfile) -> Publisher:
        publisher = self.create_publisher(kind, topic, qos, event_callbacks=self._lazy.events)
        self._resources.callback(self.destroy_publisher, publisher)
        return publisher

    def _poses(self, values: CloudParameters) -> CameraPoses | None:
        if values.geometry != "ground":
            return None
        if values.pose_source == "tf":
            return TransformPoses(self, values.robot_frame)
        position = values.x, values.y, values.z
        return FixedPose(pose_from_angles(position, values.roll, values.pitch, values.yaw))

    def cleanup(self) -> None:
        """Destroy what ``configure`` has created."""
        configured, self._configured = self._configured, None
        self.call_on_executor(self._resources.close)
        self._declared.fixed = False
        if configured is not None:
            self.get_logger().info("unconfigured: publishers are released")

    def activate(self) -> None:
        """Subscribe, to the inputs once an output is wanted."""
        assert self._configured is not None
        values = self._configured.parameters
        inputs: tuple[str, ...] = ("label",)
        if values.geometry != "ground":
            inputs += (values.geometry,)
        if values.with_confidence:
            inputs += ("confidence",)
        logger = self.get_logger()
        active = _Active(
            pipeline=CloudPipeline(values, self._configured.publishers, self._configured.poses),
            errors=FrameErrorLog(logger),
            clock=ClockWatchdog(self),
            inputs=inputs,
        )
        # Before the subscriptions, whose first message may be the only one.
        self._active = active

        def keep_class_map(message: ClassMap) -> None:
            active.class_map = message

        class_map = self.create_subscription(ClassMap, "class_map", keep_class_map, LATCHED)
        active.resources.callback(self.destroy_subscription, class_map)
        if values.geometry != "cloud":
            active.camera_info = CameraInfoSubscription(self, "camera_info")
            active.resources.callback(active.camera_info.close)
        self._listen()
        topics = " and ".join(self.resolve_topic_name(topic) for topic in inputs)
        idle = active.listening is None
        logger.info(
            f"active: waiting for {topics}"
            + (" once someone subscribes to an output (parameter lazy)" if idle else "")
        )

    def deactivate(self) -> None:
        """Unsubscribe, and discard what waits."""
        active, self._active = self._active, None
        self.worker.discard_frames()
        if active is not None:
            self._unsubscribe(active)
            self.call_on_executor(active.resources.close)
            self.get_logger().info(f"inactive: {active.counts.summary()}")

    def _listen(self) -> None:
        """Subscribe to the inputs if an output is wanted; else leave them."""
        active, configured = self._active, self._configured
        if active is None or configured is None or not self.context.ok():
            return
        if self._idle_reason(configured):
            self._unsubscribe(active)
        elif active.listening is None:
            self._subscribe(active, configured.parameters)

    def _idle_reason(self, configured: _Configured) -> str:
        """Return why no output is wanted, or ""."""
        return self._lazy.idle_reason(configured.publishers.are_wanted, "an output")

    def _subscribe(self, active: _Active, values: CloudParameters) -> None:
        logger = self.get_logger()
        listening = active.listening = _Listening(
            synchronizer=Synchronizer(
                active.inputs, round(1e9 * values.sync_tolerance), values.sync_depth
            ),
            missing=ConditionWatchdog(
                logger, "labels cannot be located", "all that labels need has arrived"
            ),
            mismatch=ConditionWatchdog(logger, "nothing is published", "stamps match"),
            received=dict.fromkeys(active.inputs, 0),
        )
        for topic in active.inputs:
            kind, what, remedy = INPUTS[topic]
            group, reliability = "label_qos", values.label_reliability
            if topic == values.geometry:
                group, reliability = "position_qos", values.position_reliability
            qos = qos_profile(reliability, "volatile", QUEUE_DEPTH)

            def receive(message: Any, topic: str = topic) -> None:
                self._receive(active, listening, topic, message)

            subscription = self.create_subscription(kind, topic, receive, qos)
            listening.resources.callback(self.destroy_subscription, subscription)
            remedies = Remedies(
                nobody=f"{remedy}, or remap '{topic}' (launch file: {topic}:=TOPIC)",
                wrong_type=f"remap '{topic}' to another topic",
                wrong_qos=f"set {group}.reliability to match",
                silent="it may be paused, or its messages are too large for the transport: start "
                "both with the Fast DDS profile config/fastdds_images.xml, see there",
            )
            diagnose = partial(diagnose_silence, remedies=remedies)
            listening.watchdogs[topic] = TopicWatchdog(self, subscription, qos, what, diagnose)

    def _unsubscribe(self, active: _Active) -> None:
        listening, active.listening = active.listening, None
        if listening is None:
            return

        def leave() -> None:
            listening.resources.close()
            for _ in range(listening.synchronizer.waiting):
                active.counts.frame_dropped()

        self.call_on_executor(leave)

    # Frames: received and matched on the executor's thread, processed on the worker's.

    def _receive(self, active: _Active, listening: _Listening, topic: str, message: Any) -> None:
        if active is not self._active:
            return
        listening.received[topic] += 1
        if topic == "label":
            active.counts.frame_received()
        found = listening.synchronizer.add(topic, message)
        for _ in range(found.dropped):
            active.counts.frame_dropped()
        if found.messages is None:
            return
        listening.matched += 1
        if self._what_is_missing(active) or self.worker.submit_latest(
            _Frame(found.messages, active)
        ):
            active.counts.frame_dropped()

    def _what_is_missing(self, active: _Active) -> str:
        """Return what labels cannot be located without, and what to do about it; or ""."""
        camera_info = active.camera_info
        if camera_info is not None and camera_info.latest is None:
            return (
                f"no camera_info has arrived on {camera_info.topic_name}: remap 'camera_info' to "
                "~/camera_info of the segmentation node, which publishes it where the camera does, "
                "or to the camera's (launch file: camera_info:=TOPIC)"
            )
        assert self._configured is not None
        if active.class_map is None and self._configured.parameters.geometry == "ground":
            return (
                f"no class map has arrived on {self.resolve_topic_name('class_map')}, so the names "
                "in 'ground.classes' have no labels: remap 'class_map' to ~/class_map of the "
                "segmentation node"
            )
        return ""

    def _process(self, frames: Sequence[_Frame]) -> None:
        (frame,) = frames
        active = frame.activation
        if active is not self._active:
            return  # it was queued when the node was deactivated
        started = time.perf_counter()
        camera_info = active.camera_info
        active.pipeline.process(
            frame.messages,
            camera_info.latest if camera_info is not None else None,
            active.class_map,
        )
        now = time.perf_counter()
        active.process_ms = 1e3 * (now - started)
        active.counts.frame_published(now)

    def _frame_failed(self, _: Sequence[_Frame], error: Exception) -> None:
        active = self._active
        # While the process ends, its publishers are gone.
        if active is not None and self.context.ok():
            active.counts.frame_rejected()
            active.errors.frame_lost(error)

    # Reports: requested on the executor's thread, where messages are matched, and made on the
    # worker's, where no transition can destroy their publishers meanwhile.

    def _request_report(self) -> None:
        active = self._active
        if active is None:
            now = self.get_clock().now().to_msg()
            name, state = self.get_fully_qualified_name(), self._state_machine.current_state[1]
            status = state_diagnosis(name, state, self.failure)
            self._diagnostics.publish(diagnostic_array(now, status))
        # Reports must not queue behind a frame that takes seconds.
        elif active.report is None or active.report.done():
            listening = active.listening
            mismatch = self._why_nothing_matches(active, listening) if listening else ""
            active.report = self.run_on_worker(lambda: self._report(active, mismatch))

    def _why_nothing_matches(self, active: _Active, listening: _Listening) -> str:
        """Return why no messages have matched since the last call, though all arrive; or ""."""
        assert self._configured is not None
        values = self._configured.parameters
        matched, listening.matched = listening.matched, 0
        if matched:
            return ""
        for topic in active.inputs[1:]:
            gap_ns = listening.synchronizer.gap_ns(topic)
            if gap_ns is None:
                continue
            what = INPUTS[topic][1]
            if gap_ns < 0:
                return (
                    f"all {what}s that are kept are newer than the label images, by at least "
                    f"{-1e-9 * gap_ns:.4f} s: raise 'sync_depth' (now {values.sync_depth}) above "
                    f"the latency of labels times the rate of {what}s, or synchronize the clocks"
                )
            return (
                f"the stamps of label images and {what}s are at least {1e-9 * gap_ns:.4f} s apart, "
                f"and 'sync_tolerance' is {values.sync_tolerance:g} s: raise it, or let one camera "
                "stamp both"
            )
        return ""

    def _report(self, active: _Active, mismatch: str) -> None:
        configured = self._configured
        if active is not self._active or configured is None or not self.context.ok():
            return
        self._listen()
        warning = self._watch(active, mismatch)
        active.errors.summarize()
        values: dict[str, Any] = active.counts.values(time.perf_counter())
        values["process_ms"] = active.process_ms
        status = active_diagnosis(
            self.get_fully_qualified_name(),
            values,
            active.errors.take_latest(),
            warning,
            self._idle_reason(configured),
        )
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), status))

    def _watch(self, active: _Active, mismatch: str) -> str:
        """Look at the subscriptions, and return why nothing is published, or ""."""
        active.clock.report()
        camera_info = active.camera_info
        qos = camera_info.wanted_qos() if camera_info is not None else None
        if camera_info is not None and qos is not None:
            self.call_on_executor(lambda: camera_info.resubscribe(qos))
        listening = active.listening
        if listening is None:
            return ""
        for topic, watchdog in listening.watchdogs.items():
            watchdog.report(listening.received[topic])
        listening.missing.report(self._what_is_missing(active))
        # Stamps of what has stopped say nothing.
        silent = any(watchdog.reason for watchdog in listening.watchdogs.values())
        listening.mismatch.report("" if silent else mismatch)
        reasons = [watchdog.reason for watchdog in listening.watchdogs.values()]
        reasons += [listening.missing.reason, listening.mismatch.reason]
        return next(filter(None, reasons), "")


def _is_fixed(name: str) -> bool:
    definition = CLOUD_PARAMETERS.definitions.get(name)
    return definition is not None and definition.effect == "configure"


def main(args: list[str] | None = None) -> NoReturn:
    """Run the node until SIGINT or SIGTERM."""
    run(LabeledCloudNode, args)


if __name__ == "__main__":
    main()
