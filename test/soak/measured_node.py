"""The segmentation node as a process, with a camera and a viewer, and what it counts and uses."""

import os
import re
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from bisenet_ros.msg import SegmentationStats
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from bisenet_ros.errors import NodeError
from bisenet_ros.ros.node_process import NodeProcess, ParameterValue, client_node

START_TIMEOUT_S = 1800.0
"""For one transition: the first configure may build an engine."""

ANSWER_TIMEOUT_S = 120.0

MAX_UNDER_WAY = 3
"""Frames received and not counted otherwise yet: one processed, one waiting, one just arrived."""

COUNTS = ("received", "processed", "dropped", "rejected")


class CountLost(Exception):
    """Received frames are not the sum of processed, dropped and rejected ones."""


@dataclass(frozen=True)
class Usage:
    """What the node's process takes of the machine.

    Shared memory is what the nodes of this run have made or used in /dev/shm and what is still
    there; the files of ports, which whoever comes next uses, are left out.
    """

    rss_mib: float
    threads: int
    descriptors: int
    shm_files: int
    shm_mib: float
    log_kib: float


@dataclass
class Counts:
    """Frames, as the camera and the node counted them, over all activations of a run."""

    sent: int = 0
    received: int = 0
    processed: int = 0
    dropped: int = 0
    rejected: int = 0

    def __str__(self) -> str:
        return (
            f"{self.received} received = {self.processed} processed + {self.dropped} dropped + "
            f"{self.rejected} rejected, of {self.sent} sent"
        )

    @property
    def under_way(self) -> int:
        """Frames received that are in no other count yet."""
        return self.received - self.processed - self.dropped - self.rejected

    def check(self) -> None:
        """Raise ``CountLost`` if more frames are under way than there is room for, or under 0."""
        if not 0 <= self.under_way <= MAX_UNDER_WAY:
            raise CountLost(f"{self.under_way} frames under way: {self}")

    def add(self, other: "Counts") -> None:
        """Add those of another activation."""
        for entry in fields(Counts):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))


