"""From a scene to what a camera delivers; the labels stay true, as nothing moves."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.synthetic import textures


@dataclass(frozen=True)
class Sensor:
    """Exposure, tone, lens blur and noise."""

    gain: tuple[float, float, float]  # of red, green and blue
    contrast: float  # exponent of the tone curve
    blur: float  # deviation in pixels
    noise: float  # deviation in grey levels

    def expose(self, scene: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """The image, RGB uint8 [H, W, 3], of a scene [H, W, 4] whose fourth channel is ignored."""
        tone = 255 * (np.arange(256) / 255) ** self.contrast
        curves = np.clip(np.stack([tone * gain for gain in self.gain], -1), 0, 255)
        image = cv2.LUT(cv2.cvtColor(scene, cv2.COLOR_RGBA2RGB), curves.astype(np.uint8)[None])
        image = cv2.GaussianBlur(image, (3, 3), self.blur)
        height, width = scene.shape[:2]
        top, left = rng.integers(0, 64, 2)
        noise = textures.sensor_noise(height, width)[top:, left:][:height, :width]
        image = cv2.addWeighted(image, 1.0, noise, self.noise / 32, 0.0, dtype=cv2.CV_8U)
        return np.asarray(image, np.uint8)
