"""Colors of objects on the street, RGB in 0..255, and their random variation."""

import numpy as np

Color = tuple[float, float, float]

# fmt: off
WALLS: list[Color] = [
    (112, 74, 60), (134, 98, 76), (150, 136, 110), (168, 160, 146),
    (196, 188, 170), (104, 100, 96), (92, 66, 58),
]
PAINTS: list[Color] = [
    (26, 27, 30), (58, 60, 66), (150, 153, 158), (205, 206, 208),
    (34, 48, 88), (122, 24, 26), (28, 62, 50),
]
CLOTHES: list[Color] = [
    (30, 30, 36), (52, 56, 74), (84, 78, 70), (120, 40, 44),
    (40, 66, 60), (150, 144, 134), (38, 42, 90),
]
SKINS: list[Color] = [(206, 164, 140), (172, 124, 98), (106, 74, 58)]
# fmt: on


def scaled(color: Color, factor: float) -> Color:
    """Return ``color`` with its brightness multiplied by ``factor``, clipped to 255."""
    r, g, b = color
    return min(255.0, r * factor), min(255.0, g * factor), min(255.0, b * factor)


def pick(rng: np.random.Generator, colors: list[Color]) -> Color:
    """Return a random one of ``colors``."""
    return colors[int(rng.integers(len(colors)))]


def varied(rng: np.random.Generator, color: Color) -> Color:
    """Return ``color`` with its brightness varied by 20 % and each channel by 6 levels."""
    factor, shifts = rng.uniform(0.8, 1.2), rng.uniform(-6, 6, 3).tolist()
    r, g, b = (min(max(c * factor + s, 0.0), 255.0) for c, s in zip(color, shifts, strict=True))
    return r, g, b


def between(rng: np.random.Generator, low: Color, high: Color) -> Color:
    """Return a random color on the line from ``low`` to ``high``."""
    t = rng.random()
    r, g, b = (a + t * (b - a) for a, b in zip(low, high, strict=True))
    return r, g, b
