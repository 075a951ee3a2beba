"""A street drawn by code, with exact labels: camera of the demo and the tests, and training data.

The world is metres, x right, y up, z along the street; the camera drives along z. Ground and houses
come first and are textured together, because all of them lie on the floor or the two side walls of
one tunnel; what stands on the street follows, far to near. Colour and label share one canvas of
four channels and one pen, so a pixel's label is by construction the object that gave it its colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from math import cos, exp, pi, sin
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

DEMO_SEEDS = range(0, 1000)
"""Seeds of the demo and the tests; no network is trained on these streets."""
TRAINING_SEEDS = range(1_000_000, 2_000_000)
"""Seeds of the training streets, disjoint from DEMO_SEEDS."""

FRAME_RATE = 15.0
METRES_PER_FRAME = 0.4
VIEW = 80.0  # metres; what is further away is skyline
NEAR = 0.5  # metres; what is closer is cut off
TEXELS_PER_METRE = np.float32(32)

Colour = tuple[float, float, float]
Point = tuple[float, float, float]
Points = list[Point]
Array = NDArray[np.float64]

# fmt: off
WALLS: list[Colour] = [
    (112, 74, 60), (134, 98, 76), (150, 136, 110), (168, 160, 146),
    (196, 188, 170), (104, 100, 96), (92, 66, 58),
]
PAINTS: list[Colour] = [
    (26, 27, 30), (58, 60, 66), (150, 153, 158), (205, 206, 208),
    (34, 48, 88), (122, 24, 26), (28, 62, 50),
]
CLOTHES: list[Colour] = [
    (30, 30, 36), (52, 56, 74), (84, 78, 70), (120, 40, 44),
    (40, 66, 60), (150, 144, 134), (38, 42, 90),
]
SKINS: list[Colour] = [(206, 164, 140), (172, 124, 98), (106, 74, 58)]
# fmt: on


@dataclass(frozen=True)
class Camera:
    """A pinhole with its principal point shifted: pitch and yaw that keep verticals vertical."""

    width: int
    height: int
    focal: float
    centre: float
    horizon: float
    eye: float
    z: float

    def scale(self, z: float) -> float:
        """Pixels a metre at depth z of the world, clamped: that cuts boxes along z exactly."""
        return self.focal / max(z - self.z, NEAR)

    def pixel(self, x: float, y: float, z: float) -> tuple[int, int]:
        """Column and row of one point of the world; they may lie outside the image."""
        scale = self.scale(z)
        return round(self.centre + x * scale), round(self.horizon + (self.eye - y) * scale)

    def pixels(self, points: Points | Array) -> NDArray[np.int32]:
        """Columns and rows, int32 [..., 2], of points of the world, [..., 3]."""
        if isinstance(points, list):  # a few points: plain arithmetic is several times faster
            f, cu, cv, eye, z0 = self.focal, self.centre, self.horizon, self.eye, self.z
            scaled = ((x, y, f / max(z - z0, NEAR)) for x, y, z in points)
            pixel = [(round(cu + x * k), round(cv + (eye - y) * k)) for x, y, k in scaled]
            return np.array(pixel, np.int32)
        scale = self.focal / np.maximum(points[..., 2] - self.z, NEAR)
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.centre + points[..., 0] * scale
        pixels[..., 1] = self.horizon + (self.eye - points[..., 1]) * scale
        return pixels.round().astype(np.int32)


@dataclass(frozen=True)
class Light:
    """Where the sun stands and how the air looks."""

    sun: float  # -1 far left .. 1 far right; 0 is a covered sky
    dusk: bool
    haze: Colour
    visibility: float  # metres until 63 % of a colour is haze


@dataclass(frozen=True)
class Canvas:
    """Colour and label, uint8 [H, W, 4], as the camera sees them in this light."""

    camera: Camera
    light: Light
    pixels: NDArray[np.uint8]


class Pen:
    """Draws things of one label at depth z; without z, the air before them is added later."""

    def __init__(self, canvas: Canvas, label: int, z: float | None = None) -> None:
        self.pixels, self.camera, self.haze = canvas.pixels, canvas.camera, canvas.light.haze
        self.label, self.scale, self.clear = label, 1.0, 1.0
        if z is not None:
            self.scale = self.camera.scale(z)
            self.clear = exp(min(self.camera.z - z, 0.0) / canvas.light.visibility)

    def ink(self, colour: Colour) -> tuple[int, int, int, int]:
        """The colour seen through the air, with the label."""
        (r, g, b), (hr, hg, hb), clear = colour, self.haze, self.clear
        r, g, b = hr + (r - hr) * clear, hg + (g - hg) * clear, hb + (b - hb) * clear
        return int(r), int(g), int(b), self.label

    def fill(self, points: Points | Array, colour: Colour) -> None:
        """Fill one polygon [N, 3], or several that do not overlap [M, N, 3]."""
        pixels = self.camera.pixels(points)
        polygons = [pixels] if pixels.ndim == 2 else list(pixels)
        if polygons:
            cv2.fillPoly(self.pixels, polygons, self.ink(colour))

    def stroke(self, points: Points, width: float, colour: Colour) -> None:
        """Draw a line, width in metres, through points [N, 3]."""
        line, thickness = self.camera.pixels(points), max(1, round(width * self.scale))
        cv2.polylines(self.pixels, [line], False, self.ink(colour), thickness)

    def disc(self, x: float, y: float, z: float, radius: float, colour: Colour) -> None:
        """Fill a circle that faces the camera."""
        centre, radius = self.camera.pixel(x, y, z), round(radius * self.scale)
        cv2.circle(self.pixels, centre, int(radius), self.ink(colour), -1)

    def foliage(self, at: Point, size: tuple[float, float], colour: Colour, kind: int) -> None:
        """Paste a crown of leaves around a point, size (width, height) in metres."""
        crown = _crowns()[kind % len(_crowns())]
        u, v = self.camera.pixel(*at)
        w, h = max(size[0] * self.scale, 2.0), max(size[1] * self.scale, 2.0)
        left, right = max(int(u - w / 2), 0), min(int(u + w / 2), self.camera.width)
        top, bottom = max(int(v - h / 2), 0), min(int(v + h / 2), self.camera.height)
        if left >= right or top >= bottom:
            return
        du, dv = crown.shape[1] / w, crown.shape[0] / h
        place = np.array([[du, 0, (left - u + w / 2) * du], [0, dv, (top - v + h / 2) * dv]])
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        shade = cv2.warpAffine(crown, place, (right - left, bottom - top), flags=flags)
        dark, bright = self.ink((0, 0, 0)), self.ink(_scaled(colour, 2))
        inks = np.linspace(dark, bright, 256).astype(np.uint8)
        # A pixel is four bytes, so it moves as one 32-bit word.
        words = self.pixels[top:bottom, left:right].view(np.uint32)[..., 0]
        np.copyto(words, inks.view(np.uint32)[shade, 0], where=shade > 0)


@dataclass(frozen=True)
class Thing:
    """Something on the street, its near end at depth z."""

    x: float
    z: float

    # What is nearer to the middle of the street is never hidden by what is nearer to its walls,
    # so there are layers, drawn from the walls to the middle, and each from far to near.
    layer: ClassVar[int] = 3
    # A thing is drawn until the camera is this much past z: what is short goes while out of sight.
    reach: ClassVar[float] = -1.5
    shadow: ClassVar[tuple[float, float]] = (0.35, 0.5)  # half its width, and its length

    def draw(self, canvas: Canvas) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class House(Thing):
    """A facade with rows of windows, flush with the side wall of the street."""

    length: float
    floors: int
    colour: Colour
    shop: Colour
    seed: int
    layer = 0
    reach = 14.0

    def draw(self, canvas: Canvas) -> None:
        pen, x, near, far = Pen(canvas, BUILDING), self.x, self.z, self.z + self.length
        out, top = (1 if x > 0 else -1), 3.4 + 2.9 * (self.floors - 1) + 0.6
        wall = _scaled(self.colour, 1.0 - 0.3 * out * canvas.light.sun)
        gable = [(0, 0), (0, top), (4, top + 2.2), (8, top), (8, 0.0)]
        pen.fill([(x + out * dx, y, near) for dx, y in gable], _scaled(self.colour, 0.75))
        pen.fill(_wall(x, 0, top, near, far), wall)
        pen.fill(_wall(x, top - 0.35, top, near, far), _scaled(wall, 0.7))
        pen.fill(_wall(x, 0, 3.0, near + 0.3, far - 0.3), self.shop)
        pen.fill(_wall(x, 2.5, 3.1, near + 0.3, far - 0.3), _scaled(self.shop, 1.5))

        columns = int(self.length / 2.6)
        column, floor = (c.ravel() for c in np.meshgrid(np.arange(columns), np.arange(self.floors)))
        z: Array = near + (column + 0.5) * self.length / columns
        y: Array = np.where(floor == 0, 0.6, 3.9 + 2.9 * (floor - 1))
        lit = np.random.default_rng(self.seed).random(len(z)) < 0.4
        ahead = z > canvas.camera.z
        z, y, lit = z[ahead], y[ahead], lit[ahead]
        frame, glass = _scaled(wall, 1.4), _scaled(canvas.light.haze, 0.32)
        pen.fill(_panes(x, y - 0.12, z, 0.62, 1.9), frame)
        pen.fill(_panes(x, y, z, 0.5, 1.65), glass)
        if canvas.light.dusk:
            pen.fill(_panes(x, y[lit], z[lit], 0.5, 1.65), (235, 190, 120))
        pen.fill(_panes(x, y + 0.8, z, 0.5, 0.1), frame)


@dataclass(frozen=True)
class Fence(Thing):
    """Boards or railings on a backing, between the pavement and what lies behind."""

    length: float
    height: float
    colour: Colour
    layer = 2
    reach = 14.0

    def draw(self, canvas: Canvas) -> None:
        x, near, far = self.x, self.z, self.z + self.length
        pen = Pen(canvas, FENCE, max(near, canvas.camera.z + 5))
        pen.fill(_wall(x, 0, self.height, near, far), _scaled(self.colour, 0.62))
        boards = np.arange(near + 0.15, far, 0.4)
        boards = boards[boards > canvas.camera.z + 1]
        pen.fill(_panes(x, np.zeros(len(boards)), boards, 0.12, self.height + 0.12), self.colour)
        for y in (0.25, self.height - 0.3):
            pen.fill(_wall(x, y, y + 0.12, near, far), _scaled(self.colour, 1.25))


@dataclass(frozen=True)
class Tree(Thing):
    """A trunk under a crown, size (width, height)."""

    trunk: float
    size: tuple[float, float]
    colour: Colour
    kind: int

    def draw(self, canvas: Canvas) -> None:
        pen, x, z = Pen(canvas, TREE, self.z), self.x, self.z
        middle = self.trunk + self.size[1] * 0.42
        if self.trunk:
            pen.stroke([(x, 0, z), (x, middle, z)], 0.34, (70, 60, 48))
        pen.foliage((x, middle, z), self.size, self.colour, self.kind)


@dataclass(frozen=True)
class Bush(Tree):
    """A crown on the ground, behind the wall of the street where there is no house."""

    layer = 1


@dataclass(frozen=True)
class Lamp(Thing):
    """A street lamp: a tall post with an arm over the road."""

    height: float
    colour: Colour

    def draw(self, canvas: Canvas) -> None:
        pen, x, z, top, arm = Pen(canvas, POLE, self.z), self.x, self.z, self.height, -1.6
        arm = arm if self.x > 0 else -arm
        pen.stroke([(x, 0, z), (x, 1.3, z)], 0.34, _scaled(self.colour, 0.8))
        pen.stroke([(x, 0, z), (x, top, z), (x + arm, top + 0.3, z)], 0.22, self.colour)
        pen.stroke([(x + 0.07, 1.3, z), (x + 0.07, top, z)], 0.06, _scaled(self.colour, 1.4))
        glow = (255, 224, 160) if canvas.light.dusk else (190, 190, 184)
        pen.stroke([(x + arm, top + 0.3, z), (x + 1.5 * arm, top + 0.3, z)], 0.3, glow)


@dataclass(frozen=True)
class Sign(Thing):
    """A traffic sign or a traffic light on its post."""

    shape: str
    height: float
    colour: Colour
    shapes: ClassVar = ("round", "triangle", "board", "lights")

    def draw(self, canvas: Canvas) -> None:
        x, y, z, pen = self.x, self.height, self.z, Pen(canvas, SIGN, self.z)
        Pen(canvas, POLE, z).stroke([(x, 0, z), (x, y, z)], 0.13, (112, 114, 112))
        white, red, black = (222, 222, 218), (186, 30, 34), (24, 24, 26)
        if self.shape == "round":
            for radius, colour in ((0.5, red), (0.37, white), (0.12, black)):
                pen.disc(x, y, z, radius, colour)
        elif self.shape == "triangle":
            for r, colour in ((0.62, red), (0.36, white)):
                pen.fill([(x - r, y - r * 0.6, z), (x + r, y - r * 0.6, z), (x, y + r, z)], colour)
        elif self.shape == "board":
            pen.fill(_front(x, y, z, 1.5, 1.0), white)
            pen.fill(_front(x, y, z, 1.4, 0.9), self.colour)
            for dy in (-0.22, 0.05, 0.27):
                pen.fill(_front(x - 0.1 * dy, y + dy, z, 1.0 + dy, 0.1), white)
        else:
            pen.fill(_front(x, y, z, 0.56, 1.3), (20, 22, 22))
            for dy, colour in ((0.4, (214, 40, 30)), (0.0, (70, 54, 22)), (-0.4, (24, 60, 44))):
                pen.disc(x, y + dy, z, 0.15, colour)


@dataclass(frozen=True)
class Car(Thing):
    """A car or a van along the street, seen from behind (away) or from the front."""

    paint: Colour
    tall: float
    away: bool
    reach = 4.0
    shadow = (1.05, 4.5)
    half: ClassVar[float] = 0.88
    length: ClassVar[float] = 4.3

    def draw(self, canvas: Canvas) -> None:
        x, z, far, half, tall = self.x, self.z, self.z + self.length, self.half, self.tall
        waist, out = 0.9 + 0.25 * (tall - 1.45), (1 if x > 0 else -1)
        # A bonnet is longer than a boot.
        back, front = (z + 0.35, far - 1.2) if self.away else (z + 1.2, far - 0.35)
        dark, glass = (22, 24, 28), _scaled(canvas.light.haze, 0.3)

        # Underneath, then the side that is turned to the camera.
        pen = Pen(canvas, CAR, max(z, canvas.camera.z + NEAR))
        pen.fill(_strip(x - half, x + half, z, far, 0.2), dark)
        body = _scaled(self.paint, (1.0 - 0.25 * out * canvas.light.sun) * 0.85)
        side, gutter = x - out * half, x - 0.9 * out * half
        pen.fill(_wall(side, 0.25, waist, z, far), body)
        cabin = [(side, waist, back - 0.3), (side, waist, front + 0.4)]
        pen.fill([*cabin, (gutter, tall, front - 0.3), (gutter, tall, back + 0.3)], body)
        for a, b in ((0.05, 0.46), (0.54, 0.92)):
            near, end = back + (front - back) * a, back + (front - back) * b
            pen.fill(_wall(x - 0.96 * out * half, waist + 0.08, tall - 0.12, near, end), glass)
        for hub in (z + 0.8, far - 0.8):
            if hub > canvas.camera.z + 1:
                pen.fill(_wheel(side, hub, 0.34), dark)
                pen.fill(_wheel(side, hub, 0.18), (120, 122, 124))

        # The end that faces the camera: bonnet or boot, screen, tyres, bumper, lamps, number plate.
        pen, roof = Pen(canvas, CAR, z), 0.8 * half
        lid = _trapezium(x, (half, waist, z), (half, waist + 0.03, back))
        frame = _trapezium(x, (half, waist, back), (roof, tall, back + 0.4))
        low, high = (half * 0.86, waist + 0.06, back), (roof * 0.86, tall - 0.1, back + 0.4)
        pen.fill(lid, _scaled(self.paint, 1.3))
        pen.fill(frame, _scaled(self.paint, 0.95))
        pen.fill(_trapezium(x, low, high), glass)
        for tyre in (x - half + 0.16, x + half - 0.16):
            pen.fill(_front(tyre, 0.2, z, 0.24, 0.4), (18, 18, 20))
        pen.fill(_front(x, (0.3 + waist) / 2, z, 2 * half, waist - 0.3), self.paint)
        pen.fill(_front(x, 0.38, z, 2 * half, 0.16), _scaled(self.paint, 0.5))
        lamps = (176, 26, 24) if self.away else (236, 234, 220)
        plate = (214, 186, 60) if self.away else (222, 222, 216)
        for lamp in (x - half + 0.18, x + half - 0.18):
            pen.fill(_front(lamp, waist - 0.16, z, 0.3, 0.18), lamps)
        pen.fill(_front(x, 0.56, z, 0.52, 0.12), plate)


@dataclass(frozen=True)
class Walker(Thing):
    """A pedestrian; step is the phase of the stride in radians."""

    height: float
    coat: Colour
    trousers: Colour
    skin: Colour
    step: float

    def draw(self, canvas: Canvas) -> None:
        pen, k = Pen(canvas, PEDESTRIAN, self.z), self.height / 1.75

        def at(*points: tuple[float, float]) -> Points:
            return [(self.x + dx, y, self.z) for dx, y in points]

        swing = 0.24 * k * sin(self.step)
        for foot in (swing, -swing):
            leg = at((0.3 * foot, 0.85 * k), (0.6 * foot, 0.45 * k), (foot, 0.05))
            pen.stroke(leg, 0.17 * k, _scaled(self.trousers, 1.0 if foot > 0 else 0.8))
            pen.stroke(at((foot - 0.08, 0.04), (foot + 0.08, 0.04)), 0.09, (24, 22, 22))
        hem, shoulder, neck = (0.21 * k, 0.72 * k), (0.25 * k, 1.4 * k), (0.1 * k, 1.5 * k)
        left = [(-dx, y) for dx, y in (neck, shoulder, hem)]
        pen.fill(at(hem, shoulder, neck, *left), self.coat)
        for side in (-1, 1):
            hand = side * 0.28 * k - side * 0.5 * swing
            arm = at((side * 0.24 * k, 1.36 * k), (hand, 0.85 * k))
            pen.stroke(arm, 0.12 * k, _scaled(self.coat, 0.8))
        pen.disc(self.x, 1.65 * k, self.z, 0.13 * k, _scaled(self.trousers, 0.7))
        pen.disc(self.x, 1.61 * k, self.z, 0.11 * k, self.skin)


@dataclass(frozen=True)
class Rider(Thing):
    """A bicyclist; heading is the angle to the street, step the phase of the pedals, in radians."""

    heading: float
    jersey: Colour
    trousers: Colour
    skin: Colour
    helmet: Colour
    step: float

    def draw(self, canvas: Canvas) -> None:
        pen, dx, dz = Pen(canvas, BICYCLIST, self.z), sin(self.heading), cos(self.heading)

        def at(*points: tuple[float, float]) -> Points:
            return [(self.x + ahead * dx, y, self.z + ahead * dz) for ahead, y in points]

        metal, bottom, bars, saddle = (46, 48, 52), (0.0, 0.32), (0.4, 0.85), (-0.15, 0.85)
        for hub in (0.53, -0.53):
            rim = [(hub + 0.34 * cos(a), 0.35 + 0.34 * sin(a)) for a in np.linspace(0, 2 * pi, 17)]
            pen.stroke(at(*rim), 0.07, (20, 20, 22))
        pen.stroke(at((-0.53, 0.35), bottom, bars, saddle, (-0.53, 0.35)), 0.06, metal)
        pen.stroke(at((0.53, 0.35), (0.4, 0.98)), 0.06, metal)
        for phase, shade in ((self.step, 1.0), (self.step + pi, 0.8)):
            foot = (0.16 * cos(phase), 0.32 + 0.16 * sin(phase))
            leg = at((-0.15, 0.98), (0.2, 0.55 + 0.5 * foot[1]), foot)
            pen.stroke(leg, 0.16, _scaled(self.trousers, shade))
        pen.stroke(at((-0.17, 1.0), (0.08, 1.45)), 0.42, self.jersey)
        pen.stroke(at((0.06, 1.42), (0.2, 1.15), (0.42, 1.04)), 0.12, _scaled(self.jersey, 0.8))
        x, y, _ = at((0.14, 1.74))[0]
        pen.disc(x, y, self.z, 0.13, self.skin)
        pen.disc(x, y + 0.07, self.z, 0.13, self.helmet)


class Street:
    """One street, drawn from a seed: `frame(k)` is what the camera sees k frames into the drive."""

    def __init__(self, seed: int, width: int = 480, height: int = 360) -> None:
        self.seed, self.width, self.height = seed, width, height
        rng = np.random.default_rng(seed)
        self.eye = rng.uniform(1.35, 1.65)
        self.focal = height * rng.uniform(1.0, 1.25)
        self.centre = width * (0.5 + rng.uniform(-0.07, 0.07))
        self.horizon = height * (0.5 + rng.uniform(-0.08, 0.06))

        # The British side: the camera drives in the left lane, at x = 0.
        self.lane = rng.uniform(2.8, 3.5)
        self.parking = [bool(likely) for likely in rng.random(2) < (0.45, 0.6)]
        left = -(self.lane / 2 + 0.9 + 1.9 * self.parking[0])
        right = 1.5 * self.lane + 0.5 + 1.9 * self.parking[1]
        self.kerbs = (left, right)
        self.walls = (left - rng.uniform(2.8, 5.5), right + rng.uniform(2.8, 5.5))
        self.pitch = rng.uniform(8.0, 13.0)  # metres of street that one house takes
        self.green = rng.uniform(0.1, 0.65)
        self.fenced = rng.uniform(0.4, 0.9)
        self.avenue = rng.uniform(0, 0.7)
        self.leaves = _between(rng, (48, 54, 24), (98, 96, 52))
        self.asphalt = _between(rng, (66, 66, 68), (112, 111, 112))
        self.paving = _between(rng, (104, 98, 92), (152, 144, 136))
        self.yellow_lines = rng.random() < 0.5

        weather = ("overcast", "sunny", "dusk")[rng.choice(3, p=(0.5, 0.35, 0.15))]
        grey = rng.uniform(196, 238)
        haze: Colour = (grey, grey * 1.005, grey * 1.015)
        self.zenith = _scaled(haze, rng.uniform(0.8, 1.0))
        exposure, warmth, sun = rng.uniform(1.05, 1.5), rng.uniform(0.93, 1.03), 0.0
        if weather == "sunny":
            sun = float(rng.choice((-1, 1))) * rng.uniform(0.5, 1.0)
            self.zenith = _between(rng, (120, 160, 205), (165, 190, 220))
        elif weather == "dusk":
            haze, self.zenith = (190, 168, 158), (112, 124, 150)
            exposure *= rng.uniform(0.55, 0.8)
        self.clouds = rng.uniform(3, 18)
        self.light = Light(sun, weather == "dusk", haze, rng.uniform(90, 260))
        self.gain = (exposure * warmth, exposure, exposure * (2 - warmth))
        self.contrast = rng.uniform(1.1, 1.6)
        self.blur = rng.uniform(0.35, 0.8)
        self.noise = rng.uniform(1.5, 4.5)

    def frame(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Frame `index` >= 0: image, RGB uint8 [H, W, 3], and labels 0..10, uint8 [H, W]."""
        z = index * METRES_PER_FRAME
        optics = (self.width, self.height, self.focal, self.centre, self.horizon, self.eye)
        empty = np.zeros((self.height, self.width, 4), np.uint8)
        canvas = Canvas(Camera(*optics, z), self.light, empty)

        first = int(z // self.pitch) - 1
        things = list(self._traffic(z, index / FRAME_RATE))
        for cell in range(first, first + int(VIEW / self.pitch) + 2):
            things += self._cell(cell)
        things = [thing for thing in things if -thing.reach < thing.z - z < VIEW]
        things.sort(key=lambda thing: (thing.layer, -thing.z))

        self._sky(canvas)
        self._ground(canvas)
        houses = sum(isinstance(thing, House) for thing in things)
        for house in things[:houses]:
            house.draw(canvas)
        self._texture(canvas, things[houses:])
        for thing in things[houses:]:
            thing.draw(canvas)
        labels = np.asarray(cv2.extractChannel(canvas.pixels, 3), np.uint8)
        return self._sensor(canvas.pixels, index), labels

    def _cell(self, cell: int) -> Iterator[Thing]:
        """What keeps its place in one pitch of the street, the same whenever it is asked for."""
        rng = np.random.default_rng((self.seed, cell + 10))
        near = cell * self.pitch
        for side, out in ((0, -1), (1, 1)):
            wall, kerb = self.walls[side], self.kerbs[side]
            if rng.random() < self.green:
                for k in range(5):
                    size = (rng.uniform(3.5, 6.5), rng.uniform(4, 8))
                    x = wall + out * rng.uniform(0.4, 3)
                    z = near + (k + rng.random()) * self.pitch / 5
                    yield Bush(x, z, 0, size, _varied(rng, self.leaves), int(rng.integers(99)))
            else:
                paint, shop = _pick(rng, WALLS), _scaled(_pick(rng, WALLS), rng.uniform(0.3, 0.9))
                floors, paint = int(rng.integers(2, 5)), _varied(rng, paint)
                yield House(wall, near, self.pitch, floors, paint, shop, int(rng.integers(1 << 31)))
            if rng.random() < self.fenced:
                if rng.random() < 0.6:
                    colour = _between(rng, (60, 46, 34), (120, 92, 66))
                else:
                    colour = _varied(rng, (38, 46, 44))
                yield Fence(wall - out * 0.25, near, self.pitch, rng.uniform(1.1, 1.8), colour)
            if rng.random() < self.avenue:
                size = (rng.uniform(3, 5), rng.uniform(3.5, 6))
                z, trunk = near + rng.random() * self.pitch, rng.uniform(2.0, 2.8)
                leaves, kind = _varied(rng, self.leaves), int(rng.integers(99))
                yield Tree(kerb + out * 0.9, z, trunk, size, leaves, kind)
            if (cell + side) % 2 == 0:
                height, colour = rng.uniform(6, 9), _varied(rng, (92, 96, 94))
                yield Lamp(kerb + out * 0.5, near + 1.0, height, colour)
            for _ in range(int(rng.integers(1, 3))):
                shape, z = str(rng.choice(Sign.shapes)), near + rng.random() * self.pitch
                colour = _pick(rng, [(24, 62, 128), (18, 84, 62)])
                yield Sign(kerb + out * rng.uniform(0.4, 1), z, shape, rng.uniform(2.2, 3), colour)
            if self.parking[side] and rng.random() < 0.75:
                z = near + rng.random() * (self.pitch - 4.5)
                tall = float(rng.choice((1.42, 1.5, 1.65, 2.1)))
                yield Car(kerb - out, z, _varied(rng, _pick(rng, PAINTS)), tall, side == 0)

    def _traffic(self, z: float, time: float) -> Iterator[Thing]:
        """What moves: the car ahead, and the rest on a belt of VIEW metres before the camera."""
        rng = np.random.default_rng((self.seed, 0))

        def ahead(speed: float) -> float:
            return z + (rng.uniform(0, VIEW) + (speed * time - z)) % VIEW

        def dyed(colours: list[Colour]) -> Colour:
            return _varied(rng, _pick(rng, colours))

        if rng.random() < 0.6:
            gap, x = rng.uniform(9, 26) + 2.5 * sin(0.4 * time), rng.uniform(-0.4, 0.3)
            yield Car(x, z + gap, dyed(PAINTS), rng.uniform(1.42, 1.7), True)
        for _ in range(int(rng.integers(1, 5))):
            tall, x = float(rng.choice((1.42, 1.5, 2.1))), self.lane + rng.uniform(-0.2, 0.2)
            yield Car(x, ahead(-8.0), dyed(PAINTS), tall, False)
        for _ in range(int(rng.integers(16, 30))):
            side, speed = int(rng.integers(2)), rng.uniform(0.9, 1.6) * float(rng.choice((-1, 1)))
            room = rng.uniform(0.3, abs(self.walls[side] - self.kerbs[side]) - 0.8)
            x = self.kerbs[side] + (room if side else -room)
            coat, trousers, step = dyed(CLOTHES), dyed(CLOTHES), rng.uniform(0, 6) + 5 * time
            where, height, skin = ahead(speed), rng.uniform(1.5, 1.9), _pick(rng, SKINS)
            yield Walker(x, where, height, coat, trousers, skin, step)
        for _ in range(int(rng.integers(0, 3))):  # crossing the road, to and fro
            x = sin(rng.uniform(0, 6) + 0.25 * time) * self.kerbs[1] * 0.7
            x += (self.kerbs[0] + self.kerbs[1]) / 2
            coat, trousers = dyed(CLOTHES), dyed(CLOTHES)
            where, height, skin = ahead(0.0), rng.uniform(1.5, 1.9), _pick(rng, SKINS)
            yield Walker(x, where, height, coat, trousers, skin, 5 * time)
        for _ in range(int(rng.integers(6, 12))):
            away, turn = rng.random() < 0.6, rng.uniform(0.35, 1.1) * float(rng.choice((-1, 1)))
            x = rng.uniform(-1.9, -1.3) if away else self.lane + rng.uniform(1.3, 1.9)
            jersey, trousers, helmet = dyed(CLOTHES + PAINTS), dyed(CLOTHES), dyed(PAINTS)
            step, where = rng.uniform(0, 6) + 6 * time, ahead(3.5 if away else -4.0)
            heading, skin = turn if away else pi + turn, _pick(rng, SKINS)
            yield Rider(x, where, heading, jersey, trousers, skin, helmet, step)

    def _sky(self, canvas: Canvas) -> None:
        rows, shift = max(int(self.horizon) + 2, 1), self.seed % 256
        patch = _noise()[shift : shift + 80, :240]
        clouds = cv2.resize(patch, (self.width, rows), interpolation=cv2.INTER_CUBIC)
        down = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
        for channel in range(3):
            top, bottom = np.float32(self.zenith[channel]), np.float32(self.light.haze[channel])
            colour = self.clouds * clouds + (top * (1 - down) + bottom * down)
            canvas.pixels[:rows, :, channel] = np.clip(colour, 0, 255)
        canvas.pixels[:rows, :, 3] = SKY

        # The end of the street: a hazy skyline that keeps its distance.
        rng, far = np.random.default_rng((self.seed, 1)), canvas.camera.z + VIEW
        trees, houses = Pen(canvas, TREE, far), Pen(canvas, BUILDING, far)
        for x in range(-70, 71, 7):
            height, paint = rng.uniform(3, 11), _pick(rng, WALLS)
            if rng.integers(2):
                size, kind = (11, height + 2), int(rng.integers(99))
                trees.foliage((x, height / 2, far), size, self.leaves, kind)
            else:
                houses.fill(_front(x, height / 2, far, 7.5, height), paint)

    def _ground(self, canvas: Canvas) -> None:
        z, (left, right) = canvas.camera.z, self.kerbs
        far, gutter = z + 20 * VIEW, _scaled(self.asphalt, 0.75)
        road, pavement = Pen(canvas, ROAD), Pen(canvas, PAVEMENT)
        canvas.pixels[max(int(self.horizon), 0) :] = pavement.ink(self.paving)
        pavement.fill(_strip(left - 0.18, right + 0.18, z, far), _scaled(self.paving, 1.2))
        road.fill(_strip(left, right, z, far), self.asphalt)
        road.fill(_strip(left, left + 0.25, z, far), gutter)
        road.fill(_strip(right - 0.25, right, z, far), gutter)

        white = _scaled((196, 196, 190), 0.75 + self.asphalt[0] / 400)
        middle, start = self.lane / 2 + 0.05, z // 6 * 6
        for dash in np.arange(start, start + 90, 6).tolist():
            if dash + 3 > z:
                road.fill(_strip(middle - 0.07, middle + 0.07, dash, dash + 3), white)
        if self.yellow_lines:
            for edge in (left + 0.35, left + 0.6, right - 0.7, right - 0.45):
                road.fill(_strip(edge, edge + 0.1, z, far), (176, 150, 66))
        zebra = ((z + 5) // 53 + 1) * 53 - 5  # one every 53 metres
        for stripe in np.arange(left + 0.3, right - 0.5, 1.1).tolist():
            road.fill(_strip(stripe, stripe + 0.55, zebra, zebra + 3.2), white)

    def _texture(self, canvas: Canvas, things: list[Thing]) -> None:
        """Grain, shadows and haze, looked up where each pixel's ray meets the floor or a wall."""
        camera, sun, labels = canvas.camera, self.light.sun, canvas.pixels[..., 3]
        u = (np.arange(self.width, dtype=np.float32) - self.centre) / self.focal
        v = (np.arange(self.height, dtype=np.float32) - self.horizon) / self.focal
        wall = np.where(u < 0, -self.walls[0], self.walls[1]) / np.maximum(np.abs(u), 1e-3)
        floor = np.where(v > 1e-3, self.eye / np.maximum(v, 1e-3), 1e4)
        wall = np.minimum(wall, 2 * VIEW).astype(np.float32)[None, :]
        floor = np.minimum(floor, 2 * VIEW).astype(np.float32)[:, None]
        depth = np.minimum(wall, floor)
        across = np.where(floor <= wall, u[None, :], v[:, None]) * (depth * TEXELS_PER_METRE)
        along = (depth + np.float32(camera.z % 512)) * TEXELS_PER_METRE
        grains = cv2.remap(_surfaces(), along, across, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        grain = np.full_like(labels, 128)
        for channel, label in enumerate((ROAD, PAVEMENT, BUILDING)):
            np.copyto(grain, grains[..., channel], where=labels == label)
        # Grain fades with distance, where it would only flicker.
        gain = grain.astype(np.float32)
        gain -= 128
        gain /= 256
        gain *= np.exp(depth / np.float32(-25))
        gain += 1

        shadow = np.zeros_like(labels)
        if sun:  # the houses on its side throw their shadow on the street
            wall_x = self.walls[0 if sun < 0 else 1]
            reach = (6 if sun < 0 else -6) * (1.2 - abs(sun))
            strip = _strip(wall_x, wall_x + reach, camera.z, camera.z + 400)
            cv2.fillConvexPoly(shadow, camera.pixels(strip), 1)
        for thing in things:
            if thing.layer == Thing.layer:
                half, length = thing.shadow
                left, right = thing.x - half - max(2.2 * sun, 0), thing.x + half - min(2.2 * sun, 0)
                strip = _strip(left, right, thing.z - 0.15, thing.z + length)
                cv2.fillConvexPoly(shadow, camera.pixels(strip), 1)
        ground = (labels == ROAD) | (labels == PAVEMENT)
        gain[(shadow > 0) & ground] -= np.float32(0.3 + 0.2 * abs(sun))

        clear = np.exp(depth / np.float32(-self.light.visibility))
        clear[labels == SKY] = 1
        gain *= clear
        air = 1 - clear
        for channel, haze in enumerate(self.light.haze):
            plane = canvas.pixels[..., channel] * gain
            plane += np.float32(haze) * air
            canvas.pixels[..., channel] = np.clip(plane, 0, 255, out=plane)

    def _sensor(self, scene: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Exposure, tone, lens blur and noise: effects on the whole image; labels stay true."""
        tone = 255 * (np.arange(256) / 255) ** self.contrast
        curves = np.clip(np.stack([tone * gain for gain in self.gain], -1), 0, 255)
        image = cv2.LUT(cv2.cvtColor(scene, cv2.COLOR_RGBA2RGB), curves.astype(np.uint8)[None])
        image = cv2.GaussianBlur(image, (3, 3), self.blur)
        top, left = np.random.default_rng((self.seed, 2, index)).integers(0, 64, 2)
        noise = _sensor_noise(self.height, self.width)[top:, left:][: self.height, : self.width]
        image = cv2.addWeighted(image, 1.0, noise, self.noise / 32, 0.0, dtype=cv2.CV_8U)
        return np.asarray(image, np.uint8)


def _scaled(colour: Colour, factor: float) -> Colour:
    r, g, b = colour
    return min(255.0, r * factor), min(255.0, g * factor), min(255.0, b * factor)


def _pick(rng: np.random.Generator, colours: list[Colour]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _varied(rng: np.random.Generator, colour: Colour) -> Colour:
    factor, shifts = rng.uniform(0.8, 1.2), rng.uniform(-6, 6, 3).tolist()
    r, g, b = (min(max(c * factor + s, 0.0), 255.0) for c, s in zip(colour, shifts, strict=True))
    return r, g, b


def _between(rng: np.random.Generator, low: Colour, high: Colour) -> Colour:
    t = rng.random()
    r, g, b = (a + t * (b - a) for a, b in zip(low, high, strict=True))
    return r, g, b


def _wall(x: float, bottom: float, top: float, near: float, far: float) -> Points:
    """A rectangle along the street."""
    return [(x, bottom, near), (x, top, near), (x, top, far), (x, bottom, far)]


def _front(x: float, y: float, z: float, width: float, height: float) -> Points:
    """A rectangle that faces the camera."""
    w, h = width / 2, height / 2
    return [(x - w, y - h, z), (x + w, y - h, z), (x + w, y + h, z), (x - w, y + h, z)]


def _strip(left: float, right: float, near: float, far: float, y: float = 0.0) -> Points:
    """A level rectangle, on the ground or at height y."""
    return [(left, y, near), (right, y, near), (right, y, far), (left, y, far)]


def _trapezium(x: float, low: Point, high: Point) -> Points:
    """A trapezium symmetric about x, from a low to a high edge, each (half its width, y, z)."""
    (a, ya, za), (b, yb, zb) = low, high
    return [(x - a, ya, za), (x + a, ya, za), (x + b, yb, zb), (x - b, yb, zb)]


def _wheel(x: float, hub: float, radius: float) -> Points:
    turn = [k * pi / 6 for k in range(12)]
    return [(x, 0.33 + radius * sin(a), hub + radius * cos(a)) for a in turn]


def _panes(x: float, bottom: Array, z: Array, half: float, height: float) -> Array:
    """Rectangles [N, 4, 3] along the street, around z [N] and above bottom [N]."""
    panes = np.empty((len(z), 4, 3))
    panes[..., 0] = x
    panes[..., 1] = bottom[:, None] + np.array((0, height, height, 0))
    panes[..., 2] = z[:, None] + np.array((-half, -half, half, half))
    return panes


@cache
def _noise(size: int = 512) -> NDArray[np.float32]:
    """Cloud-like noise, float32 [size, size], mean 0, deviation 1, that repeats without a seam."""
    rng = np.random.default_rng(7)
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / np.maximum(f, 1 / size) ** 1.3
    noise = np.fft.irfft2(spectrum, (size, size))
    noise -= noise.mean()
    return np.asarray(noise / noise.std(), np.float32)


@cache
def _surfaces(size: int = 512) -> NDArray[np.uint8]:
    """Asphalt, slabs and bricks, uint8 [size, size, 3]: 128 is even, 256 more twice as bright."""
    rng = np.random.default_rng(8)
    fine = rng.standard_normal((size, size)).astype(np.float32)
    row, column = np.indices((size, size))
    asphalt = 0.07 * fine + 0.06 * _noise()
    slabs = 0.04 * fine + 0.06 * _noise() - 0.22 * ((row % 32 < 2) | (column % 32 < 2))
    course, along = row // 8, column + row // 8 % 2 * 8
    bricks = rng.standard_normal((size // 8, size // 16)).astype(np.float32)
    bricks = bricks[course, along // 16 % 32]
    mortar = (row % 8 < 1) | (along % 16 < 1)
    brickwork = np.where(mortar, 0.12, 0.09 * bricks) + 0.03 * fine + 0.06 * _noise()
    surfaces = 128 + 256 * np.stack([asphalt, slabs, brickwork], -1)
    return np.asarray(surfaces.clip(0, 255), np.uint8)


@cache
def _crowns(count: int = 6, size: int = 224) -> list[NDArray[np.uint8]]:
    """Crowns of leaves, uint8 [size, size]: 0 is a hole, 128 their colour, lighter on top."""
    rng = np.random.default_rng(9)
    crowns = []
    for _ in range(count):
        crown = np.zeros((size, size), np.uint8)
        for _ in range(1900):
            angle, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * size * 0.44
            x, y = size / 2 + radius * np.cos(angle), size / 2 + radius * np.sin(angle)
            shade = int(np.clip(128 * (1.25 - 0.6 * y / size) + rng.normal(0, 30), 30, 255))
            cv2.circle(crown, (round(x), round(y)), int(rng.integers(2, 7)), shade, -1)
        crowns.append(crown)
    return crowns


@lru_cache(4)
def _sensor_noise(height: int, width: int) -> NDArray[np.int8]:
    """Noise of deviation 32, int8 [height + 64, width + 64, 3], for a frame to be cut from."""
    noise = np.random.default_rng(10).standard_normal((height + 64, width + 64, 3), np.float32)
    return np.clip(noise * 32, -127, 127).astype(np.int8)
