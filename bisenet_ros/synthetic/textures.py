"""Textures shared by all streets: noise, surfaces and tree crowns."""

from functools import cache, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 512
"""Side of noise and surfaces in pixels; a multiple of 32, so that slabs and bricks tile."""
CROWNS, CROWN_SIZE = 6, 224


@cache
def noise() -> NDArray[np.float32]:
    """Return tileable cloud noise, float32 [SIZE,SIZE], mean 0 and standard deviation 1."""
    rng = np.random.default_rng(7)
    f = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
    spectrum = np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) / np.maximum(f, 1 / SIZE) ** 1.3
    noise = np.fft.irfft2(spectrum, (SIZE, SIZE))
    noise -= noise.mean()
    return np.asarray(noise / noise.std(), np.float32)


@cache
def surfaces() -> NDArray[np.uint8]:
    """Return asphalt, slabs and bricks, uint8 [SIZE,SIZE,3]: brightness is 1 + (v - 128) / 256."""
    rng = np.random.default_rng(8)
    fine = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
    row, column = np.indices((SIZE, SIZE))
    asphalt = 0.07 * fine + 0.06 * noise()
    slabs = 0.04 * fine + 0.06 * noise() - 0.22 * ((row % 32 < 2) | (column % 32 < 2))
    course, along = row // 8, column + row // 8 % 2 * 8
    bricks = rng.standard_normal((SIZE // 8, SIZE // 16)).astype(np.float32)
    bricks = bricks[course, along // 16 % (SIZE // 16)]
    mortar = (row % 8 < 1) | (along % 16 < 1)
    brickwork = np.where(mortar, 0.12, 0.09 * bricks) + 0.03 * fine + 0.06 * noise()
    surfaces = 128 + 256 * np.stack([asphalt, slabs, brickwork], -1)
    return np.asarray(surfaces.clip(0, 255), np.uint8)


@cache
def crowns() -> list[NDArray[np.uint8]]:
    """Return tree crowns, uint8 [CROWN_SIZE,CROWN_SIZE]: 0 is a gap, 128 the color of leaves."""
    rng, size = np.random.default_rng(9), CROWN_SIZE
    crowns = []
    for _ in range(CROWNS):
        crown = np.zeros((size, size), np.uint8)
        for _ in range(1900):
            angle, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * size * 0.44
            x, y = size / 2 + radius * np.cos(angle), size / 2 + radius * np.sin(angle)
            shade = int(np.clip(128 * (1.25 - 0.6 * y / size) + rng.normal(0, 30), 30, 255))
            cv2.circle(crown, (round(x), round(y)), int(rng.integers(2, 7)), shade, -1)
        crowns.append(crown)
    return crowns


@lru_cache(4)
def sensor_noise(height: int, width: int) -> NDArray[np.int8]:
    """Return noise to crop from, int8 [height+64,width+64,3], with standard deviation 32."""
    noise = np.random.default_rng(10).standard_normal((height + 64, width + 64, 3), np.float32)
    return np.clip(noise * 32, -127, 127).astype(np.int8)
