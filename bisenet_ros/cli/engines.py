"""``bisenet engines``: build, list and clear compiled engines of this machine."""

import argparse
from collections.abc import Mapping

from bisenet_ros.cli.engine_arguments import (
    add_batch_size_argument,
    add_engine_arguments,
    add_engine_cache_argument,
    open_model,
    open_segmenter,
)

_SHOWN = ("backend", "model", "resolution", "precision", "device")
"""Fields of a cache key that identify an engine to the user; all backends have them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    summary = "build the engine in advance, so that a node with the same parameters starts quickly"
    build = actions.add_parser("build", help=summary, description=summary)
    build.set_defaults(act=_build)
    add_engine_arguments(build)
    build.add_argument(
        "--confidence",
        action="store_true",
        help="build an engine with confidence, for outputs: confidence or confidence_threshold",
    )
    add_batch_size_argument(build)
    summary = "list the engines in the cache"
    list_ = actions.add_parser("list", help=summary, description=summary)
    list_.set_defaults(act=_list)
    add_engine_cache_argument(list_)
    summary = "delete all engines in the cache"
    clear = actions.add_parser("clear", help=summary, description=summary)
    clear.set_defaults(act=_clear)
    add_engine_cache_argument(clear)


def run(args: argparse.Namespace) -> int:
    """Build an engine, or list or clear the engine cache.

    Raises:
        ModelFileError, ClassesError: The model or class file cannot be used.
        InferenceError: The engine is not available on this machine, or cannot run the model.
        EngineCacheError: The cache cannot be read or cleared, or is writable by other users.
    """
    args.act(args)
    return 0


def _build(args: argparse.Namespace) -> None:
    segmenter = open_segmenter(
        args, open_model(args), confidence=args.confidence, batch_size=args.batch_size
    )
    engine = segmenter.backend
    width, height = segmenter.resolution
    print(
        f"ready: {segmenter.model.name} at {width}x{height} on {engine.name}, {engine.device}, "
        f"{engine.precision}{_more(args.batch_size, args.confidence)}"
    )
    segmenter.close()


def _list(args: argparse.Namespace) -> None:
    from bisenet_ros.inference.engine_cache import EngineCache, cache_folder

    folder = cache_folder(args.engine_cache)
    entries = EngineCache(folder).entries()
    for entry in entries:
        what = f"unusable: {entry.problem}" if entry.key is None else _describe(entry.key)
        print(f"{entry.size / 1e6:8.1f} MB  {what}")
    total = sum(entry.size for entry in entries) / 1e6
    print(f"{_count(len(entries))}, {total:.1f} MB, in {folder}")


def _clear(args: argparse.Namespace) -> None:
    from bisenet_ros.inference.engine_cache import EngineCache, cache_folder

    folder = cache_folder(args.engine_cache)
    print(f"deleted {_count(EngineCache(folder).clear())} from {folder}")


def _describe(key: Mapping[str, str]) -> str:
    shown = [key[name] for name in _SHOWN if name in key]
    more = _more(int(key.get("batch size", 1)), key.get("confidence") == "yes")
    return ", ".join(shown) + more


def _more(batch_size: int, confidence: bool) -> str:
    batch = f", for {batch_size} images at once" if batch_size > 1 else ""
    return batch + (", with confidence" if confidence else "")


def _count(number: int) -> str:
    return f"{number} engine{'' if number == 1 else 's'}"
