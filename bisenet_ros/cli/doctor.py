"""``bisenet doctor``: check the environment of the node and suggest fixes."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bisenet_ros.cli.argument_types import positive_number
from bisenet_ros.cli.engine_arguments import add_engine_arguments, open_model, open_segmenter
from bisenet_ros.cli.output_files import check_output_files, write_json

if TYPE_CHECKING:
    from bisenet_ros.check import Check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--image",
        metavar="TOPIC",
        help="also check this image topic (JPEG if its name ends in /compressed)",
    )
    parser.add_argument(
        "--seconds",
        type=positive_number,
        default=5.0,
        metavar="S",
        help="time to wait for images on --image (default: %(default)g)",
    )
    add_engine_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the checks to this file")


def run(args: argparse.Namespace) -> int:
    """Run all checks and print their results; return 1 if one failed.

    Raises:
        OutputError: The ``--json`` file cannot be written.
    """
    check_output_files([args.json])
    checks = []
    for check in _checks(args):
        checks.append(check)
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<10} {check.detail}", flush=True)
        if check.remedy:
            print(f"{'':<17}{check.remedy}", flush=True)
    if args.json is not None:
        document = {"checks": [asdict(check) for check in checks]}
        write_json(args.json, document)
    return 0 if all(check.ok for check in checks) else 1


def _checks(args: argparse.Namespace) -> "Iterator[Check]":
    """Yield each check that is meaningful given the results of the previous ones."""
    from bisenet_ros.cli import environment_checks as doctor

    ros = doctor.check_ros()
    yield ros
    if ros.ok:
        yield doctor.check_transport()
    check, model = doctor.check_model(lambda: open_model(args))
    yield check
    if model is not None:
        yield doctor.check_engine(lambda: open_segmenter(args, model))
    if ros.ok and args.image:
        from bisenet_ros.ros.camera_check import check_camera

        yield check_camera(args.image, args.seconds)
