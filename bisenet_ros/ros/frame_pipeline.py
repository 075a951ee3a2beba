"""Process a frame: decode and crop it; threshold, render and publish its labels."""

import time
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.inference.region import WHOLE, Region
from bisenet_ros.inference.segmenter import Segmentation
from bisenet_ros.ros.camera_info import scale_camera_info
from bisenet_ros.ros.frame_stats import FrameTimes
from bisenet_ros.ros.image_messages import ImageDecoder, decode_compressed
from bisenet_ros.ros.publishers import ImagePublishers


@dataclass(frozen=True)
class DecodedFrame:
    """An image and what the network is to see of it.

    - ``header``: of the message.
    - ``image``: uint8 [H,W,3] RGB; ``part``: what the network sees of it, a view.
    """

    header: Header
    image: NDArray[np.uint8]
    part: NDArray[np.uint8]
    decode_ms: float


class FramePipeline:
    """Turns the image messages of one camera into published labels; the network is in between.

    Args:
        decoder: decodes raw images.
        images: publishers of labels, confidence, overlay and colors.
        camera_info: publisher of sensor_msgs/CameraInfo.
        region: part of the image that is labeled; only the whole where labels have the network's
            size.
    """

    def __init__(
        self,
        decoder: ImageDecoder,
        images: ImagePublishers,
        camera_info: Publisher,
        region: Region = WHOLE,
    ) -> None:
        self._decoder = decoder
        self._images = images
        self._camera_info = camera_info
        self._region = region

    def decode(
        self, message: Image | CompressedImage, *, max_image_pixels: int, bit_depth: int
    ) -> DecodedFrame:
        """Decode the image in ``message``.

        Args:
            message: raw in one of ``image_messages.ENCODINGS``, or JPEG, PNG, ...
            max_image_pixels: limit on width x height; larger images are rejected.
            bit_depth: number of bits of the values in 16-bit images, see ``BitDepth``.

        Raises:
            ImageError: ``message`` is not an image that can be decoded, is too large, or does not
                contain the region.
        """
        started = time.perf_counter()
        self._decoder.depth.bits = bit_depth
        if isinstance(message, CompressedImage):
            image = decode_compressed(message, max_image_pixels, self._decoder.depth)
        else:
            image = self._decoder.to_rgb(message, max_image_pixels)
        part = self._region.crop(image)
        return DecodedFrame(message.header, image, part, 1e3 * (time.perf_counter() - started))

    def publish(
        self,
        frame: DecodedFrame,
        part: Segmentation,
        camera_info: CameraInfo | None,
        *,
        overlay_alpha: float,
        confidence_threshold: float,
    ) -> FrameTimes:
        """Publish the labels of ``frame`` with its header.

        Args:
            frame: result of ``decode``.
            part: labels of ``frame.part``, with confidence if a threshold is to have an effect.
            camera_info: the camera's, published scaled to the labels; None if unknown.
            overlay_alpha: opacity of the class colors in the overlay, 0..1.
            confidence_threshold: probability, 0..1, below which a pixel is labeled 255.

        Returns:
            The time of each stage, without the threshold.
        """
        segmentation = self._region.place(part, frame.image)
        segmentation = ignore_unsure(segmentation, confidence_threshold)
        started = time.perf_counter()
        if camera_info is not None:  # first: subscribers pair it with the labels
            height, width = segmentation.labels.shape
            scaled = scale_camera_info(camera_info, width, height, frame.header)
            if scaled is not None:
                self._camera_info.publish(scaled)
        self._images.publish(segmentation, frame.header, overlay_alpha)
        return FrameTimes(
            decode_ms=frame.decode_ms,
            **asdict(segmentation.times),
            publish_ms=1e3 * (time.perf_counter() - started),
        )


def ignore_unsure(segmentation: Segmentation, threshold: float) -> Segmentation:
    """Return ``segmentation`` with 255 for labels whose confidence is below ``threshold``.

    The arrays of ``segmentation`` are not written to; without confidence, or with a
    threshold of 0, it is returned unchanged.

    Args:
        segmentation: the labels of one image, uint8 [H,W].
        threshold: probability, 0..1, rounded to 1/255 like confidence.
    """
    limit = round(threshold * 255)
    if segmentation.confidence is None or not limit:
        return segmentation
    unsure = segmentation.confidence < limit
    return replace(segmentation, labels=np.where(unsure, np.uint8(IGNORE_ID), segmentation.labels))
