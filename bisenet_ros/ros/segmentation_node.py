"""The node ``segmentation``: camera images in, label images and overlays out."""

import time
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from bisenet_ros.classes import IGNORE_ID, palette
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model.file import load_model
from bisenet_ros.msg import ClassMap, SegmentationStats
from bisenet_ros.ros import class_messages, parameters
from bisenet_ros.ros.camera_info import scale_camera_info
from bisenet_ros.ros.diagnostics import FrameErrorLog, frames_diagnosis, state_diagnosis
from bisenet_ros.ros.frame_stats import FrameStats, FrameTimes
from bisenet_ros.ros.image_messages import ImageDecoder, decode_compressed
from bisenet_ros.ros.log_forwarding import forward_log
from bisenet_ros.ros.managed_node import ManagedNode, run
from bisenet_ros.ros.parameters import Parameters
from bisenet_ros.ros.publishers import ImagePublishers
from bisenet_ros.ros.qos import LATCHED, SENSOR, qos_profile
from bisenet_ros.ros.topic_watchdog import REPORT_PERIOD_S, ImageWatchdog
from bisenet_ros.ros.worker import RateLimit, Worker


@dataclass
class _Configured:
    """What lives from configure to cleanup."""

    parameters: Parameters
    segmenter: Segmenter
    outputs: ImagePublishers
    class_map: Publisher
    label_info: Publisher | None
    stats: Publisher
    camera_info: Publisher


@dataclass
class _Active:
    """What lives from activate to deactivate."""

    silence: ImageWatchdog
    errors: FrameErrorLog
    statistics: FrameStats = field(default_factory=FrameStats)
    subscriptions: list[Subscription] = field(default_factory=list)  # camera_info, images
    report: Future[None] | None = None
    camera_info: CameraInfo | None = None
    rate_limit: RateLimit = field(default_factory=RateLimit)


@dataclass(frozen=True)
class _Frame:
    """A message and the activation that it came in."""

    message: Image | CompressedImage
    activation: _Active