class MeasuredNode:
    """One node from ``with`` to the end of its block, in a namespace of its own.

    - ``counts``: since ``wait_for_subscription``; the node's are those of its latest report.
    - ``labels``: label images that have arrived.
    - ``peak_rss_mib``: the most seen at its reports and at ``usage``.
    """

    def __init__(
        self,
        folder: Path,
        parameters: Mapping[str, ParameterValue],
        shm_files: set[Path],
        kind: type[Image] | type[CompressedImage] = Image,
    ) -> None:
        """Say what to start.

        Args:
            folder: for logs and engines; it exists.
            parameters: of the node.
            shm_files: is extended by what the node has in /dev/shm, for all nodes of a run.
            kind: what the camera sends.
        """
        self.counts = Counts()
        self.labels = 0
        self.peak_rss_mib = 0.0
        self._shm_files = shm_files
        self._stats: SegmentationStats | None = None
        namespace = f"/soak_{os.getpid()}"
        number = len(list(folder.glob("node_*.log")))
        self.process = NodeProcess(
            folder / f"node_{number}.log",
            namespace=namespace,
            parameters={"engine_cache": str(folder), **parameters},
            environ={"ROS_LOG_DIR": str(folder), "PYTHONFAULTHANDLER": "1"},
        )
        with ExitStack() as undo:
            node, self.lifecycle = undo.enter_context(
                client_node("camera", namespace, self.process)
            )
            topic = "image" if kind is Image else "image/compressed"
            self._images = node.create_publisher(kind, topic, 200)
            self._camera_infos = node.create_publisher(CameraInfo, "camera_info", 10)
            name = self.process.name
            node.create_subscription(SegmentationStats, f"{name}/stats", self._hear_stats, 10)
            node.create_subscription(Image, f"{name}/label", self._hear_label, 10, raw=True)
            # So that these are made, too; nobody looks at them.
            for output_kind, output in (
                (Image, "overlay"),
                (CompressedImage, "overlay/compressed"),
                (CameraInfo, "camera_info"),
            ):
                node.create_subscription(output_kind, f"{name}/{output}", _ignore, 10, raw=True)
            self._undo = undo.pop_all()

    def __enter__(self) -> "MeasuredNode":
        self._undo.enter_context(self.process)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._undo.close()

    def change(self, transition: int) -> None:
        """Make the transition with this id of ``lifecycle_msgs/Transition``."""
        self.lifecycle.change(transition, START_TIMEOUT_S)

    def wait_for_subscription(self) -> None:
        """Wait until the node, once active, hears the camera, and count from zero."""
        connected = self.lifecycle.spin_until(self.is_connected, START_TIMEOUT_S)
        if not connected:
            raise NodeError(f"the node does not subscribe to {self._images.topic_name}")
        self.counts, self.labels, self._stats = Counts(), 0, None

    def is_connected(self) -> bool:
        """Whether the node hears the camera."""
        return self._images.get_subscription_count() > 0

    def spin(self, seconds: float) -> None:
        """Hear what the node says; raises ``NodeError`` if it has ended."""
        self.lifecycle.spin_until(lambda: False, seconds)

    def publish(self, image: Image | CompressedImage, info: CameraInfo | None = None) -> None:
        """Send an image, and before it a description of the camera."""
        if info is not None:
            self._camera_infos.publish(info)
        self._images.publish(image)
        self.counts.sent += 1

    def settle(self, *, all_received: bool = False) -> None:
        """Wait for a report in which no frame is under way.

        Args:
            all_received: wait until every frame that was sent has been received, as well, which a
                reliable QoS promises.

        Raises:
            CountLost: there is none.
        """
        self._stats = None

        def settled() -> bool:
            missing = self.counts.sent - self.counts.received if all_received else 0
            return self._stats is not None and not missing and not self.counts.under_way

        if not self.lifecycle.spin_until(settled, ANSWER_TIMEOUT_S):
            raise CountLost(f"after {ANSWER_TIMEOUT_S:.0f} s without a new image: {self.counts}")

    def usage(self) -> Usage:
        """Look at the process."""
        process = psutil.Process(self.process.pid)
        with process.oneshot():
            rss_mib = self._measure_rss()
            threads, descriptors = process.num_threads(), process.num_fds()
        self.note_shared_memory()
        there = remaining(self._shm_files)
        return Usage(
            rss_mib=rss_mib,
            threads=threads,
            descriptors=descriptors,
            shm_files=len(there),
            shm_mib=sum(there.values()) / 2**20,
            log_kib=self.process.log.stat().st_size / 2**10,
        )

    def note_shared_memory(self) -> None:
        """Remember the files of Fast DDS that the process has mapped."""
        lines = Path(f"/proc/{self.process.pid}/maps").read_text().splitlines()
        self._shm_files |= {
            Path(line.split(maxsplit=5)[-1])
            for line in lines
            if re.search(r"/dev/shm/fast(?!.*_port)", line)
        }

    def kill(self) -> None:
        """End the process by SIGKILL."""
        self.note_shared_memory()
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.stop()

    def _measure_rss(self) -> float:
        self.process.check_running()
        rss_mib: float = psutil.Process(self.process.pid).memory_info().rss / 2**20
        self.peak_rss_mib = max(self.peak_rss_mib, rss_mib)
        return rss_mib

    def _hear_stats(self, message: SegmentationStats) -> None:
        self._stats = message
        for name in COUNTS:
            setattr(self.counts, name, getattr(message, name))
        self._measure_rss()
        self.counts.check()

    def _hear_label(self, _: Any) -> None:
        self.labels += 1


def _ignore(_: Any) -> None:
    pass


def remaining(files: set[Path]) -> dict[Path, int]:
    """Return those of ``files`` that are still there, with their sizes in bytes."""
    sizes = {}
    for path in files:
        try:
            sizes[path] = path.stat().st_size
        except FileNotFoundError:
            continue
    return sizes
