"""The node ``segmentation``: camera images in, label images and overlays out."""

import time
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from bisenet_ros.classes import palette
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model.file import load_model
from bisenet_ros.msg import SegmentationStats
from bisenet_ros.ros.camera_info import CameraInfoSubscription
from bisenet_ros.ros.diagnostics import frames_diagnosis, state_diagnosis
from bisenet_ros.ros.fastdds import remove_stale_segments
from bisenet_ros.ros.frame_errors import FrameErrorLog
from bisenet_ros.ros.frame_pipeline import FramePipeline
from bisenet_ros.ros.frame_stats import FrameStats
from bisenet_ros.ros.image_messages import ImageDecoder
from bisenet_ros.ros.log_forwarding import forward_log
from bisenet_ros.ros.managed_node import ManagedNode, run
from bisenet_ros.ros.parameter_set import NodeParameters
from bisenet_ros.ros.parameters import PARAMETERS, Parameters, is_fixed
from bisenet_ros.ros.publishers import ClassPublishers, ImagePublishers
from bisenet_ros.ros.qos import qos_profile
from bisenet_ros.ros.stamps import latency_ms
from bisenet_ros.ros.topic_watchdog import (
    REPORT_PERIOD_S,
    CameraInfoWatchdog,
    ClockWatchdog,
    ImageWatchdog,
)
from bisenet_ros.ros.worker import RateLimit, Worker


@dataclass(frozen=True)
class _Configured:
    """Resources from configure to cleanup."""

    parameters: Parameters
    segmenter: Segmenter
    pipeline: FramePipeline
    classes: ClassPublishers
    camera_info: Publisher
    stats: Publisher


@dataclass(frozen=True)
class _Subscriptions:
    """Subscriptions of an active node, and the watchdogs of their topics."""

    camera_info: CameraInfoSubscription
    images: Subscription
    image_watchdog: ImageWatchdog
    camera_info_watchdog: CameraInfoWatchdog
    clock_watchdog: ClockWatchdog


@dataclass
class _Active:
    """State from activate to deactivate."""

    errors: FrameErrorLog
    statistics: FrameStats = field(default_factory=FrameStats)
    rate_limit: RateLimit = field(default_factory=RateLimit)
    stamp_problem: str = ""  # of the latest frame
    subscriptions: _Subscriptions | None = None
    resources: ExitStack = field(default_factory=ExitStack)  # closed on the executor's thread
    report: Future[None] | None = None


@dataclass(frozen=True)
class _Frame:
    """A message and the activation in which it arrived."""

    message: Image | CompressedImage
    activation: _Active


