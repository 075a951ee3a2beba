"""The part of an image that is labeled."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.errors import ImageError
from bisenet_ros.inference.segmenter import Segmentation


@dataclass(frozen=True)
class Region:
    """A rectangle that the network sees, and a mask of pixels that get no label.

    Outside, labels are 255 and confidence is 0. For cameras that see their own vehicle, or more
    sky than road.

    - ``roi``: x, y, width, height [px]; None for the whole image.
    - ``ignore_mask``: bool [H,W] of the image's size, True where pixels get no label; None for
      nowhere.
    """

    roi: tuple[int, int, int, int] | None = None
    ignore_mask: NDArray[np.bool_] | None = None

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what the network sees of ``image``, uint8 [H,W,3]: a view of it.

        Raises:
            ImageError: the image does not contain the rectangle, or has not the mask's size.
        """
        height, width = image.shape[:2]
        if self.ignore_mask is not None and self.ignore_mask.shape != (height, width):
            rows, columns = self.ignore_mask.shape
            raise ImageError(
                f"the image is {width}x{height} and its ignore_mask {columns}x{rows}: make the "
                "mask from an image of this camera at this resolution"
            )
        if self.roi is None:
            return image
        x, y, columns, rows = self.roi
        if x + columns > width or y + rows > height:
            raise ImageError(
                f"the image is {width}x{height} and does not contain the roi of {columns}x{rows} "
                f"at ({x}, {y}): set 'roi' for this camera's resolution"
            )
        return image[y : y + rows, x : x + columns]

    def place(self, part: Segmentation, image: NDArray[np.uint8]) -> Segmentation:
        """Return the labels of ``image``, given those of ``crop(image)``, which are not written to.

        Both have the size of their image.
        """
        if self.roi is None and self.ignore_mask is None:
            return part
        labels = self._place(part.labels, image, IGNORE_ID)
        confidence = part.confidence
        if confidence is not None:
            confidence = self._place(confidence, image, 0)
        return replace(part, image=image, labels=labels, confidence=confidence)

    def _place(
        self, values: NDArray[np.uint8], image: NDArray[np.uint8], outside: int
    ) -> NDArray[np.uint8]:
        whole = np.full(image.shape[:2], outside, np.uint8)
        x, y, width, height = self.roi or (0, 0, image.shape[1], image.shape[0])
        whole[y : y + height, x : x + width] = values
        if self.ignore_mask is not None:
            whole[self.ignore_mask] = outside
        return whole


WHOLE = Region()
