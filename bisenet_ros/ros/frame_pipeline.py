"""Process a frame: decode, segment, threshold, render, publish."""

import time
from dataclasses import asdict, replace

import numpy as np
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.inference.region import WHOLE, Region
from bisenet_ros.inference.resolution import Fit, LabelSize
from bisenet_ros.inference.segmenter import Segmentation, Segmenter
from bisenet_ros.ros.camera_info import scale_camera_info
from bisenet_ros.ros.frame_stats import FrameTimes
from bisenet_ros.ros.image_messages import ImageDecoder, decode_compressed
from bisenet_ros.ros.publishers import ImagePublishers


class FramePipeline:
    """Turns an image message into published labels, one frame at a time.

    Args:
        decoder: decodes raw images.
        images: publishers of labels, confidence, overlay and colors.
        camera_info: publisher of sensor_msgs/CameraInfo.
        label_size: size of the published images.
        fit: how images are fitted to the network's input.
        region: part of the image that is labeled; only the whole if ``label_size`` is "network".
    """

    def __init__(
        self,
        decoder: ImageDecoder,
        images: ImagePublishers,
        camera_info: Publisher,
        label_size: LabelSize,
        fit: Fit = "stretch",
        region: Region = WHOLE,
    ) -> None:
        self._decoder = decoder
        self._images = images
        self._camera_info = camera_info
        self._label_size = label_size
        self._fit = fit
        self._region = region

    def process(
        self,
        segmenter: Segmenter,
        message: Image | CompressedImage,
        camera_info: CameraInfo | None,
        *,
        max_image_pixels: int,
        bit_depth: int,
        overlay_alpha: float,
        confidence_threshold: float,
    ) -> FrameTimes:
        """Label the image in ``message`` and publish the result with its header.

        Args:
            segmenter: must compute confidence for a threshold to have an effect.
            message: raw in one of ``image_messages.ENCODINGS``, or JPEG, PNG, ...
            camera_info: the camera's, published scaled to the labels; None if unknown.
            max_image_pixels: limit on width x height; larger images are rejected.
            bit_depth: number of bits of the values in 16-bit images, see ``BitDepth``.
            overlay_alpha: opacity of the class colors in the overlay, 0..1.
            confidence_threshold: probability, 0..1, below which a pixel is labeled 255.

        Returns:
            The time of each stage, without the threshold.

        Raises:
            ImageError: ``message`` is not an image that can be decoded, is too large, or does not
                contain the region.
            InferenceError: the device failed, usually out of memory.
        """
        started = time.perf_counter()
        self._decoder.depth.bits = bit_depth
        if isinstance(message, CompressedImage):
            image = decode_compressed(message, max_image_pixels, self._decoder.depth)
        else:
            image = self._decoder.to_rgb(message, max_image_pixels)
        decoded = time.perf_counter()
        part = segmenter.segment(self._region.crop(image), self._label_size, self._fit)
        segmentation = self._region.place(part, image)
        segmentation = ignore_unsure(segmentation, confidence_threshold)
        publishing = time.perf_counter()
        if camera_info is not None:  # first: subscribers pair it with the labels
            height, width = segmentation.labels.shape
            scaled = scale_camera_info(camera_info, width, height, message.header)
            if scaled is not None:
                self._camera_info.publish(scaled)
        self._images.publish(segmentation, message.header, overlay_alpha)
        done = time.perf_counter()
        return FrameTimes(
            decode_ms=1e3 * (decoded - started),
            **asdict(segmentation.times),
            publish_ms=1e3 * (done - publishing),
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
