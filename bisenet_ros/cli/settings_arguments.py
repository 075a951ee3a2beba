"""Arguments that select training settings."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bisenet_ros.training.settings import Settings


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--config`` and ``--set``."""
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


def open_settings(args: argparse.Namespace) -> "Settings":
    """Return the settings selected by the arguments.

    Raises:
        SettingsError: The file does not exist, or a setting is invalid.
    """
    from bisenet_ros.resources import settings_path
    from bisenet_ros.training.settings import read_settings

    return read_settings(settings_path(args.config) if args.config else None, args.set)
