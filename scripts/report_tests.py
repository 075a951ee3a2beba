"""Summarize the latest `make test` and `make test-avx2`: skips by reason, failures and totals.

Exits with 1 if a test failed, if no test ran, or, with --expected-skips, if the skipped tests
differ from the listed ones. Needs only Python's standard library.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from pathlib import Path

RESULTS = Path(__file__).parent.parent / "build/bisenet_ros/test_results/bisenet_ros"


def outcome(case: ET.Element) -> str:
    """Return passed, failed or skipped."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def test_id(case: ET.Element) -> str:
    """Return a name that is the same on all machines: dotted module, then test."""
    name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
    return name.removeprefix("bisenet_ros.")  # ament's --junit-prefix


def skip_reason(case: ET.Element) -> str:
    """Return the reason without file and line."""
    skipped = case.find("skipped")
    assert skipped is not None
    text = (skipped.text or "").strip()
    if text.startswith("("):  # a whole module was skipped: (file, line, "Skipped: reason")
        text = ast.literal_eval(text)[2]
    text = re.sub(r"^\S+?\.py:\d+: ", "", text)
    return re.sub(r"\s+", " ", text.removeprefix("Skipped: ")) or skipped.get("message", "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--expected-skips", type=Path, metavar="FILE", nargs="+", default=[])
    arguments = parser.parse_args()

    files = sorted(RESULTS.glob("*.xml"))
    cases = [(case, file.name) for file in files for case in ET.parse(file).iter("testcase")]
    totals = Counter(outcome(case) for case, _ in cases)
    # A set: a test that runs again under AVX2 is skipped twice for the same reason.
    skips = {(test_id(c), skip_reason(c)) for c, _ in cases if outcome(c) == "skipped"}
    ok = totals["failed"] == 0 and totals["passed"] > 0

    by_reason = defaultdict(list)
    for name, reason in sorted(skips):
        by_reason[reason].append(name)
    for reason, names in by_reason.items():
        print(f"skipped: {reason}")
        for name in names:
            print(f"  {name}")
    for case, file_name in cases:
        if outcome(case) == "failed":
            where = "failed under AVX2" if file_name.startswith("avx2_") else "failed"
            print(f"{where}: {test_id(case)}")

    if arguments.expected_skips:
        found = {f"{name}: {reason}" for name, reason in skips}
        lines = [
            line for file in arguments.expected_skips for line in file.read_text().splitlines()
        ]
        expected = {line for line in lines if line and not line.startswith("#")}
        for line in sorted(found - expected):
            print(f"skipped unexpectedly: {line}")
        for line in sorted(expected - found):
            print(f"expected to be skipped, but was not: {line}")
        ok = ok and found == expected

    if not cases:
        print(f"no test results in {RESULTS}")
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
