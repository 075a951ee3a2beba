"""Arguments that select training settings."""

import argparse
from typing import TYPE_CHECKING

from bisenet_ros.cli.image_arguments import add_bit_depth_argument

if TYPE_CHECKING:
    from bisenet_ros.training.settings import Settings


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--config``, ``--set`` and ``--bit-depth``."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML file of training settings, or name of a shipped one, e.g. finetune or custom "
        "(default: the paper's for CamVid, too slow for a CPU)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a setting; may be repeated",
    )
    add_bit_depth_argument(parser, default=None)


def open_settings(args: argparse.Namespace) -> "Settings":
    """Return the settings selected by the arguments.

    Raises:
        SettingsError: The file does not exist, or a setting is invalid.
    """
    from bisenet_ros.resources import settings_path
    from bisenet_ros.training.settings import read_settings

    depth = [] if args.bit_depth is None else [f"bit_depth={args.bit_depth}"]
    return read_settings(settings_path(args.config) if args.config else None, [*args.set, *depth])
