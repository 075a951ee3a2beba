"""Labels of images of any size, and invalid options."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import torch

from bisenet_ros.errors import InferenceError
from bisenet_ros.inference.backend import EngineOptions, native_precisions
from bisenet_ros.inference.cpu import has_native_bf16
from bisenet_ros.inference.resolution import Fit, LabelSize, parse_resolution
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.inference.selection import load_backend
from bisenet_ros.model import file as model_file
from bisenet_ros.model.file import Model
from bisenet_ros.model.metadata import Metadata

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return model_file.load(tiny_model)


@pytest.fixture(scope="module")
def segmenter(model: Model) -> Segmenter:
    return Segmenter(model, EngineOptions(device="cpu", precision="fp32", confidence=True))


def picture(width: int, height: int) -> np.ndarray:
    blocks = np.random.default_rng(width + height).integers(0, 256, (8, 16, 3), np.uint8)
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize(
    ("width", "height"), [(128, 64), (1, 1), (37, 23), (640, 480), (64, 300), (3, 200)]
)
def test_labels_have_the_inputs_size(segmenter: Segmenter, width: int, height: int) -> None:
    image = picture(width, height)
    kept = image.copy()
    result = segmenter.segment(image)
    assert (result.labels.shape, result.labels.dtype) == ((height, width), np.uint8)
    assert result.confidence is not None
    assert (result.confidence.shape, result.confidence.dtype) == ((height, width), np.uint8)
    assert result.image is image
    np.testing.assert_array_equal(image, kept)
    # Nearest: resizing adds no values to those of the network.
    network = segmenter.segment(image, "network")
    assert network.labels.shape == (64, 128)
    assert set(np.unique(result.labels)) <= set(np.unique(network.labels))
    assert set(np.unique(result.confidence)) <= set(np.unique(network.confidence))
    times = result.times
    assert min(times.resize_ms, times.inference_ms, times.postprocess_ms) >= 0
    assert times.inference_ms > 0


def test_the_network_sees_the_image_resized_bilinearly(segmenter: Segmenter) -> None:
    image = picture(320, 200)
    resized = cv2.resize(image, (128, 64), interpolation=cv2.INTER_LINEAR)
    result = segmenter.segment(image, "network")
    np.testing.assert_array_equal(result.image, resized)
    np.testing.assert_array_equal(result.labels, segmenter.backend.run(resized[None])[0][0])


def test_restored_labels_lie_where_their_pixels_are(segmenter: Segmenter) -> None:
    image = picture(128, 64)
    doubled = segmenter.segment(image.repeat(2, 0).repeat(2, 1)).labels
    expected = segmenter.segment(image).labels.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(doubled, expected)


def test_rows_may_be_apart_and_memory_read_only(segmenter: Segmenter) -> None:
    image = picture(128, 64)
    wide = np.zeros((64, 200, 3), np.uint8)
    wide[:, :128] = image
    view = wide[:, :128]
    view.flags.writeable = False
    np.testing.assert_array_equal(segmenter.segment(view).labels, segmenter.segment(image).labels)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 128, 3), np.float32),
        np.zeros((64, 128, 4), np.uint8),
        np.zeros((64, 128, 1), np.uint8),
        np.zeros((64, 128), np.uint8),
        np.zeros((0, 128, 3), np.uint8),
    ],
    ids=["float", "RGBA", "one channel", "gray", "empty"],
)
def test_what_is_no_image_is_refused(segmenter: Segmenter, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"an image is .*; it must be uint8 \[H,W,3\] RGB"):
        segmenter.segment(image)


@pytest.fixture(scope="module", params=["openvino", "torch"])
def in_threes(model: Model, request: pytest.FixtureRequest) -> Segmenter:
    backend = request.param
    return Segmenter(
        model,
        EngineOptions(
            backend=backend, device="cpu", precision="fp32", confidence=True, batch_size=3
        ),
    )


@pytest.mark.parametrize(
    ("size", "fit"), [("input", "stretch"), ("input", "letterbox"), ("network", "stretch")]
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_batch_is_labeled_like_its_images(
    segmenter: Segmenter, in_threes: Segmenter, count: int, size: LabelSize, fit: Fit
) -> None:
    images = [picture(320, 200), picture(128, 64), picture(37, 90)][:count]
    results = in_threes.segment_batch(images, size, fit)
    assert len(results) == count
    for image, result in zip(images, results, strict=True):
        expected = segmenter.segment(image, size, fit)
        np.testing.assert_array_equal(result.image, expected.image)
        assert result.labels.shape == expected.labels.shape
        assert (result.labels == expected.labels).mean() >= 0.999
        assert result.confidence is not None
        assert expected.confidence is not None
        assert np.abs(result.confidence.astype(int) - expected.confidence).max() <= 1
    assert len({result.times.inference_ms for result in results}) == 1


def test_images_handed_out_of_a_batch_are_the_callers(in_threes: Segmenter) -> None:
    results = in_threes.segment_batch([picture(320, 200)] * 2, "network")
    kept = [(result.image.copy(), result.labels.copy()) for result in results]
    for size in ("input", "network"):
        in_threes.segment_batch([255 - picture(320, 200)] * 3, size)  # type: ignore[arg-type]
    for result, (image, labels) in zip(results, kept, strict=True):
        np.testing.assert_array_equal(result.image, image)
        np.testing.assert_array_equal(result.labels, labels)


@pytest.mark.parametrize("count", [0, 4])
def test_other_numbers_of_images_are_refused(in_threes: Segmenter, count: int) -> None:
    with pytest.raises(ValueError, match=f"there are {count} images; give 1 to 3"):
        in_threes.segment_batch([picture(128, 64)] * count)


@pytest.mark.parametrize("batch_size", [0, 17])
def test_batch_size_is_limited(batch_size: int) -> None:
    with pytest.raises(InferenceError, match=f"batch size {batch_size} is not possible; use 1 to"):
        EngineOptions(batch_size=batch_size)


def test_bf16_is_native_where_the_cpu_computes_it() -> None:
    expected = ("bf16", "fp32") if has_native_bf16() else ("fp32",)
    assert native_precisions("torch", "cpu") == expected


def unscored(model: Model) -> Metadata:
    return replace(model.metadata, scores=())


def test_results_are_the_callers(segmenter: Segmenter) -> None:
    first = segmenter.segment(picture(128, 64)).labels
    kept = first.copy()
    segmenter.segment(255 - picture(128, 64))
    np.testing.assert_array_equal(first, kept)
    first[:] = 9


def test_images_handed_out_are_the_callers(segmenter: Segmenter) -> None:
    first = segmenter.segment(picture(320, 200), "network").image
    kept = first.copy()
    segmenter.segment(255 - picture(320, 200))
    segmenter.segment(255 - picture(320, 200), "network")
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_memory_does_not_grow(model: Model, backend: str) -> None:
    segmenter = Segmenter(
        model,
        EngineOptions(
            backend=backend, device="cpu", precision="fp32", resolution=(64, 32), threads=1
        ),
    )
    image = picture(
        640, 480
    )  # a leak of the image or the labels per frame would add up to 400 or 130 MB

    def resident_after(frames: int) -> int:
        for _ in range(frames):
            segmenter.segment(image)
        return psutil.Process().memory_info().rss

    before = resident_after(100)
    assert resident_after(400) - before < 30e6
    segmenter.close()


def test_resolution(model: Model) -> None:
    assert Segmenter(model, EngineOptions(device="cpu")).resolution == (128, 64)
    other = Segmenter(model, EngineOptions(device="cpu", precision="fp32", resolution=(64, 96)))
    assert other.resolution == (64, 96)
    assert other.segment(picture(50, 50), "network").labels.shape == (96, 64)
    assert other.segment(picture(50, 50)).confidence is None


@pytest.mark.parametrize(
    "resolution", [(100, 64), (128, 60), (24, 64), (64, 0), (-8, 64), (8200, 64), (64, 8200)]
)
def test_resolutions_that_no_network_can_have(model: Model, resolution: tuple[int, int]) -> None:
    with pytest.raises(InferenceError, match="at least 32x32 and divisible by 8"):
        Segmenter(model, EngineOptions(resolution=resolution))


@pytest.mark.parametrize(("text", "size"), [("1024x512", (1024, 512)), ("64X32", (64, 32))])
def test_parse_resolution(text: str, size: tuple[int, int]) -> None:
    assert parse_resolution(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "1024",
        "x512",
        "1024x",
        "axb",
        "64x32x8",
        "-64x32",
        "64.0x32",
        pytest.param("64x" + "9" * 5000, id="digits"),
    ],
)
def test_texts_that_are_no_resolution(text: str) -> None:
    with pytest.raises(InferenceError, match=r"not of the form WxH, such as 1024x512"):
        parse_resolution(text)


def test_parse_resolution_refuses_what_no_network_can_have() -> None:
    with pytest.raises(InferenceError, match="resolution 100x100 must be"):
        parse_resolution("100x100")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "cuda:9"}, r"device 'cuda:9' not found: this PyTorch \(.*\) sees"),
        (
            {"device": "tpu"},
            "device 'tpu' is not supported by torch; use auto, cpu, cuda or cuda:N",
        ),
        ({"device": "cuda:x"}, "device 'cuda:x' is not supported by torch"),
        (
            {"device": "cpu", "precision": "fp16"},
            "precision 'fp16' is not supported by torch on cpu; use auto, (bf16, fp32|fp32, bf16)$",
        ),
        ({"device": "cpu", "precision": "int8"}, "precision 'int8' is not supported by torch"),
        ({"threads": -1}, "threads is -1; give a number of CPU threads, or 0 for one per core"),
        ({"backend": "caffe"}, "backend 'caffe' is unknown; use auto, tensorrt, openvino,"),
    ],
)
def test_what_this_machine_cannot_serve_is_refused(
    model: Model, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InferenceError, match=message):
        Segmenter(model, EngineOptions(**arguments))


def test_auto_is_resolved(model: Model) -> None:
    backend = load_backend(
        model, EngineOptions(resolution=(128, 64), device="cpu", backend="torch")
    )
    assert (backend.name, backend.device) == ("torch", "cpu")
    assert backend.precision in ("bf16", "fp32")
    bf16 = EngineOptions(resolution=(128, 64), device="cpu", precision="bf16")
    assert load_backend(model, replace(bf16, backend="torch")).precision == "bf16"


def test_a_letterbox_keeps_the_aspect_between_bars_of_the_mean_color(
    segmenter: Segmenter, model: Model
) -> None:
    image = picture(100, 200)  # into 128x64: 32x64 at x = 48
    inside = cv2.resize(image, (32, 64), interpolation=cv2.INTER_AREA)
    framed = np.empty((64, 128, 3), np.uint8)
    framed[:] = [round(255 * value) for value in model.metadata.mean]
    framed[:, 48:80] = inside
    wanted = segmenter.segment(framed).labels[:, 48:80]
    wanted = cv2.resize(wanted, (100, 200), interpolation=cv2.INTER_NEAREST_EXACT)
    result = segmenter.segment(image, fit="letterbox")
    np.testing.assert_array_equal(result.labels, wanted)
    assert result.confidence is not None
    assert result.confidence.shape == (200, 100)
    assert result.image is image
    assert (segmenter.segment(image).labels != wanted).any()
    with pytest.raises(ValueError, match="size of the input"):
        segmenter.segment(image, "network", "letterbox")


def test_a_letterbox_without_bars_is_the_image(segmenter: Segmenter) -> None:
    image = picture(256, 128)
    np.testing.assert_array_equal(
        segmenter.segment(image, fit="letterbox").labels, segmenter.segment(image).labels
    )
