"""Positions of static and moving objects on a street, determined by its seed."""

from collections.abc import Iterator
from math import pi, sin

import numpy as np

from bisenet_ros.synthetic import colors
from bisenet_ros.synthetic.colors import Color
from bisenet_ros.synthetic.things import (
    Bush,
    Car,
    Fence,
    House,
    Lamp,
    Rider,
    Sign,
    Thing,
    Tree,
    Walker,
)

VIEW = 80.0
"""Viewing distance in meters; the skyline is drawn at this distance."""


class Layout:
    """Plan of one street: lanes, kerbs, side walls and the objects along them.

    Args:
        seed: seed of the street, for its objects.
        rng: generator that the street's own dimensions are drawn from.
    """

    def __init__(self, seed: int, rng: np.random.Generator) -> None:
        self.seed = seed
        # Left-hand traffic as in CamVid: the camera drives in the left lane, at x = 0.
        self.lane = rng.uniform(2.8, 3.5)
        self.parking = [bool(likely) for likely in rng.random(2) < (0.45, 0.6)]
        left = -(self.lane / 2 + 0.9 + 1.9 * self.parking[0])
        right = 1.5 * self.lane + 0.5 + 1.9 * self.parking[1]
        self.kerbs = (left, right)
        self.walls = (left - rng.uniform(2.8, 5.5), right + rng.uniform(2.8, 5.5))
        self.pitch = rng.uniform(8.0, 13.0)  # length of one house in meters
        self.green = rng.uniform(0.1, 0.65)
        self.fenced = rng.uniform(0.4, 0.9)
        self.avenue = rng.uniform(0, 0.7)
        self.leaves = colors.between(rng, (48, 54, 24), (98, 96, 52))
        self.asphalt = colors.between(rng, (66, 66, 68), (112, 111, 112))
        self.paving = colors.between(rng, (104, 98, 92), (152, 144, 136))
        self.yellow_lines = rng.random() < 0.5

    def standing(self, cell: int) -> Iterator[Thing]:
        """Yield the static objects of one cell, ``pitch`` meters of the street.

        The same cell always has the same objects.
        """
        rng = np.random.default_rng((self.seed, cell + 10))
        near = cell * self.pitch
        for side, out in ((0, -1), (1, 1)):
            wall, kerb = self.walls[side], self.kerbs[side]
            if rng.random() < self.green:
                for k in range(5):
                    size = (rng.uniform(3.5, 6.5), rng.uniform(4, 8))
                    x = wall + out * rng.uniform(0.4, 3)
                    z = near + (k + rng.random()) * self.pitch / 5
                    leaves, kind = colors.varied(rng, self.leaves), int(rng.integers(99))
                    yield Bush(x, z, 0, size, leaves, kind)
            else:
                paint, shop = colors.pick(rng, colors.WALLS), colors.pick(rng, colors.WALLS)
                shop = colors.scaled(shop, rng.uniform(0.3, 0.9))
                floors, paint = int(rng.integers(2, 5)), colors.varied(rng, paint)
                yield House(wall, near, self.pitch, floors, paint, shop, int(rng.integers(1 << 31)))
            if rng.random() < self.fenced:
                if rng.random() < 0.6:
                    color = colors.between(rng, (60, 46, 34), (120, 92, 66))
                else:
                    color = colors.varied(rng, (38, 46, 44))
                yield Fence(wall - out * 0.25, near, self.pitch, rng.uniform(1.1, 1.8), color)
            if rng.random() < self.avenue:
                size = (rng.uniform(3, 5), rng.uniform(3.5, 6))
                z, trunk = near + rng.random() * self.pitch, rng.uniform(2.0, 2.8)
                leaves, kind = colors.varied(rng, self.leaves), int(rng.integers(99))
                yield Tree(kerb + out * 0.9, z, trunk, size, leaves, kind)
            if (cell + side) % 2 == 0:
                height, color = rng.uniform(6, 9), colors.varied(rng, (92, 96, 94))
                yield Lamp(kerb + out * 0.5, near + 1.0, height, color)
            for _ in range(int(rng.integers(1, 3))):
                shape, z = str(rng.choice(Sign.shapes)), near + rng.random() * self.pitch
                color = colors.pick(rng, [(24, 62, 128), (18, 84, 62)])
                yield Sign(kerb + out * rng.uniform(0.4, 1), z, shape, rng.uniform(2.2, 3), color)
            if self.parking[side] and rng.random() < 0.75:
                z = near + rng.random() * (self.pitch - 4.5)
                tall = float(rng.choice((1.42, 1.5, 1.65, 2.1)))
                paint = colors.varied(rng, colors.pick(rng, colors.PAINTS))
                yield Car(kerb - out, z, paint, tall, away=side == 0)

    def traffic(self, z: float, time: float) -> Iterator[Thing]:
        """Yield the moving objects ahead of depth z.

        A car may keep its distance ahead of the camera; all others move within the VIEW meters
        ahead, leaving at one end and entering again at the other.

        Args:
            z: position of the camera in meters.
            time: seconds since the start of the drive.
        """
        rng = np.random.default_rng((self.seed, 0))

        def ahead(speed: float) -> float:
            return z + (rng.uniform(0, VIEW) + (speed * time - z)) % VIEW

        def dyed(dyes: list[Color]) -> Color:
            return colors.varied(rng, colors.pick(rng, dyes))

        if rng.random() < 0.6:
            gap, x = rng.uniform(9, 26) + 2.5 * sin(0.4 * time), rng.uniform(-0.4, 0.3)
            yield Car(x, z + gap, dyed(colors.PAINTS), rng.uniform(1.42, 1.7), True)
        for _ in range(int(rng.integers(1, 5))):
            tall, x = float(rng.choice((1.42, 1.5, 2.1))), self.lane + rng.uniform(-0.2, 0.2)
            yield Car(x, ahead(-8.0), dyed(colors.PAINTS), tall, False)
        for _ in range(int(rng.integers(16, 30))):
            side, speed = int(rng.integers(2)), rng.uniform(0.9, 1.6) * float(rng.choice((-1, 1)))
            room = rng.uniform(0.3, abs(self.walls[side] - self.kerbs[side]) - 0.8)
            x = self.kerbs[side] + (room if side else -room)
            coat, trousers, step = (
                dyed(colors.CLOTHES),
                dyed(colors.CLOTHES),
                rng.uniform(0, 6) + 5 * time,
            )
            where, height, skin = (
                ahead(speed),
                rng.uniform(1.5, 1.9),
                colors.pick(rng, colors.SKINS),
            )
            yield Walker(x, where, height, coat, trousers, skin, step)
        for _ in range(int(rng.integers(0, 3))):  # crossing the road back and forth
            x = sin(rng.uniform(0, 6) + 0.25 * time) * self.kerbs[1] * 0.7
            x += (self.kerbs[0] + self.kerbs[1]) / 2
            coat, trousers = dyed(colors.CLOTHES), dyed(colors.CLOTHES)
            where, height, skin = (
                ahead(0.0),
                rng.uniform(1.5, 1.9),
                colors.pick(rng, colors.SKINS),
            )
            yield Walker(x, where, height, coat, trousers, skin, 5 * time)
        for _ in range(int(rng.integers(6, 12))):
            away, turn = rng.random() < 0.6, rng.uniform(0.35, 1.1) * float(rng.choice((-1, 1)))
            x = rng.uniform(-1.9, -1.3) if away else self.lane + rng.uniform(1.3, 1.9)
            jersey, trousers, helmet = (
                dyed(colors.CLOTHES + colors.PAINTS),
                dyed(colors.CLOTHES),
                dyed(colors.PAINTS),
            )
            step, where = rng.uniform(0, 6) + 6 * time, ahead(3.5 if away else -4.0)
            heading, skin = turn if away else pi + turn, colors.pick(rng, colors.SKINS)
            yield Rider(x, where, heading, jersey, trousers, skin, helmet, step)
