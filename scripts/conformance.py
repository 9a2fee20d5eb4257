#!/usr/bin/env python3
"""Makes docs/CONFORMANCE.md of the scenarios and of the catalogue of requirements.

    conformance.py            writes the document
    conformance.py --check    says whether it is stale; exit code 1 when it is
"""

from __future__ import annotations

import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "Tests"
DOCUMENT = ROOT / "docs" / "CONFORMANCE.md"
SCENARIOS = TESTS / "EndToEnd" / "scenarios"
CATALOGUE = SCENARIOS / "catalogue" / "requirements.toml"

HEAD = """# Conformance

What the RFCs of IPsec require, in our own words, and what holds it here. Made by `scripts/conformance.py` from
`Tests/EndToEnd/scenarios`; a test says when it is stale.

A scenario is a data file's entry: packets in, packets out, judged by programs that are not ours. All of them run with

    .build-python/bin/python -m pytest Tests/EndToEnd/replay/test_scenarios.py -k "numbers/duplicates"

`Tests/EndToEnd/scenarios/README.md` says how to write one.
"""


class CatalogueError(Exception):
    """A catalogue that says what is not so."""


def scenarios() -> dict[str, dict]:
    """By "file/name": what is shown, and the tags."""
    found = {}
    for path in sorted(SCENARIOS.glob("*.toml")):
        for table in tomllib.loads(path.read_text())["scenario"]:
            found[f"{path.stem}/{table['name']}"] = table
    return found


def rows() -> list[tuple[dict, list[tuple[dict, list[str]]]]]:
    """For each RFC its requirements with the scenarios that hold them. Raises `CatalogueError`."""
    known, wrong, result = scenarios(), [], []
    catalogue = tomllib.loads(CATALOGUE.read_text())["rfc"]
    for rfc in catalogue:
        sections = [must["section"] for must in rfc["must"]]
        entries = []
        for must in rfc["must"]:
            where = f"RFC {rfc['number']} {must['section']}: {must['text']}"
            if sections.count(must["section"]) > 1 and not any(
                    key in must for key in ("held", "tests", "not_held", "by_design")):
                wrong.append(f"{where}: its section has several rows: say which scenarios hold this one")
            entries.append((must, _held(must, f"{rfc['number']} {must['section']}", known, where, wrong)))
        result.append((rfc, entries))
    wrong += _strange_tags(catalogue, known)
    if wrong:
        raise CatalogueError("\n".join(wrong))
    return result


def _held(must: dict, tag: str, known: dict[str, dict], where: str, wrong: list[str]) -> list[str]:
    held = []
    for pattern in must.get("held", []):
        found = [name for name in known if fnmatchcase(name, pattern)]
        if not found:
            wrong.append(f"{where}: there is no scenario {pattern}")
        held += [name for name in found if name not in held]
    if not any(key in must for key in ("held", "tests", "not_held", "by_design")):
        held = [name for name, table in known.items() if tag in table.get("rfc", [])]
    for test in must.get("tests", []):
        if not (TESTS / test).is_file():
            wrong.append(f"{where}: there is no {test} in Tests")
    if not held and not any(key in must for key in ("tests", "not_held", "by_design")):
        wrong.append(f"{where}: held by nothing, and no word why")
    return held


def _strange_tags(catalogue: list[dict], known: dict[str, dict]) -> list[str]:
    """Tags of a catalogued RFC that name a section without a requirement."""
    sections = {f"{rfc['number']} {must['section']}" for rfc in catalogue for must in rfc["must"]}
    numbers = {str(rfc["number"]) for rfc in catalogue}
    return [
        f"scenario {name}: the catalogue has nothing for RFC {tag}"
        for name, table in known.items() for tag in table.get("rfc", [])
        if tag.split()[0] in numbers and tag not in sections]


def document() -> str:
    """The text of docs/CONFORMANCE.md."""
    table = rows()
    lines = [HEAD]
    total = sum(len(entries) for _, entries in table)
    open_ = sum("not_held" in must for _, entries in table for must, _ in entries)
    lines += [f"{total} requirements, of which {total - open_} are held and {open_} are not, each with its reason.", ""]
    for rfc, entries in table:
        lines += [f"## RFC {rfc['number']}: {rfc['title']}", "", "| section | requirement | held by |", "|---|---|---|"]
        for must, held in entries:
            lines.append(f"| {must['section']} | {must['text']} | {_holders(must, held)} |")
        lines.append("")
    lines += ["## Scenarios", "", "What each of them shows, with the sections it is tagged with.", ""]
    file = None
    for name, scenario in scenarios().items():
        stem, own = name.split("/", 1)
        if stem != file:
            lines += ["" if file else "", f"### {stem}", "", "| scenario | shows | RFC |", "|---|---|---|"]
            file = stem
        lines.append(f"| {own} | {scenario['shows']} | {', '.join(scenario.get('rfc', []))} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _holders(must: dict, held: list[str]) -> str:
    """The last column: scenarios, other tests, or why there are none."""
    parts = [f"`{name}`" for name in held] + [f"`{test}`" for test in must.get("tests", [])]
    if "by_design" in must:
        parts.append(must["by_design"])
    if "not_held" in must:
        parts.append(f"**not held**: {must['not_held']}")
    return ", ".join(parts)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 64
    try:
        text = document()
    except CatalogueError as error:
        print(error, file=sys.stderr)
        return 1
    if not arguments:
        DOCUMENT.write_text(text)
        return 0
    if DOCUMENT.is_file() and DOCUMENT.read_text() == text:
        return 0
    print("docs/CONFORMANCE.md is stale: run scripts/conformance.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
