#!/usr/bin/python3
"""Every test that the table of bad days in README.md names is in the file that it names."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def named(readme):
    """(test, file) of each cell like `test`, `test` (file)."""
    table = readme.split("## Bad input and bad days")[1]
    for tests, file in re.findall(r"((?:`\w+`(?:, )?)+) \(([\w./-]+)\)", table):
        for test in re.findall(r"`(\w+)`", tests):
            yield test, file


def main():
    pairs = list(named((HERE / "README.md").read_text()))
    missing = []
    for test, file in pairs:
        path = HERE.parent / file
        if not path.exists() or not re.search(rf"(?:TEST\w*\(\w+, |def ){test}\b", path.read_text()) and test not in path.stem:
            missing.append(f"{test} is not in {file}")
    print("\n".join(missing) or f"{len(pairs)} tests, all there")
    return 1 if missing or len(pairs) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
