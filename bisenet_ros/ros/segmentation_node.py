"""The node ``segmentation``: camera images in, label images and overlays out."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import SetBool, Trigger

from bisenet_ros.classes import palette
from bisenet_ros.errors import EXPECTED, NodeError, ParameterError, describe, describe_bug
from bisenet_ros.images.label_images import read_mask
from bisenet_ros.inference.region import Region
from bisenet_ros.inference.resolution import LabelSize
from bisenet_ros.inference.segmenter import Segmentation, Segmenter
from bisenet_ros.model.file import load_model
from bisenet_ros.msg import SegmentationStats
from bisenet_ros.resources import expand_home
from bisenet_ros.ros.camera import ActiveCamera, CameraOutputs, ImageMessage
from bisenet_ros.ros.diagnostics import diagnostic_array, frames_diagnosis, state_diagnosis
from bisenet_ros.ros.fastdds import remove_stale_segments
from bisenet_ros.ros.frame_pipeline import DecodedFrame, FramePipeline
from bisenet_ros.ros.image_messages import ImageDecoder
from bisenet_ros.ros.lazy_inputs import LazyInputs
from bisenet_ros.ros.log_forwarding import forward_log
from bisenet_ros.ros.managed_node import ManagedNode, run
from bisenet_ros.ros.parameter_set import NodeParameters
from bisenet_ros.ros.parameters import PARAMETERS, Parameters, is_fixed, parse_cameras, parse_roi
from bisenet_ros.ros.publishers import ClassPublishers, ImagePublishers
from bisenet_ros.ros.qos import qos_profile
from bisenet_ros.ros.stamps import latency_ms, stamp_age_s
from bisenet_ros.ros.topic_watchdog import REPORT_PERIOD_S, ClockWatchdog
from bisenet_ros.ros.worker import Worker


@dataclass(frozen=True)
class _Configured:
    """Resources from configure to cleanup."""

    parameters: Parameters
    classes: ClassPublishers
    cameras: tuple[CameraOutputs, ...]


@dataclass
class _Active:
    """State from activate to deactivate."""

    clock_watchdog: ClockWatchdog
    enabled: bool = True
    cameras: list[ActiveCamera] = field(default_factory=list)
    report: Future[None] | None = None


@dataclass(frozen=True)
class _Frame:
    """A message and the camera that sent it, which belongs to one activation."""

    message: ImageMessage
    camera: ActiveCamera


class SegmentationNode(ManagedNode):
    """The managed node; see ``Parameters`` for its parameters."""

    def __init__(self) -> None:
        self._configured: _Configured | None = None
        self._segmenter: Segmenter | None = None  # from configure to cleanup
        self._reload_job: Future[str] | None = None
        self._active: _Active | None = None
        self._resources = ExitStack()  # from configure to cleanup
        self._advertised: list[Publisher] = []
        worker = Worker[_Frame](
            self._process,
            lambda frames, error: self._reject([frame.camera for frame in frames], error),
        )
        super().__init__("segmentation", worker)
        forward_log(self.get_logger())
        self._decoder = ImageDecoder(self.get_logger())
        self._declared = NodeParameters(self, PARAMETERS, self._is_fixed, _why_confidence_is_fixed)
        self.add_post_set_parameters_callback(self._parameters_changed)
        self._lazy = LazyInputs(self, self._listen)
        # In all states: monitors must also see a node that failed to start.
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady: reports must continue while simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(REPORT_PERIOD_S, self._request_report, clock=steady)
        # Groups of their own, so that nothing waits for a reload.
        self.create_service(SetBool, "~/enable", self._enable)
        self.create_service(
            Trigger, "~/reload", self._reload, callback_group=ReentrantCallbackGroup()
        )
        self.start_or_wait()

    # Transitions, on the worker's thread.

    def configure(self) -> None:
        """Read the parameters, load the model and create the publishers."""
        self._declared.fixed = True
        values = self._declared.read()
        segmenter = self._load_segmenter(values, values.with_confidence)
        self._segmenter = segmenter
        self.worker.batch_size = segmenter.batch_size
        self._resources.callback(self._close_segmenter)
        self._resources.callback(self.call_on_executor, self._destroy_publishers)
        self._configured = _Configured(
            parameters=values,
            classes=ClassPublishers(self._advertise, segmenter.model),
            cameras=tuple(
                self._advertise_camera(name, values, segmenter)
                for name in parse_cameras(values.cameras)
            ),
        )

    def _advertise_camera(
        self, name: str, values: Parameters, segmenter: Segmenter
    ) -> CameraOutputs:
        qos = qos_profile(values.output_reliability, values.output_durability, values.output_depth)
        colors = palette(segmenter.model.metadata.classes)
        namespace = f"~/{name}" if name else "~"
        images = ImagePublishers(self._advertise_image, values.outputs, qos, colors, namespace)
        camera_info = self._advertise(CameraInfo, f"{namespace}/camera_info", qos)
        return CameraOutputs(
            name=name,
            images=images,
            camera_info=camera_info,
            stats=self._advertise(SegmentationStats, f"{namespace}/stats", 10),
            pipeline=FramePipeline(
                self._decoder, images, camera_info, self._region(name, values.label_size)
            ),
        )

    def _region(self, camera: str, size: LabelSize) -> Region:
        """Return the part of the camera's images that is labeled.

        Raises:
            ParameterError: it is not the whole image, but labels have the network's size.
            ImageFileError: the mask cannot be used.
        """
        roi = parse_roi(self._declared.for_camera(camera, "roi"))
        mask = self._declared.for_camera(camera, "ignore_mask")
        if size == "network" and (roi or mask):
            raise ParameterError(
                "label_size is network and roi or ignore_mask is set, which are in pixels of the "
                "image: set label_size to input"
            )
        return Region(roi, read_mask(expand_home(mask)) if mask else None)

    def _load_segmenter(self, values: Parameters, confidence: bool) -> Segmenter:
        model = load_model(values.model, values.classes)
        segmenter = Segmenter(model, replace(values.engine_options, confidence=confidence))
        width, height = segmenter.resolution
        backend = segmenter.backend
        self.get_logger().info(
            f"model {model.name}, {len(model.metadata.classes)} classes, at {width}x{height} on "
            f"{backend.name}, {backend.device}, {backend.precision}"
            + (f", {segmenter.batch_size} images at once" if segmenter.batch_size > 1 else "")
        )
        return segmenter

    def _close_segmenter(self) -> None:
        if self._segmenter is not None:
            self._segmenter.close()
        self._segmenter = None

    def _advertise(self, kind: Any, topic: str, qos: QoSProfile | int, **more: Any) -> Publisher:
        publisher = self.create_publisher(kind, topic, qos, **more)
        self._advertised.append(publisher)
        return publisher

    def _advertise_image(self, kind: Any, topic: str, qos: QoSProfile) -> Publisher:
        return self._advertise(kind, topic, qos, event_callbacks=self._lazy.events)

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
        self._active = _Active(ClockWatchdog(self))
        for outputs in self._configured.cameras:
            camera = ActiveCamera(
                self,
                outputs,
                values.input_transport,
                qos,
                receive=self._receive,
                call_on_executor=self.call_on_executor,
            )
            self._active.cameras.append(camera)
        self._listen()
        topics = ", ".join(camera.topic for camera in self._active.cameras)
        idle = not any(camera.is_listening for camera in self._active.cameras)
        self.get_logger().info(
            f"active: waiting for images on {topics} ({values.image_reliability})"
            + (" once someone subscribes to an image output (parameter lazy)" if idle else "")
        )

    def _listen(self) -> None:
        """Subscribe to the images that are wanted, and to no others."""
        if self._active is None or not self.context.ok():
            return
        for camera in self._active.cameras:
            camera.listen(not self._idle_reason(camera))

    def _idle_reason(self, camera: ActiveCamera) -> str:
        """Return why no image of ``camera`` is wanted, or ""."""
        if self._active is not None and not self._active.enabled:
            return "paused by ~/enable"
        return self._lazy.idle_reason(camera.outputs.images.are_wanted, "an image output")

    def deactivate(self) -> None:
        """Unsubscribe, and discard the frames that wait."""
        active, self._active = self._active, None
        self.worker.discard_frames()
        if active is None:
            return
        for camera in active.cameras:
            camera.close()
        frames = (
            f"{camera.name}: {camera.statistics.summary()}".removeprefix(": ")
            for camera in active.cameras
        )
        self.get_logger().info(f"inactive: {'; '.join(frames)}")

    def _publish_label_info(self) -> None:
        if self._configured is not None:
            threshold = self.get_parameter("confidence_threshold").value
            now = self.get_clock().now().to_msg()
            self._configured.classes.publish_label_info(now, threshold)

    # Frames: received on the executor's thread, processed on the worker's.

    def _receive(self, camera: ActiveCamera, message: ImageMessage) -> None:
        if self._active is None or camera not in self._active.cameras:
            return
        camera.statistics.frame_received()
        camera.too_old = self._why_too_old(message)
        if camera.too_old:
            camera.statistics.frame_dropped()
            return
        frame = _Frame(message, camera)
        rate = self._declared.for_camera(camera.name, "max_rate")
        if not camera.rate_limit.allows_frame(rate):
            self.worker.replace_pending(frame, camera)  # the same rate, with newer labels
            camera.statistics.frame_dropped()
        elif self.worker.submit_latest(frame, camera):
            camera.statistics.frame_dropped()

    def _why_too_old(self, message: ImageMessage) -> str:
        max_age, stamp = self.get_parameter("max_age").value, message.header.stamp
        if not max_age or not (stamp.sec or stamp.nanosec):
            return ""
        age_s = stamp_age_s(stamp, self.get_clock().now().nanoseconds)
        if age_s <= max_age:
            return ""
        return (
            f"images are dropped, since they arrive older than max_age, {max_age:g} s: synchronize "
            "the clocks of camera and node (for a bag or a simulator: use_sim_time), or raise it"
        )

    def _process(self, frames: Sequence[_Frame]) -> None:
        configured, segmenter, active = self._configured, self._segmenter, self._active
        if configured is None or segmenter is None or active is None:
            return  # they were queued when the node was deactivated
        decoded: list[tuple[ActiveCamera, DecodedFrame]] = []
        for frame in frames:
            if frame.camera not in active.cameras:
                continue
            with self._rejected_on_error(frame.camera):
                decoded.append((frame.camera, self._decode(frame)))
        if not decoded:
            return
        with self._rejected_on_error(*(camera for camera, _ in decoded)):
            parts = segmenter.segment_batch(
                [image.part for _, image in decoded],
                configured.parameters.label_size,
                configured.parameters.fit,
            )
            for (camera, image), part in zip(decoded, parts, strict=True):
                with self._rejected_on_error(camera):
                    self._publish(camera, image, part)

    def _decode(self, frame: _Frame) -> DecodedFrame:
        return frame.camera.outputs.pipeline.decode(
            frame.message,
            max_image_pixels=self.get_parameter("max_image_pixels").value,
            bit_depth=self.get_parameter("bit_depth").value,
        )

    def _publish(self, camera: ActiveCamera, image: DecodedFrame, part: Segmentation) -> None:
        times = camera.outputs.pipeline.publish(
            image,
            part,
            camera.latest_camera_info,
            # rclpy accepts values slightly above the range.
            overlay_alpha=min(1.0, self.get_parameter("overlay_alpha").value),
            confidence_threshold=self.get_parameter("confidence_threshold").value,
        )
        now_ns = self.get_clock().now().nanoseconds
        latency, camera.stamp_problem = latency_ms(image.header.stamp, now_ns)
        camera.statistics.frame_processed(time.perf_counter(), times, latency)

    @contextmanager
    def _rejected_on_error(self, *cameras: ActiveCamera) -> Iterator[None]:
        """Reject the frame of each of ``cameras`` at an error, and go on."""
        try:
            yield
        except Exception as error:
            self._reject(cameras, error)

    def _reject(self, cameras: Sequence[ActiveCamera], error: Exception) -> None:
        # While the process ends, its publishers are gone.
        if not self.context.ok():
            return
        for camera in cameras:
            camera.statistics.frame_rejected()
            camera.errors.frame_lost(error)

    # Reports, on the worker's thread, where no transition can destroy their publishers meanwhile.

    def _request_report(self) -> None:
        active = self._active
        if active is None:
            name, state = self.get_fully_qualified_name(), self._state_machine.current_state[1]
            self._publish_diagnostics(state_diagnosis(name, state, self.failure))
        # Reports must not queue behind a frame that takes seconds.
        elif active.report is None or active.report.done():
            active.report = self.run_on_worker(self._report)

    def _report(self) -> None:
        active, segmenter = self._active, self._segmenter
        if active is None or segmenter is None or not self.context.ok():
            return
        self._listen()
        active.clock_watchdog.report()
        self._publish_diagnostics(
            *(self._report_camera(camera, segmenter) for camera in active.cameras)
        )

    def _report_camera(self, camera: ActiveCamera, segmenter: Segmenter) -> DiagnosticStatus:
        stats = self._stats(camera, segmenter)
        camera.outputs.stats.publish(stats)
        camera.errors.summarize()
        return frames_diagnosis(
            self.get_fully_qualified_name(),
            camera.name,
            stats,
            error=camera.errors.take_latest(),
            warning=camera.watch(),
            idle=self._idle_reason(camera),
        )

    def _publish_diagnostics(self, *statuses: DiagnosticStatus) -> None:
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), *statuses))

    def _stats(self, camera: ActiveCamera, segmenter: Segmenter) -> SegmentationStats:
        message = SegmentationStats(
            model=segmenter.model.name,
            backend=segmenter.backend.name,
            device=segmenter.backend.device,
            precision=segmenter.backend.precision,
            width=segmenter.resolution[0],
            height=segmenter.resolution[1],
        )
        message.header.stamp = self.get_clock().now().to_msg()
        camera.statistics.fill(message, time.perf_counter())
        return message

    # Services, on the executor's thread.

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Pause or go on; the engine stays."""
        active = self._active
        if active is None:
            state = self._state_machine.current_state[1]
            response.message = f"the node is {state}: make the transitions to active first"
            return response
        active.enabled = request.data
        self.run_on_worker(self._listen)
        response.success = True
        response.message = "enabled" if request.data else "paused: the engine stays loaded"
        self.get_logger().info(f"{response.message} (service enable)")
        return response

    async def _reload(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Replace the engine by one of the current parameters; keep it if that fails."""
        configured = self._configured
        if configured is None:
            response.message = "the node is unconfigured: make the transition configure"
            return response
        if self._reload_job is not None:
            response.message = "another reload is under way: wait for its answer"
            return response
        self._reload_job = self.run_aside(lambda: self._replace_segmenter(configured))
        job = self._reload_job
        await self.until_done(job)
        self._reload_job = None
        error = job.exception()
        if error is None:
            response.success, response.message = True, job.result()
        else:
            reason = describe(error) if isinstance(error, EXPECTED) else describe_bug(error)
            self.get_logger().error(f"cannot reload, the engine stays as it was: {reason}")
            response.message = describe(error)
        return response

    def _replace_segmenter(self, configured: _Configured) -> str:
        """Load the model beside the one in use and exchange them; return what is new."""
        values = self._declared.read()
        # Whether there is confidence was promised at configure.
        segmenter = self._load_segmenter(values, configured.parameters.with_confidence)
        self.worker.submit(lambda: self._exchange(configured, segmenter)).result()
        return f"model {segmenter.model.name}"

    def _exchange(self, configured: _Configured, segmenter: Segmenter) -> None:
        if self._configured is not configured:
            segmenter.close()
            raise NodeError("the node was cleaned up meanwhile")
        self._close_segmenter()
        self._segmenter = segmenter
        configured.classes.model = segmenter.model
        for camera in configured.cameras:
            camera.images.palette = palette(segmenter.model.metadata.classes)
        if self._active is not None:
            configured.classes.publish_class_map(self.get_clock().now().to_msg())
            self._publish_label_info()

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
