"""``bisenet doctor``: checks that pass, and remedies of those that fail."""

import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from refusal import refusal

from bisenet_ros.inference.backend import EngineOptions

pytest.importorskip("rclpy")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

import bisenet_ros.model
from bisenet_ros.cli.environment_checks import check_engine
from bisenet_ros.cli.main import main
from bisenet_ros.inference import cuda
from bisenet_ros.inference.cpu import default_threads
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model import file as model_file
from bisenet_ros.ros.image_messages import image_message

pytestmark = pytest.mark.usefixtures("one_thread")


def checks(tmp_path: Path, status: int, *arguments: str) -> dict[str, dict[str, Any]]:
    file = tmp_path / "doctor.json"
    assert main(["doctor", "--json", str(file), *arguments]) == status
    return {check["name"]: check for check in json.loads(file.read_text())["checks"]}


@pytest.fixture
def camera() -> Iterator[str]:
    """Publish images on a topic from another thread, and return the topic."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("front_camera", context=context)
    publisher = node.create_publisher(Image, "/front/image_raw", 1)
    picture = image_message(np.zeros((48, 64, 3), np.uint8), "rgb8", Header(frame_id="front"))

    def send() -> None:
        picture.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(picture)

    node.create_timer(0.05, send)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    yield "/front/image_raw"
    executor.shutdown()
    thread.join()
    node.destroy_node()
    context.try_shutdown()


def test_all_checks_pass_with_a_camera(
    tmp_path: Path,
    tiny_model: Path,
    camera: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "DEFAULT")
    arguments = ["--model", str(tiny_model), "--backend", "torch", "--precision", "fp32"]
    found = checks(tmp_path, 0, *arguments, "--device", "cpu", "--image", camera)
    assert list(found) == ["ros", "transport", "model", "engine", "camera"]
    assert all(check["ok"] for check in found.values())
    assert found["transport"]["detail"].startswith("FASTDDS_BUILTIN_TRANSPORTS is set, and")
    assert found["model"]["detail"].startswith("tiny: 5 classes at 128x64, rgb normalized by mean")
    kernels = torch.backends.cpu.get_cpu_capability().lower()
    threads = default_threads()
    assert re.fullmatch(
        rf"torch on cpu in fp32: \d+ ms per frame, {threads} threads?, {kernels}, 100\.0% of "
        r"labels equal PyTorch's",
        found["engine"]["detail"],
    )
    rate = float(found["camera"]["detail"].partition(" ")[0])
    assert 5 < rate <= 25  # published at 20 Hz; the machine may be busy
    assert "images/s of 64x48, 'rgb8', frame 'front'" in found["camera"]["detail"]
    assert capsys.readouterr().out.count("ok  ") == 5


def test_failed_checks_name_the_cause(tmp_path: Path, tiny_model: Path) -> None:
    found = checks(tmp_path, 1, "--model", "none.safetensors")
    assert not found["model"]["ok"]
    assert "no model file at none.safetensors" in found["model"]["detail"]
    assert "engine" not in found  # skipped without a model

    arguments = ["--model", str(tiny_model), "--backend", "torch", "--device", "cuda:7"]
    found = checks(tmp_path, 1, *arguments, "--image", "/nobody/image_raw", "--seconds", "0.5")
    assert "cuda:7" in found["engine"]["detail"]
    assert found["camera"]["detail"] == (
        "no image in 0.5 s, nobody publishes /nobody/image_raw: choose the camera's topic "
        "(launch file: image:=TOPIC; else remap `image`)"
    )


def test_invalid_topic_name(tmp_path: Path, tiny_model: Path) -> None:
    found = checks(tmp_path, 1, "--model", str(tiny_model), "--image", "no topic")
    assert "'no topic'" in found["camera"]["detail"]
    assert found["camera"]["remedy"] == "give a topic such as /camera/image_raw"


def test_seconds_must_be_positive(capsys: pytest.CaptureFixture[str]) -> None:
    for given in ("0", "-1", "inf", "long"):
        refused = refusal(["doctor", "--seconds", given], capsys)
        assert refused == (2, f"argument --seconds: '{given}' is not a number above 0")


def test_missing_libraries(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.delitem(sys.modules, "bisenet_ros.model.file")
    monkeypatch.delattr(bisenet_ros.model, "file")
    found = checks(tmp_path, 1, "--model", str(tiny_model))
    assert "safetensors" in found["model"]["detail"]
    remedy = f"run {sys.executable} -m pip install torch -r requirements/runtime.txt"
    assert found["model"]["remedy"] == f"{remedy} in the source folder of bisenet_ros"


def test_pytorch_on_a_gpu_passes_and_tensorrt_is_recommended(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)  # as if not installed
    gpu = SimpleNamespace(name="NVIDIA H200", major=9, minor=0, multi_processor_count=132)
    monkeypatch.setattr(cuda, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    segmenter = Segmenter(model_file.load(tiny_model), EngineOptions(backend="torch", device="cpu"))
    segmenter.backend.device = "cuda:0"
    check = check_engine(lambda: segmenter)
    assert check.ok
    assert re.fullmatch(
        r"TensorRT would be faster: TensorRT cannot be imported .*; TensorRT for RTX does not "
        r"support sm90: '.* -m pip install -U tensorrt-cu1\d'",
        check.remedy,
    )


def test_unsupported_camera_encoding(tmp_path: Path, tiny_model: Path) -> None:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("depth_camera", context=context)
    publisher = node.create_publisher(
        Image, "/depth", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    )
    timer = threading.Event()

    def send() -> None:
        while not timer.wait(0.05):
            publisher.publish(Image(encoding="32FC1", width=2, height=2, step=8))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        found = checks(tmp_path, 1, "--model", str(tiny_model), "--image", "/depth")
    finally:
        timer.set()
        thread.join()
        node.destroy_node()
        context.try_shutdown()
    assert "32FC1" in found["camera"]["detail"]
    assert "color camera" in found["camera"]["detail"]
