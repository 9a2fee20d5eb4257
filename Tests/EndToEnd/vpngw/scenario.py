"""Scenarios: data files that say what goes into a gateway and what must come out. scenarios/README.md tells more.

A scenario file holds [[scenario]] tables over a base site of scenarios/sites. This module reads them, puts parameters
in, and turns expressions into packets; scenario_run.py runs them.
"""

from __future__ import annotations

import hashlib
import itertools
import tomllib
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from .judge import TRANSFORMS, Association
from .vocabulary import Vocabulary

DIRECTORY = Path(__file__).resolve().parents[1] / "scenarios"

KEYS = {
    "name", "shows", "rfc", "base", "parameters", "variants", "grid", "define", "site", "without", "arguments", "in",
    "out", "drops", "report", "sa", "refused",
}
"""What a [[scenario]] table may hold; a misspelt key would be an assertion that nobody makes."""


class ScenarioError(Exception):
    """A scenario that is not written as one."""


@dataclass(frozen=True)
class Scenario:
    """One [[scenario]] of a file, before its parameters are put in."""

    file: str
    table: dict

    @property
    def identifier(self) -> str:
        return f"{self.file}/{self.table['name']}"

    @property
    def shows(self) -> str:
        return self.table["shows"]

    @property
    def tags(self) -> list[str]:
        """RFC sections: "4303 3.4.3"."""
        return self.table.get("rfc", [])

    @cached_property
    def base(self) -> dict:
        return _read(DIRECTORY / "sites" / f"{self.table['base']}.toml")

    def cases(self) -> list[Case]:
        """The scenario with every combination of its variants' parameters."""
        rows = self.table.get("variants", [{}])
        if isinstance(rows, str):
            rows = self.base["tables"][rows]
        grid = self.table.get("grid", {})
        products = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
        return [Case(self, {**row, **point}) for row in rows for point in products]


@dataclass
class Case:
    """A scenario with its parameters: one run of the gateway."""

    scenario: Scenario
    variant: dict
    names: dict = field(init=False)
    """Everything that expressions may name besides scapy's words and ours."""
    site: dict = field(init=False)

    def __post_init__(self) -> None:
        scenario = self.scenario.table
        base = self.scenario.base
        parameters = {**base.get("parameters", {}), **scenario.get("parameters", {}), **self.variant}
        site = deepcopy(base["site"])
        _merge(site, scenario.get("site", {}))
        for path in scenario.get("without", []):
            _remove(site, path)
        self.site = _put_in(site, parameters)
        _give_keys(self.site)
        self.names = Vocabulary(parameters, self.associations()).names()
        for name, text in {**base.get("define", {}), **scenario.get("define", {})}.items():
            self.names[name] = self.evaluate(text)

    @property
    def title(self) -> str:
        said = ", ".join(f"{name}={value}" for name, value in self.variant.items())
        return self.scenario.identifier + (f" [{said}]" if said else "")

    def get(self, key: str, default=None):
        """A key of the scenario's table with parameters in place."""
        return _put_in(deepcopy(self.scenario.table.get(key, default)), self.names)

    def evaluate(self, text):
        """The value of an expression; what is no text stands for itself."""
        if not isinstance(text, str):
            return text
        try:
            return eval(f"({text}\n)", {**self.names, "__builtins__": {}})  # noqa: S307: our own files, and no builtins
        except Exception as error:
            raise ScenarioError(f"{self.title}: {text!r}: {type(error).__name__}: {error}") from error

    def evaluate_list(self, text) -> list:
        """The same, where one packet is as good as a list of one."""
        value = self.evaluate(text)
        return value if isinstance(value, list) else [value]

    def associations(self) -> dict[tuple[str, str, int], Association]:
        """By tunnel, direction and child: every SA of the site."""
        found = {}
        for tunnel in self.site.get("tunnel", []):
            algorithm = algorithm_of(tunnel)
            if algorithm not in TRANSFORMS:
                continue  # of a site that is to be refused
            ends = {
                "outbound": (tunnel["local_address"], tunnel["remote_address"]),
                "inbound": (tunnel["remote_address"], tunnel["local_address"]),
            }
            for number, pair in enumerate([tunnel, *tunnel.get("child", [])]):
                for direction, (source, destination) in ends.items():
                    found[tunnel["name"], direction, number] = Association(
                        algorithm, pair[direction]["spi"], bytes.fromhex(pair[direction]["key"][2:]), source,
                        destination, tunnel.get("mode") == "transport", tunnel.get("extended_sequence_numbers", False),
                        tunnel.get("nat_traversal", False))
        return found

    def site_text(self, directory: Path) -> str:
        """The site as a file, with its state in `directory`."""
        gateway = {"state_directory": str(directory / "state"), "control_socket": str(directory / "control.sock")}
        return toml({"gateway": {"name": "scenario", **gateway, **self.site.get("gateway", {})},
                     **{key: value for key, value in self.site.items() if key != "gateway"}})