class SegmentationNode(ManagedNode):
    """A managed node (design.ros2.org, node lifecycle); its parameters are ``Parameters``."""

    def __init__(self) -> None:
        self._configured: _Configured | None = None
        self._active: _Active | None = None
        self._fixed = False
        self._undo_configure = ExitStack()
        super().__init__("segmentation", Worker[_Frame](self._process, self._frame_failed))
        forward_log(self.get_logger())
        self._decoder = ImageDecoder(self.get_logger())
        self._refused = parameters.declare(self)
        for reason in self._refused.values():
            self.get_logger().error(reason)
        if given := parameters.unknown(self):
            self.get_logger().warning(
                f"given parameters without effect, since the node has none of that name: "
                f"{', '.join(given)}"
            )
        self._refused.pop("autostart", None)  # nobody can mend it while the node runs
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._parameters_changed)
        # In all states, since a monitor must hear of a node that did not start.
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Reports are most wanted while the time of a simulator or a bag stands still.
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
        """Read the parameters, load and warm up the model, create the publishers."""
        self._fixed = True
        values = parameters.read(self, self._refused.values())
        model = load_model(values.model, values.classes)
        segmenter = Segmenter(model, values.engine_options)
        self._undo_configure.callback(segmenter.close)
        publishers = ExitStack()
        self._undo_configure.callback(self.call_on_executor, publishers.close)

        def advertise(kind: type, topic: str, qos: QoSProfile | int) -> Publisher:
            publisher = self.create_publisher(kind, topic, qos)
            publishers.callback(self.destroy_publisher, publisher)
            return publisher

        qos = qos_profile(values.output_reliability, values.output_durability, values.output_depth)
        label_info = class_messages.label_info_type()
        self._configured = _Configured(
            parameters=values,
            segmenter=segmenter,
            outputs=ImagePublishers(
                advertise, values.outputs, qos, palette(model.metadata.classes)
            ),
            class_map=advertise(ClassMap, "~/class_map", LATCHED),
            label_info=advertise(label_info, "~/label_info", LATCHED) if label_info else None,
            stats=advertise(SegmentationStats, "~/stats", 10),
            camera_info=advertise(CameraInfo, "~/camera_info", qos),
        )
        width, height = segmenter.resolution
        backend = segmenter.backend
        self.get_logger().info(
            f"model {model.name}, {len(model.metadata.classes)} classes, at {width}x{height} on "
            f"{backend.name}, {backend.device}, {backend.precision}"
        )

    def activate(self) -> None:
        """Say what the labels mean, and subscribe."""
        assert self._configured is not None
        values = self._configured.parameters
        now = self.get_clock().now().to_msg()
        class_map = class_messages.class_map(self._configured.segmenter.model, now)
        self._configured.class_map.publish(class_map)
        self._publish_label_info()
        topic, kind = "image", Image
        if values.input_transport == "compressed":
            image = self.resolve_topic_name(topic).removesuffix("/compressed")
            topic, kind = f"{image}/compressed", CompressedImage
        qos = qos_profile(values.image_reliability, values.image_durability, values.image_depth)
        # Before the subscriptions, whose first message may be the only one.
        active = self._active = _Active(ImageWatchdog(self, qos), FrameErrorLog(self.get_logger()))
        for wanted in (
            (CameraInfo, "camera_info", self._receive_camera_info, SENSOR),
            (kind, topic, self._receive, qos),
        ):
            active.subscriptions.append(self.create_subscription(*wanted))
        heard = active.subscriptions[-1].topic_name
        self.get_logger().info(f"waiting for images on {heard} ({values.image_reliability})")

    def _publish_label_info(self) -> None:
        if self._configured is None or self._configured.label_info is None:
            return
        model, now = self._configured.segmenter.model, self.get_clock().now().to_msg()
        threshold = self.get_parameter("confidence_threshold").value
        self._configured.label_info.publish(class_messages.label_info(model, now, threshold))

    def deactivate(self) -> None:
        """Unsubscribe, and forget the frame that waits."""
        active, self._active = self._active, None
        if active is not None:
            self.call_on_executor(lambda: self._unsubscribe(active))
        self.worker.discard_frame()

    def _unsubscribe(self, active: "_Active") -> None:
        for subscription in active.subscriptions:
            self.destroy_subscription(subscription)

    def cleanup(self) -> None:
        """Destroy the publishers and give back the engine's memory."""
        self._configured = None
        self._undo_configure.close()
        self._fixed = False

    # Frames: received on the executor's thread, processed on the worker's.

    def _receive(self, message: Image | CompressedImage) -> None:
        active = self._active
        if active is not None:
            active.statistics.frame_received()
            frame = _Frame(message, active)
            if not active.rate_limit.allows_frame(self.get_parameter("max_rate").value):
                self.worker.replace_pending(frame)  # no more work, and newer labels
                active.statistics.frame_dropped()
            elif self.worker.submit_latest(frame):
                active.statistics.frame_dropped()

    def _receive_camera_info(self, message: CameraInfo) -> None:
        active = self._active
        if active is not None:
            active.camera_info = message

    def _process(self, frame: "_Frame") -> None:
        if frame.activation is not self._active or self._configured is None:
            return  # it was on its way when the node was deactivated
        message = frame.message
        values = self._configured.parameters
        started = time.perf_counter()
        if isinstance(message, CompressedImage):
            image = decode_compressed(message)
        else:
            image = self._decoder.to_rgb(message)
        decoded = time.perf_counter()
        segmentation = self._configured.segmenter.segment(image, values.label_size)
        if segmentation.confidence is not None:
            threshold = self.get_parameter("confidence_threshold").value
            unsure = segmentation.confidence < round(threshold * 255)
            np.putmask(segmentation.labels, unsure, IGNORE_ID)
        publishing = time.perf_counter()
        if frame.activation.camera_info is not None:  # first: who pairs it with the labels waits
            height, width = segmentation.labels.shape
            info = scale_camera_info(frame.activation.camera_info, width, height, message.header)
            self._configured.camera_info.publish(info)
        alpha = min(1.0, self.get_parameter("overlay_alpha").value)  # rclpy lets a hair more pass
        self._configured.outputs.publish(segmentation, message.header, alpha)
        done = time.perf_counter()
        stamp = 1e3 * message.header.stamp.sec + 1e-6 * message.header.stamp.nanosec
        frame.activation.statistics.frame_processed(
            done,
            FrameTimes(
                decode_ms=1e3 * (decoded - started),
                resize_ms=segmentation.times.resize_ms,
                inference_ms=segmentation.times.inference_ms,
                postprocess_ms=segmentation.times.postprocess_ms,
                publish_ms=1e3 * (done - publishing),
            ),
            1e-6 * self.get_clock().now().nanoseconds - stamp,
        )

    def _frame_failed(self, error: Exception) -> None:
        active = self._active
        # Where the process is ending, its publishers are gone.
        if active is not None and self.context.ok():
            active.statistics.frame_rejected()
            active.errors.frame_lost(error)

    # Reports on frames, on the worker's thread, so that no transition takes their publisher away.

    def _request_report(self) -> None:
        active = self._active
        if active is None:
            now = self.get_clock().now().to_msg()
            name, state = self.get_fully_qualified_name(), self._state_machine.current_state[1]
            self._diagnostics.publish(state_diagnosis(name, now, state, self.failure))
        # Where a frame takes seconds, reports must not queue up behind it.
        elif active.report is None or active.report.done():
            active.report = self.run_on_worker(self._report)

    def _report(self) -> None:
        if self._active is None or self._configured is None or not self.context.ok():
            return
        segmenter = self._configured.segmenter
        message = SegmentationStats(
            model=segmenter.model.name,
            backend=segmenter.backend.name,
            device=segmenter.backend.device,
            precision=segmenter.backend.precision,
            width=segmenter.resolution[0],
            height=segmenter.resolution[1],
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._active.statistics.fill(message, time.perf_counter())
        self._configured.stats.publish(message)
        camera_info, images = self._active.subscriptions
        silence = self._active.silence
        silence.report(images, message.received)
        silence.report_camera_info(
            self._active.camera_info is not None, camera_info, self._configured.camera_info
        )
        name, error = self.get_fully_qualified_name(), self._active.errors.take_latest()
        self._diagnostics.publish(frames_diagnosis(name, message, error, silence.reason))

    # Parameters, on the executor's thread.

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        problems = [problem for change in changes if (problem := self._problem(change))]
        return SetParametersResult(successful=not problems, reason="; ".join(problems))

    def _problem(self, change: Parameter) -> str | None:
        """Return why the parameter cannot be changed to this value now, or None."""
        # A file that 'ros2 param dump' wrote can be loaded.
        if change.value == self.get_parameter(change.name).value:
            return None
        configured = self._configured
        with_confidence = configured is not None and configured.parameters.with_confidence
        if not self._fixed or not parameters.is_fixed(change.name, with_confidence):
            return parameters.problem(change)
        reason = (
            f"parameter '{change.name}' is read at configure: make the transitions deactivate and "
            "cleanup, set it, and configure again"
        )
        if change.name == "confidence_threshold":
            reason += (
                "; if it is above 0 or 'outputs' has confidence then, it can always be changed"
            )
        return reason

    def _parameters_changed(self, changes: list[Parameter]) -> None:
        for change in changes:
            self._refused.pop(change.name, None)
            if change.name == "confidence_threshold" and self._active is not None:
                self.run_on_worker(self._publish_label_info)


def main(args: list[str] | None = None) -> NoReturn:
    """Run the node until SIGINT or SIGTERM."""
    run(SegmentationNode, args)


if __name__ == "__main__":
    main()
