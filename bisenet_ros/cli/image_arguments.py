"""Arguments that say how images are read."""

import argparse

from bisenet_ros.cli.argument_types import whole_number
from bisenet_ros.images.bit_depth import FULL_DEPTH, MIN_DEPTH


def add_bit_depth_argument(
    parser: argparse.ArgumentParser, default: int | None = FULL_DEPTH
) -> None:
    """Declare ``--bit-depth``; a ``default`` of None stands for the training setting."""
    parser.add_argument(
        "--bit-depth",
        type=whole_number(MIN_DEPTH, FULL_DEPTH),
        default=default,
        metavar="N",
        help="bits of the values in 16-bit images; 10, 12 or 14 if they are not shifted up to fill "
        f"16 (default: {'setting bit_depth' if default is None else '%(default)s'})",
    )
