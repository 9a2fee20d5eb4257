"""New keys for both ends of a tunnel while packets flow."""

from __future__ import annotations

import secrets

from vpngw.live import LiveGateway, Sites
from vpngw.network import wait_until


def pair(number: int) -> dict:
    """An SA pair as gw-a sees it."""
    return {"tunnel": "b", "outbound": {"spi": f"{0x10000 + number:#x}", "key": "0x" + secrets.token_hex(20)},
            "inbound": {"spi": f"{0x20000 + number:#x}", "key": "0x" + secrets.token_hex(20)}}


def mirrored(request: dict) -> dict:
    return {"tunnel": "a", "outbound": request["inbound"], "inbound": request["outbound"]}


def received(gateway: LiveGateway, spi: int) -> int:
    """Packets that came under an SA."""
    return sum(row["packets"] for row in gateway.show("sa")["sas"]
               if row["direction"] == "inbound" and int(row["spi"], 16) == spi)


def rekey(sites: Sites, number: int, before: str | None) -> str:
    """Make before break: both ends can receive under the next keys, then each sends under them, then the last go."""
    request = pair(number)
    sites.a.control.post("sa/add", request)
    sites.b.control.post("sa/add", mirrored(request))
    sites.a.control.post("sa/activate", {"tunnel": "b", "spi": request["outbound"]["spi"]})
    sites.b.control.post("sa/activate", {"tunnel": "a", "spi": request["inbound"]["spi"]})
    # Packets do not overtake each other: once one has come under the new keys, all sent before it have.
    for gateway, spi in ((sites.a, request["inbound"]["spi"]), (sites.b, request["outbound"]["spi"])):
        wait_until(lambda: received(gateway, int(spi, 16)), lambda: gateway.show("sa"), 60)
    if before:
        for gateway, tunnel in ((sites.a, "b"), (sites.b, "a")):
            code, messages = gateway.control.try_post("sa/remove", {"tunnel": tunnel, "spi": before})
            # Two generations back it is gone by itself.
            assert code == 0 or "has no SA" in messages[0], messages
    return request["outbound"]["spi"]
