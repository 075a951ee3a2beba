"""Guides are consistent with the code: commands, options, settings files, links and scores."""

import argparse
import ast
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from catkin_pkg.changelog import get_changelog_from_path
from catkin_pkg.package import parse_package

from bisenet_ros.cli.main import SUBCOMMANDS
from bisenet_ros.model import file as model_file
from bisenet_ros.resources import model_path, settings_path, share_directory
from bisenet_ros.training.settings import RENAMED, read_settings

ROOT = share_directory()
LAUNCH = re.compile(r"launch(_ros)?\b")
GUIDES = [
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "models" / "README.md",
        ROOT / "models" / "recipe" / "README.md",
        ROOT / "requirements" / "README.md",
        *ROOT.glob("docs/*.md"),
    )
    if path.is_file()
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"<<-? *'?(\w+)'?(.*?)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
OPERATORS = {";", "&", "&&", "|", "||"}
OUR_FILES = ("config/", "models/", "docs/", "launch/", "scripts/")


class Place(NamedTuple):
    """A position in a guide, which names its test."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def blocks(*languages: str) -> Iterator[Place]:
    """Yield the fenced blocks of these languages in all guides."""
    for path in GUIDES:
        text = path.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 2
                yield Place(str(path.relative_to(ROOT)), line, match[2])


def heredocs() -> Iterator[Place]:
    """Yield the Python programs within shell blocks."""
    for block in blocks("sh", "bash"):
        for match in HEREDOC.finditer(block.text):
            line = block.line + block.text.count("\n", 0, match.start(3))
            yield Place(block.file, line, match[3])


def commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and words of each simple command in shell text, without redirections."""
    # Blank out here-documents, keeping the line numbers.
    text = HEREDOC.sub(lambda match: match[2] + "\n" * match[0].count("\n"), text)
    text = re.sub(r"\\\n", lambda _: " \0", text)
    line = 0
    for row in text.splitlines():
        line += 1
        start, line = line, line + row.count("\0")
        row = re.sub(r"\$\([^)]*\)", "VALUE", row.replace("\0", " "))
        lexer = shlex.shlex(row, posix=True, punctuation_chars=";&|<>")
        lexer.whitespace_split = True
        words: list[str] = []
        redirected = False
        for word in lexer:
            if word in OPERATORS:
                yield start, words
                words = []
            elif set(word) <= set("<>&"):
                redirected = True
            elif redirected:
                redirected = False
            else:
                words.append(word)
        yield start, words


def commands_of(program: str) -> list[Place]:
    """Return the joined arguments of each call of ``program`` in the guides."""
    found = []
    for block in blocks("sh", "bash"):
        for line, words in commands(block.text):
            # The program may follow env, nice or torchrun.
            starts = [k + 1 for k, word in enumerate(words) if word == program]
            if starts:
                arguments = shlex.join(words[starts[0] :])
                found.append(Place(block.file, block.line + line - 1, arguments))
    return found


BISENET = [*commands_of("bisenet"), *commands_of("bisenet_ros.cli.main")]


@pytest.mark.parametrize("place", BISENET, ids=str)
def test_bisenet_accepts_the_command(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    name, *arguments = shlex.split(place.text)
    assert name in SUBCOMMANDS, f"{place}: no subcommand 'bisenet {name}'"
    parser = argparse.ArgumentParser()
    import_module(f"bisenet_ros.cli.{name}").add_arguments(parser)
    try:
        args = parser.parse_args(arguments)
    except SystemExit:
        pytest.fail(f"{place}: bisenet {place.text}: {capsys.readouterr().err}")
    if getattr(args, "config", None):
        assert settings_path(args.config).is_file()


@pytest.mark.parametrize("place", BISENET, ids=str)
def test_shipped_files_in_commands_exist(place: Place) -> None:
    for word in shlex.split(place.text):
        if word.startswith(OUR_FILES):
            assert (ROOT / word).is_file(), f"{place}: {word}"


@pytest.mark.parametrize("place", commands_of("launch"), ids=str)
def test_launch_file_declares_the_arguments(place: Place) -> None:
    package, file, *arguments = shlex.split(place.text)
    assert package == "bisenet_ros"
    tree = ast.parse((ROOT / "launch" / file).read_text())
    declared = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name("DeclareLaunchArgument"), args=[ast.Constant(name), *_]):
                declared.add(name)
            case ast.Assign(targets=[ast.Name("PARAMETERS")], value=ast.Tuple(elts=names)):
                declared |= {name.value for name in names}
    for argument in arguments:
        if ":=" in argument:
            assert argument.partition(":=")[0] in declared, f"{place}: {argument}"


@pytest.mark.parametrize("place", commands_of("make"), ids=str)
def test_make_has_the_target(place: Place) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [word for word in shlex.split(place.text) if "=" not in word]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{place}: make {target}"


