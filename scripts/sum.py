#!/usr/bin/env python3
"""Adds up what `swift test` and `pytest` said at their ends: prints both last lines, then "N passed, M failed".

Exit code 1 when a test failed, and when a runner ran none or did not come to its end, which counts as one failure.
"""

import re
import sys


def swift(log: str) -> tuple[str, int, int]:
    """The summary line of Swift Testing, tests passed, tests failed."""
    end = None
    for end in re.finditer(r"Test run with (\d+) tests?\b.* (passed|failed) after .*", log):
        pass
    if end is None:
        return "swift test did not come to its end", 0, 1
    failed = len(re.findall(r"^\S* *Test (?!run |case )\S.* failed after ", log, re.MULTILINE))
    if end[2] == "failed":
        failed = max(failed, 1)
    return end[0], int(end[1]) - failed, failed


def pytest(log: str) -> tuple[str, int, int]:
    """The summary line of pytest, tests passed, tests failed or in error."""
    end = None
    for end in re.finditer(r"^=*\s?(.*\d+ \w+.* in [\d.]+s.*?)\s?=*$", log, re.MULTILINE):
        pass
    if end is None:
        return "pytest did not come to its end", 0, 1
    counts = {word.rstrip("s"): int(number) for number, word in re.findall(r"(\d+) (\w+)", end[1].split(" in ")[0])}
    return end[1], counts.get("passed", 0), counts.get("failed", 0) + counts.get("error", 0)


def main(swift_log: str, pytest_log: str) -> int:
    total_passed = total_failed = 0
    nothing_ran = False
    print()
    for name, read, path in [("swift test", swift, swift_log), ("pytest", pytest, pytest_log)]:
        with open(path, encoding="utf-8", errors="replace") as log:
            line, passed, failed = read(log.read())
        print(f"{name}: {line}")
        nothing_ran |= passed + failed == 0
        total_passed += passed
        total_failed += failed + (passed + failed == 0)
    print(f"{total_passed} passed, {total_failed} failed")
    return 1 if total_failed or nothing_ran else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
