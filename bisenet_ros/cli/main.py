"""Entry point of ``bisenet``: run a subcommand and report its errors."""

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from types import FrameType

from bisenet_ros.errors import EXPECTED, UsageError, describe

SUBCOMMANDS = {
    "demo": "run the real node on a video, bag, folder, camera or synthetic street",
    "segment": "write label images and overlays of images, a video, bag or camera, without a node",
    "train": "train the network on a folder of labeled images",
    "evaluate": "score a model on a folder of labeled images",
    "export": "export a model to ONNX, OpenVINO or TensorRT for other machines",
    "calibrate": "calibrate a model file for int8 on its training images",
    "engines": "build, list or clear compiled engines of this machine",
    "dataset": "import a labeling tool's export, or check a dataset before training",
    "benchmark": "measure the speed of each engine on this machine, side by side",
    "info": "show parameters, multiply-adds and metadata of a network or model file",
    "doctor": "check the environment of the node and suggest fixes",
}

_ENGINE_CACHE = {"--cache": "--engine-cache DIR"}
RENAMED: Mapping[str, Mapping[str, str]] = {
    "benchmark": _ENGINE_CACHE,
    "demo": _ENGINE_CACHE,
    "doctor": _ENGINE_CACHE,
    "evaluate": _ENGINE_CACHE,
    "segment": _ENGINE_CACHE,
    "export": {
        "--calibrate": "'bisenet calibrate --model FILE --data DIR'",
        "--list-cache": "'bisenet engines list'",
        "--clear-cache": "'bisenet engines clear'",
        "--device": "'bisenet engines build --backend tensorrt --device NAME'",
        "--cache": "--output DIR with --gpu, and --engine-cache DIR of 'bisenet engines'",
    },
    "train": {"--check-data": "'bisenet dataset check --data DIR'", "--licence": "--license TEXT"},
}
"""Options of version 0.1 by subcommand, with their replacements."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status.

    0: success. 1: failure, with the reason on stderr. 2: wrong usage. 70: a bug, with its
    traceback. 130: interrupted. Subcommands may define others.

    A subcommand is a module of the same name with ``add_arguments(parser)`` and ``run(args)``.
    Only the requested module is imported, and imports torch or rclpy in ``run``, so that ``--help``
    responds quickly.
    """
    _open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names need not be UTF-8
    arguments = _with_dashes(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="bisenet", description="BiSeNet V2 semantic segmentation for ROS 2."
    )
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUB-COMMAND")
    for name, summary in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        if arguments[:1] == [name]:
            module = import_module(f"bisenet_ros.cli.{name}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
            given = {word.partition("=")[0] for word in arguments}
            for old, new in RENAMED.get(name, {}).items():
                if old in given:
                    subparser.error(f"{old} is now {new}")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        # Report through the subcommand's parser, so that its usage is shown.
        subparsers.choices[options.subcommand].error(f"unrecognized arguments: {' '.join(unknown)}")
    signal.signal(signal.SIGTERM, _interrupt)
    # Log our INFO messages and other libraries' warnings to stderr.
    logging.basicConfig(format="%(message)s")
    logging.getLogger("bisenet_ros").setLevel(logging.INFO)
    try:
        status: int = options.run(options)
        sys.stdout.flush()  # raise errors of a pipe or disk here, not at Python's exit
    except KeyboardInterrupt:
        print("bisenet: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, e.g. head, has closed the pipe
        _discard_output()
        return 1
    except UsageError as error:
        subparsers.choices[options.subcommand].error(describe(error))
    except EXPECTED as error:
        try:
            sys.stdout.flush()
        except OSError:  # stdout itself failed, e.g. on a full disk
            _discard_output()
        print(f"bisenet {options.subcommand}: {describe(error)}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(
            f"bisenet {options.subcommand}: {describe(error)}; run 'bisenet doctor' to see how to "
            "install what is missing",
            file=sys.stderr,
        )
        return 1
    except Exception:
        traceback.print_exc()
        print(
            f"bisenet {options.subcommand}: this is a bug in bisenet_ros; please report it with "
            "the traceback, the command, and the output of 'bisenet doctor'",
            file=sys.stderr,
        )
        return os.EX_SOFTWARE
    return status


def _with_dashes(arguments: Sequence[str]) -> list[str]:
    """Join an option and the name of a file that starts with a dash, like another option."""
    joined: list[str] = []
    for word in arguments:
        option = joined[-1] if joined else ""
        if (
            option.startswith("--")
            and "=" not in option
            and word[:1] == "-"
            and Path(word).exists()
        ):
            joined[-1] = f"{option}={word}"
        else:
            joined.append(word)
    return joined


def _open_closed_streams() -> None:
    """Redirect closed standard streams, as in ``bisenet info >&-``, to the null device.

    Otherwise they are None, and the next opened file gets their file descriptor.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123


def _discard_output() -> None:
    """Redirect stdout to the null device, so that Python's flush at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