class SegmentationNode(ManagedNode):
    """The managed node; see ``Parameters`` for its parameters."""

    def __init__(self) -> None:
        self._configured: _Configured | None = None
        self._active: _Active | None = None
        self._resources = ExitStack()  # from configure to cleanup
        self._advertised: list[Publisher] = []
        super().__init__("segmentation", Worker[_Frame](self._process, self._frame_failed))
        forward_log(self.get_logger())
        self._decoder = ImageDecoder(self.get_logger())
        self._declared = NodeParameters(self, PARAMETERS, self._is_fixed, _why_confidence_is_fixed)
        self.add_post_set_parameters_callback(self._parameters_changed)
        # In all states: monitors must also see a node that failed to start.
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady: reports must continue while simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(REPORT_PERIOD_S, self._request_report, clock=steady)
        if self.get_parameter("autostart").value:
            self.start()
        else:
            self.get_logger().info(
                "unconfigured: waiting for the transitions configure and activate; with "
                "'--ros-args -p autostart:=true' the node makes them itself"
            )

    # Transitions, on the worker's thread.

    def configure(self) -> None:
        """Read the parameters, load the model and create the publishers."""
        self._declared.fixed = True
        values = self._declared.read()
        segmenter = self._load_segmenter(values)
        self._resources.callback(segmenter.close)
        self._resources.callback(self.call_on_executor, self._destroy_publishers)
        model = segmenter.model
        qos = qos_profile(values.output_reliability, values.output_durability, values.output_depth)
        colors = palette(model.metadata.classes)
        images = ImagePublishers(self._advertise, values.outputs, qos, colors)
        camera_info = self._advertise(CameraInfo, "~/camera_info", qos)
        self._configured = _Configured(
            parameters=values,
            segmenter=segmenter,
            pipeline=FramePipeline(
                self._decoder, segmenter, images, camera_info, values.label_size
            ),
            classes=ClassPublishers(self._advertise, model),
            camera_info=camera_info,
            stats=self._advertise(SegmentationStats, "~/stats", 10),
        )

    def _load_segmenter(self, values: Parameters) -> Segmenter:
        model = load_model(values.model, values.classes)
        segmenter = Segmenter(model, values.engine_options)
        width, height = segmenter.resolution
        backend = segmenter.backend
        self.get_logger().info(
            f"model {model.name}, {len(model.metadata.classes)} classes, at {width}x{height} on "
            f"{backend.name}, {backend.device}, {backend.precision}"
        )
        return segmenter

    def _advertise(self, kind: Any, topic: str, qos: QoSProfile | int) -> Publisher:
        publisher = self.create_publisher(kind, topic, qos)
        self._advertised.append(publisher)
        return publisher

    def _destroy_publishers(self) -> None:
        while self._advertised:
            self.destroy_publisher(self._advertised.pop())

    def cleanup(self) -> None:
        """Destroy the publishers and release the engine."""
        configured, self._configured = self._configured, None
        self._resources.close()
        self._declared.fixed = False
        if configured is not None:
            self.get_logger().info("unconfigured: engine and publishers are released")

    def activate(self) -> None:
        """Publish the class map and subscribe."""
        assert self._configured is not None
        values = self._configured.parameters
        self._configured.classes.publish_class_map(self.get_clock().now().to_msg())
        self._publish_label_info()
        qos = qos_profile(values.image_reliability, values.image_durability, values.image_depth)
        # Before the subscriptions, whose first message may be the only one.
        self._active = _Active(FrameErrorLog(self.get_logger()))
        self._active.subscriptions = self._subscribe(self._active, values.input_transport, qos)
        heard = self._active.subscriptions.images.topic_name
        self.get_logger().info(
            f"active: waiting for images on {heard} ({values.image_reliability})"
        )

    def deactivate(self) -> None:
        """Unsubscribe, and discard the pending frame."""
        active, self._active = self._active, None
        self.worker.discard_frame()
        if active is not None:
            self.call_on_executor(active.resources.close)
            self.get_logger().info(f"inactive: {active.statistics.summary()}")

    def _subscribe(self, active: _Active, transport: str, qos: QoSProfile) -> _Subscriptions:
        assert self._configured is not None
        topic, kind = "image", Image
        if transport == "compressed":
            image = self.resolve_topic_name(topic).removesuffix("/compressed")
            topic, kind = f"{image}/compressed", CompressedImage
        camera_info = CameraInfoSubscription(self)
        active.resources.callback(camera_info.close)
        images = self.create_subscription(kind, topic, self._receive, qos)
        active.resources.callback(self.destroy_subscription, images)
        return _Subscriptions(
            camera_info,
            images,
            ImageWatchdog(self, images, qos),
            CameraInfoWatchdog(self, camera_info.topic_name, self._configured.camera_info),
            ClockWatchdog(self),
        )

    def _publish_label_info(self) -> None:
        if self._configured is not None:
            threshold = self.get_parameter("confidence_threshold").value
            now = self.get_clock().now().to_msg()
            self._configured.classes.publish_label_info(now, threshold)

    # Frames: received on the executor's thread, processed on the worker's.

    def _receive(self, message: Image | CompressedImage) -> None:
        active = self._active
        if active is None:
            return
        active.statistics.frame_received()
        frame = _Frame(message, active)
        if not active.rate_limit.allows_frame(self.get_parameter("max_rate").value):
            self.worker.replace_pending(frame)  # the same rate, with newer labels
            active.statistics.frame_dropped()
        elif self.worker.submit_latest(frame):
            active.statistics.frame_dropped()

    def _process(self, frame: _Frame) -> None:
        active, message = frame.activation, frame.message
        if active is not self._active or self._configured is None:
            return  # it was queued when the node was deactivated
        subscriptions = active.subscriptions
        times = self._configured.pipeline.process(
            message,
            subscriptions.camera_info.latest if subscriptions is not None else None,
            max_image_pixels=self.get_parameter("max_image_pixels").value,
            bit_depth=self.get_parameter("bit_depth").value,
            # rclpy accepts values slightly above the range.
            overlay_alpha=min(1.0, self.get_parameter("overlay_alpha").value),
            confidence_threshold=self.get_parameter("confidence_threshold").value,
        )
        now_ns = self.get_clock().now().nanoseconds
        latency, active.stamp_problem = latency_ms(message.header.stamp, now_ns)
        active.statistics.frame_processed(time.perf_counter(), times, latency)

    def _frame_failed(self, error: Exception) -> None:
        active = self._active
        # While the process ends, its publishers are gone.
        if active is not None and self.context.ok():
            active.statistics.frame_rejected()
            active.errors.frame_lost(error)

    # Reports, on the worker's thread, where no transition can destroy their publishers meanwhile.

    def _request_report(self) -> None:
        active = self._active
        if active is None:
            now = self.get_clock().now().to_msg()
            name, state = self.get_fully_qualified_name(), self._state_machine.current_state[1]
            self._diagnostics.publish(state_diagnosis(name, now, state, self.failure))
        # Reports must not queue behind a frame that takes seconds.
        elif active.report is None or active.report.done():
            active.report = self.run_on_worker(self._report)

    def _report(self) -> None:
        active, configured = self._active, self._configured
        if active is None or configured is None or not self.context.ok():
            return
        stats = self._stats(active, configured.segmenter)
        configured.stats.publish(stats)
        active.errors.summarize()
        warning = active.stamp_problem
        if active.subscriptions is not None:
            self._watch(active.subscriptions, stats.received)
            warning = active.subscriptions.image_watchdog.reason or warning
        name, error = self.get_fully_qualified_name(), active.errors.take_latest()
        self._diagnostics.publish(frames_diagnosis(name, stats, error, warning))

    def _watch(self, subscriptions: _Subscriptions, received: int) -> None:
        camera_info = subscriptions.camera_info
        qos = camera_info.wanted_qos()
        if qos is not None:
            self.call_on_executor(lambda: camera_info.resubscribe(qos))
        subscriptions.image_watchdog.report(received)
        subscriptions.camera_info_watchdog.report(camera_info.latest is not None, received)
        subscriptions.clock_watchdog.report()

    def _stats(self, active: _Active, segmenter: Segmenter) -> SegmentationStats:
        message = SegmentationStats(
            model=segmenter.model.name,
            backend=segmenter.backend.name,
            device=segmenter.backend.device,
            precision=segmenter.backend.precision,
            width=segmenter.resolution[0],
            height=segmenter.resolution[1],
        )
        message.header.stamp = self.get_clock().now().to_msg()
        active.statistics.fill(message, time.perf_counter())
        return message

    # Parameters, on the executor's thread.

    def _is_fixed(self, name: str) -> bool:
        configured = self._configured
        with_confidence = configured is not None and configured.parameters.with_confidence
        return is_fixed(name, with_confidence)

    def _parameters_changed(self, changes: list[Parameter]) -> None:
        for change in changes:
            if change.name == "confidence_threshold" and self._active is not None:
                self.run_on_worker(self._publish_label_info)


def _why_confidence_is_fixed(name: str) -> str:
    if name != "confidence_threshold":
        return ""
    return "; if it is above 0 or 'outputs' has confidence then, it can always be changed"


def main(args: list[str] | None = None) -> NoReturn:
    """Run the node until SIGINT or SIGTERM."""
    # Before DDS allocates its own segments.
    freed = remove_stale_segments()
    if freed:
        get_logger("segmentation").info(
            f"removed {freed / 2**20:.1f} MiB that killed processes had left in /dev/shm"
        )
    run(SegmentationNode, args)


if __name__ == "__main__":
    main()
