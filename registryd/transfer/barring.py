"""Having the kernel drop attempts to connect from some addresses, before they cost this process anything.

A filter on the socket that listens (SO_ATTACH_FILTER, classic BPF, socket(7)) sees each packet that comes for it. This
filter drops the first packet of new connections from the addresses that it names, and nothing else. It needs no
privilege.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from array import array
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# asm-generic/socket.h; Python's socket module does not have it.
_SO_ATTACH_FILTER: Final = 26
# linux/filter.h: offsets from here on are counted from the network header, others from the one of TCP.
_NETWORK: Final = 0xFFF00000
_LOAD_BYTE, _LOAD_WORD, _SHIFT_RIGHT, _AND = 0x30, 0x20, 0x74, 0x54
_JUMP_IF_EQUAL, _JUMP, _RETURN = 0x15, 0x05, 0x06
_FLAGS_AT, _SYN, _SYN_OR_ACK = 13, 0x02, 0x12
_SOURCE_AT: Final = {4: 12, 6: 8}
_ALL: Final = 0xFFFFFFFF
_NONE: Final = 0
# Of IPv6 addresses, twice 6 KiB: the old filter and the new one have to fit into net.core.optmem_max, which is 20 KiB.
MOST_BARRED: Final = 64


class _Instruction(NamedTuple):
    code: int
    if_true: int
    if_false: int
    k: int


def bar(listening: socket.socket, addresses: Iterable[str]) -> None:
    """Refuse new connections from these IP addresses (of more than MOST_BARRED, the first ones). None: refuse none.

    Existing connections stay. Raises OSError where the kernel has no such filters.
    """
    program = _program([ipaddress.ip_address(text) for text in addresses][:MOST_BARRED])
    code = array("B", b"".join(struct.pack("HBBI", *each) for each in program))
    place, _ = code.buffer_info()  # the kernel is given a pointer
    listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), place))


def _program(addresses: Sequence[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> list[_Instruction]:
    program = [
        _Instruction(_LOAD_BYTE, 0, 0, _FLAGS_AT),
        _Instruction(_AND, 0, 0, _SYN_OR_ACK),
        _Instruction(_JUMP_IF_EQUAL, 1, 0, _SYN),
        _Instruction(_RETURN, 0, 0, _ALL),
    ]
    for address in addresses:
        program += _drop(address)
    return [*program, _Instruction(_RETURN, 0, 0, _ALL)]


def _drop(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[_Instruction]:
    """Instructions that drop a packet from one address, and pass any other packet to the instruction behind them."""
    tests = [
        _Instruction(_LOAD_BYTE, 0, 0, _NETWORK),
        _Instruction(_SHIFT_RIGHT, 0, 0, 4),
        _Instruction(_JUMP_IF_EQUAL, 0, 0, address.version),
    ]
    words = struct.unpack(f"!{len(address.packed) // 4}I", address.packed)
    for number, word in enumerate(words):
        tests.append(_Instruction(_LOAD_WORD, 0, 0, _NETWORK + _SOURCE_AT[address.version] + 4 * number))
        tests.append(_Instruction(_JUMP_IF_EQUAL, 0, 0, word))
    length = len(tests) + 1
    return [
        one._replace(if_false=length - at - 1) if one.code == _JUMP_IF_EQUAL else one for at, one in enumerate(tests)
    ] + [_Instruction(_RETURN, 0, 0, _NONE)]
