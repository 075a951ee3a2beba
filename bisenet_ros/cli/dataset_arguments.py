"""Arguments that select a dataset."""

import argparse

DATA_HELP = (
    "folder of a dataset: images/, labels/ and classes.txt ('id name r g b' per line), or the "
    "official folders of Cityscapes, CamVid or COCO-Stuff"
)


def add_layout_arguments(parser: argparse.ArgumentParser, split: str) -> None:
    """Declare ``--layout`` and ``--split``, whose default is ``split``."""
    parser.add_argument(
        "--layout",
        default="auto",
        metavar="NAME",
        help="folder layout of --data, see docs/datasets.md (default: detect it)",
    )
    parser.add_argument(
        "--split",
        default=split,
        metavar="NAME",
        help="split of --data, such as train, val or train+val (default: %(default)s)",
    )
