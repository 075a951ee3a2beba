"""Arguments that say how to train, and the settings that they name."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bisenet_ros.training.settings import Settings


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--config`` and ``--set``."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML file of training settings, or name of a shipped one, such as finetune or custom "
        "(default: the paper's for CamVid, too slow for a CPU)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override one setting; may be repeated",
    )


def open_settings(args: argparse.Namespace) -> "Settings":
    """Return the settings that the arguments name.

    Raises:
        SettingsError: there is no such file, or a setting is not valid.
    """
    from bisenet_ros.resources import settings_path
    from bisenet_ros.training.settings import read_settings

    return read_settings(settings_path(args.config) if args.config else None, args.set)