def algorithm_of(tunnel: dict) -> str:
    """The algorithm's name with its ICV, whichever of the two keys says how large that is."""
    name = tunnel.get("algorithm", "aes-128-gcm-16")
    octets = tunnel.get("icv_octets")
    return f"{name.rsplit('-', 1)[0]}-{octets}" if octets and "gcm" in name else name


def load(path: Path) -> list[Scenario]:
    """The scenarios of one file."""
    document = _read(path)
    common = {key: value for key, value in document.items() if key != "scenario"}
    scenarios = []
    for table in document["scenario"]:
        merged = deepcopy(common)
        for key, value in table.items():
            if key in ("define", "parameters", "site") and key in merged:
                _merge(merged[key], value)
            else:
                merged[key] = value
        if unknown := set(merged) - KEYS:
            raise ScenarioError(f"{path.name}: {table.get('name')}: unknown keys {sorted(unknown)}")
        if missing := {"name", "shows", "base"} - set(merged):
            raise ScenarioError(f"{path.name}: {table.get('name')}: no {sorted(missing)}")
        scenarios.append(Scenario(path.stem, merged))
    names = [scenario.identifier for scenario in scenarios]
    if len(set(names)) != len(names):
        raise ScenarioError(f"{path.name}: two scenarios of one name")
    return scenarios


def load_all() -> list[Scenario]:
    """Every scenario there is, in the order of files."""
    return [scenario for path in sorted(DIRECTORY.glob("*.toml")) for scenario in load(path)]


def toml(document: dict) -> str:
    """A document with tables and arrays of tables as TOML."""
    return "\n".join(_table(document, "")) + "\n"


def _table(table: dict, path: str) -> list[str]:
    lines, below = [], []
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            below += ["", f"[{name}]", *_table(value, name)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for entry in value:
                below += ["", f"[[{name}]]", *_table(entry, name)]
        else:
            lines.append(f"{key} = {_value(value)}")
    return lines + below


def _value(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _read(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise ScenarioError(f"{path}: {error}") from error


def _merge(into: dict, changes: dict) -> None:
    """Changes of a site: tables are merged, arrays of named tables by name; an entry without a namesake is added."""
    for key, value in changes.items():
        old = into.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            entries = into.setdefault(key, [])
            for entry in value:
                namesake = next((one for one in entries if "name" in one and one["name"] == entry.get("name")), None)
                if namesake is None:
                    entries.append(deepcopy(entry))
                else:
                    _merge(namesake, entry)
        else:
            into[key] = deepcopy(value)


def _remove(site: dict, path: str) -> None:
    """Takes away what "tunnel.site-b.local_subnets" or "route" names."""
    *way, last = path.split(".")
    place = site
    for step in way:
        place = next(one for one in place if one["name"] == step) if isinstance(place, list) else place[step]
    if isinstance(place, list):
        place.remove(next(one for one in place if one["name"] == last))
    else:
        del place[last]


def _put_in(value, parameters: dict):
    """Strings that are "$name" become the parameter's value, of whatever type."""
    if isinstance(value, str):
        return parameters[value[1:]] if value.startswith("$") else value
    if isinstance(value, dict):
        return {key: _put_in(entry, parameters) for key, entry in value.items()}
    if isinstance(value, list):
        return [_put_in(entry, parameters) for entry in value]
    return value


def _give_keys(site: dict) -> None:
    """Every SA without a key gets one of its own, the same each time."""
    for tunnel in site.get("tunnel", []):
        transform = TRANSFORMS.get(algorithm_of(tunnel), TRANSFORMS["aes-128-gcm-16"])
        for number, pair in enumerate([tunnel, *tunnel.get("child", [])]):
            for direction in ("outbound", "inbound"):
                words = f"{tunnel['name']} {direction} {number}".encode()
                octets = hashlib.sha512(words).digest()[: transform.key_octets]
                pair[direction].setdefault("key", "0x" + octets.hex())
