"""Command lines of `vpn-gw` in documents, held against what the program says of itself."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

from vpngw.gateway import ROOT, command


@dataclass(frozen=True)
class CommandLine:
    """A command of a document, without what a shell takes from it."""

    line: int
    words: tuple[str, ...]
    # In a block, to be typed as it is; elsewhere a mention, which may leave out what a command needs.
    is_whole: bool

    def __str__(self) -> str:
        return f"line {self.line}: {' '.join(self.words)}"


def documents() -> list[Path]:
    """All that are of the project's own."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def command_lines(text: str) -> list[CommandLine]:
    """Those of blocks, whether fenced or indented, and those between backquotes."""
    found, prose, block, fence = [], [], [], None
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        marker = re.match(r"\s*(```+)", line)
        if marker and fence in (None, marker[1]):
            fence = marker[1] if fence is None else None
            prose.append("")
        elif fence or re.match(r"(\$ | {4,}(\$ )?)vpn-gw ", line):
            block.append((number, line))
            prose.append("")
        else:
            prose.append(line)
    joined = ""
    for number, line in block:
        joined += line.lstrip() if joined else line
        if joined.endswith("\\"):
            joined = joined[:-1].rstrip() + " "
            continue
        found += [CommandLine(number, words, True) for words in invocations(joined)]
        joined = ""
    # A mention may go on in the next line, and no further than its paragraph.
    for span in re.finditer(r"(`+)((?:(?!\n\s*\n|`).)+)\1", "\n".join(prose), re.S):
        number = "\n".join(prose)[:span.start()].count("\n") + 1
        found += [CommandLine(number, words, False) for words in invocations(" ".join(span[2].split()))]
    return sorted(found, key=lambda one: one.line)


def invocations(line: str) -> list[tuple[str, ...]]:
    """What follows `vpn-gw` where that is the command: what a shell, sudo or a wrapper runs."""
    # Words of explanation stand behind a # or three blanks.
    line = re.sub(r"\s#.*| {3,}(?=\S).*$", "", line.strip().removeprefix("$ "))
    found = []
    # "show|log" is a choice, and no pipe: there are no blanks around it.
    for part in re.split(r"\s*(?:&&|\|\||[;()])\s*|\s\|\s", line):
        try:
            words = shlex.split(part)
        except ValueError:  # an apostrophe: no command
            continue
        if "--" in words and words[words.index("--") + 1:][:1] == ["vpn-gw"]:
            words = words[words.index("--") + 1:]
        while words and (words[0] == "sudo" or re.fullmatch(r"[A-Z_]+=.*", words[0])):
            words = words[1:]
        if words[:1] == ["vpn-gw"] and len(words) > 1:
            ends = [place for place, word in enumerate(words) if re.fullmatch(r"\d?[<>].*", word)]
            found.append(tuple(words[1:ends[0] if ends else None]))
    return found


@cache
def program() -> dict:
    """The program's verbs and options, in its own words."""
    return json.loads(command("--experimental-dump-help").stdout)["command"]


def problem(one: CommandLine) -> str | None:
    """Why the program would not take a line; None when it would."""
    # "linux|vpp" stands for two lines.
    choices = [word.split("|") if re.fullmatch(r"[\w-]+(\|[\w-]+)+", word) else [word] for word in one.words]
    return next(filter(None, (wrong_words(list(words), one.is_whole) for words in product(*choices))), None)


def wrong_words(words: list[str], is_whole: bool) -> str | None:
    verb = program()
    while verb.get("subcommands") and words and not words[0].startswith("-"):
        word = words.pop(0)
        if word in ("…", "help"):
            return None
        named = [sub for sub in verb["subcommands"] if sub["commandName"] == word]
        if not named:
            return f"there is no verb {word}"
        verb, = named
    if verb is program():
        verb = next(sub for sub in verb["subcommands"] if sub["commandName"] == "run")
        # A program's version is its own.
        if words == ["--version"]:
            return None
    return wrong_arguments(verb, words, is_whole)


def wrong_arguments(verb: dict, words: list[str], is_whole: bool) -> str | None:
    arguments = verb.get("arguments", [])
    options = {f"{'-' if name['kind'] == 'short' else '--'}{name['name']}": argument
               for argument in arguments for name in argument.get("names", [])}
    positions = [argument for argument in arguments if argument["kind"] == "positional"]
    given: list[int] = []

    def refuses(argument: dict, value: str) -> bool:
        choices = argument.get("allValues")
        # What stands for a value is in capitals.
        return bool(choices) and not value.isupper() and "…" not in value and value not in choices

    place = 0
    while words:
        word = words.pop(0)
        if word == "…":
            return None
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            argument = options.get(name)
            if argument is None:
                return f"{verb['commandName']} has no option {name}"
            given.append(id(argument))
            if argument["kind"] == "option":
                if not equals and not words:
                    return f"{name} lacks its value" if is_whole else None
                value = value if equals else words.pop(0)
                if refuses(argument, value):
                    return f"{name} takes no {value}"
            elif equals:
                return f"{name} takes no value"
            continue
        if place == len(positions):
            return f"{verb['commandName']} takes no {word}"
        if refuses(positions[place], word):
            return f"{verb['commandName']} knows no {word}"
        given.append(id(positions[place]))
        place += not positions[place]["isRepeating"]
    lacking = [argument["valueName"] for argument in arguments if not argument["isOptional"] and id(argument) not in given]
    return f"{verb['commandName']} lacks {lacking[0]}" if is_whole and lacking else None
