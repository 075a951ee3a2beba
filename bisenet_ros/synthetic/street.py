"""A street: layout, weather and camera from a seed, and the composition of its frames."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.synthetic import colors, textures
from bisenet_ros.synthetic.backdrop import draw_ground, draw_sky, draw_texture
from bisenet_ros.synthetic.canvas import Camera, Canvas, Light
from bisenet_ros.synthetic.colors import Color
from bisenet_ros.synthetic.layout import VIEW, Layout
from bisenet_ros.synthetic.things import House, Thing

DEMO_SEEDS = range(0, 1000)
"""Seeds of the demo and the tests; networks are never trained on these streets."""
TRAINING_SEEDS = range(1_000_000, 2_000_000)
"""Seeds of the training streets, disjoint from ``DEMO_SEEDS``."""

FRAME_RATE = 15.0
METERS_PER_FRAME = 0.4


@dataclass(frozen=True)
class Sensor:
    """Exposure, tone curve, lens blur and noise of the camera."""

    gain: tuple[float, float, float]  # of red, green and blue
    contrast: float  # exponent of the tone curve
    blur: float  # standard deviation in pixels
    noise: float  # standard deviation in gray levels

    def expose(self, scene: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the image of a scene.

        Args:
            scene: uint8 [H,W,4]; the fourth channel is ignored.
            rng: selects the part of the noise texture.

        Returns:
            uint8 [H,W,3] RGB.
        """
        tone = 255 * (np.arange(256) / 255) ** self.contrast
        curves = np.clip(np.stack([tone * gain for gain in self.gain], -1), 0, 255)
        image = cv2.LUT(cv2.cvtColor(scene, cv2.COLOR_RGBA2RGB), curves.astype(np.uint8)[None])
        image = cv2.GaussianBlur(image, (3, 3), self.blur)
        height, width = scene.shape[:2]
        top, left = rng.integers(0, 64, 2)
        noise = textures.sensor_noise(height, width)[top:, left:][:height, :width]
        image = cv2.addWeighted(image, 1.0, noise, self.noise / 32, 0.0, dtype=cv2.CV_8U)
        return np.asarray(image, np.uint8)


class Street:
    """One street and the drive of a camera along it, both determined by the seed.

    Args:
        seed: see ``DEMO_SEEDS`` and ``TRAINING_SEEDS``.
        width: of the images in pixels.
        height: of the images in pixels.
    """

    def __init__(self, seed: int, width: int = 480, height: int = 360) -> None:
        self.seed, self.width, self.height = seed, width, height
        # All draws share one generator: reordering these lines changes every street.
        rng = np.random.default_rng(seed)
        self.eye = rng.uniform(1.35, 1.65)
        self.focal = height * rng.uniform(1.0, 1.25)
        self.center = width * (0.5 + rng.uniform(-0.07, 0.07))
        self.horizon = height * (0.5 + rng.uniform(-0.08, 0.06))
        self.layout = Layout(seed, rng)
        self.light, self.sensor = _weather(rng)

    def frame(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Draw a frame; the same index always gives the same frame.

        Args:
            index: number of the frame, from 0; the camera advances METERS_PER_FRAME per frame.

        Returns:
            Image uint8 [H,W,3] RGB, and its labels uint8 [H,W], indices of ``CLASS_NAMES``.
        """
        z = index * METERS_PER_FRAME
        optics = (self.width, self.height, self.focal, self.center, self.horizon, self.eye)
        empty = np.zeros((self.height, self.width, 4), np.uint8)
        canvas = Canvas(Camera(*optics, z), self.light, empty)

        things = self._things(z, index / FRAME_RATE)
        houses = [thing for thing in things if isinstance(thing, House)]
        others = [thing for thing in things if not isinstance(thing, House)]
        draw_sky(canvas, self.seed, self.layout.leaves)
        draw_ground(canvas, self.layout)
        for house in houses:
            house.draw(canvas)
        draw_texture(canvas, self.layout.walls, others)
        for thing in others:
            thing.draw(canvas)

        labels = np.asarray(cv2.extractChannel(canvas.pixels, 3), np.uint8)
        rng = np.random.default_rng((self.seed, 2, index))
        return self.sensor.expose(canvas.pixels, rng), labels

    def _things(self, z: float, time: float) -> list[Thing]:
        """Return the objects that the camera at depth z may see, in drawing order."""
        first = int(z // self.layout.pitch) - 1
        things = list(self.layout.traffic(z, time))
        for cell in range(first, first + int(VIEW / self.layout.pitch) + 2):
            things += self.layout.standing(cell)
        things = [thing for thing in things if -thing.reach < thing.z - z < VIEW]
        return sorted(things, key=lambda thing: (thing.layer, -thing.z))


def _weather(rng: np.random.Generator) -> tuple[Light, Sensor]:
    weather = ("overcast", "sunny", "dusk")[rng.choice(3, p=(0.5, 0.35, 0.15))]
    gray = rng.uniform(196, 238)
    haze: Color = (gray, gray * 1.005, gray * 1.015)
    zenith = colors.scaled(haze, rng.uniform(0.8, 1.0))
    exposure, warmth, sun = rng.uniform(1.05, 1.5), rng.uniform(0.93, 1.03), 0.0
    if weather == "sunny":
        sun = float(rng.choice((-1, 1))) * rng.uniform(0.5, 1.0)
        zenith = colors.between(rng, (120, 160, 205), (165, 190, 220))
    elif weather == "dusk":
        haze, zenith = (190, 168, 158), (112, 124, 150)
        exposure *= rng.uniform(0.55, 0.8)
    clouds = rng.uniform(3, 18)
    light = Light(sun, weather == "dusk", haze, zenith, clouds, visibility=rng.uniform(90, 260))
    sensor = Sensor(
        gain=(exposure * warmth, exposure, exposure * (2 - warmth)),
        contrast=rng.uniform(1.1, 1.6),
        blur=rng.uniform(0.35, 0.8),
        noise=rng.uniform(1.5, 4.5),
    )
    return light, sensor
