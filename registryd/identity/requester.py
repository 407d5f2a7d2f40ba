"""Where a peer asks from: the address that its packets have to carry for an answer to reach it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Self
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Requester:
    """An IP address, the same for every way in which sockets and gRPC spell it."""

    address: str

    def __post_init__(self) -> None:
        address = ip_address(self.address)
        # What an IPv4 client looks like to a socket that listens on both.
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        object.__setattr__(self, "address", str(address))

    @classmethod
    def of_grpc(cls, peer: str) -> Self:
        """Of what gRPC's context calls a peer: `ipv4:10.0.0.1:4711`, `ipv6:%5B::1%5D:4711`. Raises ValueError."""
        _, _, endpoint = unquote(peer).partition(":")
        host, _, _ = endpoint.rpartition(":")
        return cls(host.removeprefix("[").removesuffix("]"))