@pytest.mark.parametrize("place", [*blocks("python"), *heredocs()], ids=str)
def test_python_imports_exist(place: Place) -> None:
    for node in ast.walk(ast.parse(place.text)):
        # launch is not on PyPI; without it, the folder launch/ would be imported instead.
        if isinstance(node, ast.ImportFrom) and node.module and not LAUNCH.match(node.module):
            module = import_module(node.module)
            for entry in node.names:
                assert hasattr(module, entry.name), f"{place}: {node.module}.{entry.name}"


def anchors(guide: Path) -> set[str]:
    """Return the anchors of a page's headings by GitHub's rule."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", guide.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_local_links_have_a_target(guide: Path) -> None:
    text = FENCE.sub("", guide.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://")):
            file, _, anchor = target.partition("#")
            page = guide.parent / file if file else guide
            assert page.exists(), f"{guide.name}: {target}"
            assert not anchor or anchor in anchors(page), f"{guide.name}: {target}"


def test_commands_are_parsed_like_a_shell() -> None:
    text = """# bisenet none
    FOO=1 bisenet info --json x.json > out.txt  # a comment
    python3 - a <<'PY' && bisenet demo
    bisenet = "not a command"
PY
    bisenet train --set "scales=[1, 2]" \\
      --data $(ls | head -1) | tee log
    """
    found = [(line, words) for line, words in commands(text) if words]
    assert found == [
        (2, ["FOO=1", "bisenet", "info", "--json", "x.json"]),
        (3, ["python3", "-", "a"]),
        (3, ["bisenet", "demo"]),
        (6, ["bisenet", "train", "--set", "scales=[1, 2]", "--data", "VALUE"]),
        (6, ["tee", "log"]),
    ]
    assert len(BISENET) >= 4


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_test_files_named_in_guides_exist(guide: Path) -> None:
    for name in re.findall(r"\btest/[\w./]*\w", guide.read_text()):
        assert (ROOT / name).exists(), f"{guide}: {name}"


def test_commands_of_the_recipe_match_the_shipped_model() -> None:
    text = (ROOT / "models" / "recipe" / "README.md").read_text()
    (block,) = FENCE.findall(text)
    parser = argparse.ArgumentParser()
    import_module("bisenet_ros.cli.train").add_arguments(parser)
    trained = []
    for _, words in commands(block[1]):
        if words:
            args = parser.parse_args(words[words.index("train") + 1 :])
            trained.append(asdict(read_settings(settings_path(args.config), args.set)))
    stored = model_file.load(model_path("")).metadata.recipe
    assert len(trained) == 12
    for settings in map(json.loads, map(json.dumps, reversed(trained))):
        # Older runs lack settings that were added later, and have some under old names.
        stored = {RENAMED.get(name, name): value for name, value in stored.items()}
        names = stored.keys() & settings.keys()
        assert len(names) >= 18
        assert {name: settings[name] for name in names} == {name: stored[name] for name in names}
        stored = stored.get("init", {})
    assert stored == {}


def test_model_card_has_the_scores_of_the_model_file() -> None:
    rows = re.findall(
        r"^\| \**(\w[\w ]*?)\** \| \**([\d.]+)\** \| \**([\d.]+)\** \|$",
        (ROOT / "models" / "README.md").read_text(),
        re.MULTILINE,
    )
    shown = {}
    for row, *values in rows:
        measure = {"mean IoU": "miou", "pixel accuracy": row}.get(row, f"iou {row}")
        for dataset, value in zip(("camvid/val", "synthetic street"), values, strict=True):
            shown[dataset, measure] = float(value)
    stored = {
        (score.dataset, score.measure): pytest.approx(100 * score.value, abs=0.051)
        for score in model_file.load(model_path("")).metadata.scores
        if score.precision == "fp32" and score.measure != "fw iou"
    }
    assert shown == stored


def test_latest_version_of_the_changelog_is_the_package_version() -> None:
    """Parse it as ROS's release tools do, which skip malformed headings."""
    changelog = get_changelog_from_path(str(ROOT / "CHANGELOG.rst"))
    latest, _, content = next(changelog.foreach_version())
    assert latest == parse_package(ROOT).version
    assert content


def test_the_nav2_example_gives_every_class_of_the_shipped_model_a_cost() -> None:
    """A class that the layer's parameters do not name costs nothing."""
    (text,) = (each.text for each in blocks("yaml") if "SemanticSegmentationLayer" in each.text)
    costmap = yaml.safe_load(text)["local_costmap"]["local_costmap"]["ros__parameters"]
    source = costmap["semantic_layer"]["front"]
    cost = {
        name: source[kind]["max_cost"]
        for kind in source["class_types"]
        for name in source[kind]["classes"]
    }
    listed = [name for kind in source["class_types"] for name in source[kind]["classes"]]
    classes = [entry.name for entry in model_file.load(model_path("")).metadata.classes]
    assert sorted(listed) == sorted(classes)
    free = {name for name, value in cost.items() if value == 0}
    assert free == {"road", "pavement", "sky"}
    assert cost["building"] == 254
