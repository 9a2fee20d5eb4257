#!/usr/bin/env python3
"""Adds up what `swift test` and `pytest` said at their ends: prints both last lines, then "N passed, M failed". Of `swift test`
also what failed, which stands far above its last line.

    sum.py SWIFT_LOG SWIFT_EXIT_CODE PYTEST_LOG PYTEST_EXIT_CODE

A runner that ran no test, did not come to its end, or ended badly though all passed, counts as one failure. Exit code 1 when
there is any.
"""

import itertools
import re
import sys


def swift(log: str) -> tuple[str, int, int]:
    """The summary line of Swift Testing, tests passed, tests failed."""
    end = None
    for end in re.finditer(r"Test run with (\d+) tests?\b.* (passed|failed) after .*", log):
        pass
    if end is None:
        return "did not come to its end", 0, 0
    failed = len(re.findall(r"^\S* *Test (?!run |case )\S.* failed after ", log, re.MULTILINE))
    if end[2] == "failed":
        failed = max(failed, 1)
    return end[0], int(end[1]) - failed, failed


def issues(log: str) -> list[str]:
    """What Swift Testing said of each failure, which its summary does not repeat: the line, and what follows it."""
    lines = log.splitlines()
    found = []
    for index, line in enumerate(lines):
        if " recorded an issue " in line:
            following = itertools.takewhile(lambda line: line.startswith("↳"), lines[index + 1:])
            found += [line, *following]
    return found


def pytest(log: str) -> tuple[str, int, int]:
    """The summary line of pytest, tests passed, tests failed or in error."""
    end = None
    for end in re.finditer(r"^=* *(\d+ \w+.* in [\d.]+s\b.*)$", log, re.MULTILINE):
        pass
    if end is None:
        return "did not come to its end", 0, 0
    counts = {word.rstrip("s"): int(number) for number, word in re.findall(r"(\d+) (\w+)", end[1].split(" in ")[0])}
    return end[1].rstrip("= "), counts.get("passed", 0), counts.get("failed", 0) + counts.get("error", 0)


def main(swift_log: str, swift_code: str, pytest_log: str, pytest_code: str) -> int:
    total_passed = total_failed = 0
    print()
    for name, read, path, code in [
        ("swift test", swift, swift_log, swift_code), ("pytest", pytest, pytest_log, pytest_code)
    ]:
        with open(path, encoding="utf-8", errors="replace") as log:
            text = log.read()
        line, passed, failed = read(text)
        if read is swift and failed:
            print("\n".join(issues(text)))
        if failed == 0 and (passed == 0 or code != "0"):
            failed = 1
            line += f" (exit code {code})"
        print(f"{name}: {line}")
        total_passed += passed
        total_failed += failed
    print(f"{total_passed} passed, {total_failed} failed")
    return 1 if total_failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
