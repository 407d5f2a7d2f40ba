"""How much one side of a peer connection lets the other do; both sides are built from these numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from registryd.aio.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable


class Rate(NamedTuple):
    """A rate: so many a second in the long run, and so many at once."""

    per_second: float
    burst: float


# Sizes are signed 64 bits wherever else they occur: in descriptors, in containerd, in file systems.
MAX_SIZE: Final = 2**63 - 1
# Read's messages: the size at which gRPC's cost per message no longer shows (1 MiB: 0.65 GB/s in Python).
READ_CHUNK_BYTES: Final = 1024 * 1024
# Replies: a chunk and its frame. Anything larger did not come from registryd.
MAX_REPLY_BYTES: Final = READ_CHUNK_BYTES + 64 * 1024
# Requests: a digest or an image name, at most a few hundred bytes.
MAX_REQUEST_BYTES: Final = 16 * 1024
# gRPC's own headers are some 200 bytes.
MAX_METADATA_BYTES: Final = 8 * 1024

# A handshake takes some milliseconds of processor time at each end; a client that takes longer only occupies a place.
HANDSHAKE_MILLISECONDS: Final = 5_000
# Connections of peers, of which an idle one costs 58 to 90 KB: a member of a cluster of 5,000 is asked by most of the
# others within five minutes only if all of them pull at once.
MAX_CONNECTIONS: Final = 8192
# Connections that the kernel has made and gRPC has not accepted: it accepts them even if they came from an address that
# is barred by now. gRPC asks for 4,096. Of more the first packet is dropped, and comes again after a second.
MAX_UNACCEPTED: Final = 512
# A connection is as good as the certificate it began with, which lives for 24 hours.
CONNECTION_AGE_MILLISECONDS: Final = 3_600_000
CONNECTION_GRACE_MILLISECONDS: Final = 60_000

# Per connection and in all. A node asks for some ten layers at once, each with one find and perhaps one Read. One
# address may have as many calls waiting in gRPC as this number times its connections, of some 5 KB each.
MAX_STREAMS_PER_CONNECTION: Final = 50
MAX_CALLS: Final = 1000
# Calls in gRPC's queue that the agent has not looked at yet: more than one address can have. Beyond this number gRPC
# drops calls of any address.
MAX_PENDING: Final = 4096
# Of one address: other nodes go on being answered whatever one does. Behind an address that is translated (NAT) several
# nodes share them; each of their connections has its own streams.
MAX_CALLS_OF_ADDRESS: Final = 250
MAX_CONNECTIONS_OF_ADDRESS: Final = 64
# Calls of one address that are answered at once. Further calls wait, and slow no other address. A call costs 0.3 ms
# of the processor, so one address has an eighth of it. A node makes three calls for a layer.
CALLS: Final = Rate(400, 200)
# A call counts as one, and one more for so many bytes of its request: announcing 400 digests takes 4 ms.
BYTES_OF_TOKEN: Final = 512
# No caller waits longer than peers.find_timeout for an answer.
CALL_PATIENCE: Final = 0.5
# Refusals, each of which costs as much as an answer, before an address is barred: it has no connections for a while.
REFUSALS: Final = Rate(25, 250)
# New connections, as far as they are seen: all of a host's share when its agents start, and then a few now and then.
ARRIVALS: Final = Rate(5, MAX_CONNECTIONS_OF_ADDRESS + 16)
BARRED_SECONDS: Final = 20.0
# Twice as long each time, up to this; as at first after an hour in which it was not barred.
LONGEST_BARRED_SECONDS: Final = 600.0
BAR_FORGOTTEN_SECONDS: Final = 3600.0


def pace(rate: Rate, clock: Callable[[], float], *, longest: float = 0.0) -> Pace[str]:
    """A pace for each address; a call that would have to wait for longer is refused."""
    return Pace(rate=rate.per_second, burst=rate.burst, longest=longest, clock=clock)


def tokens(size: int) -> float:
    """How many calls a request of so many bytes counts as."""
    return 1 + size // BYTES_OF_TOKEN


# Reads of up to a chunk, which gRPC keeps in memory until they are taken: in all, of one address, and how long one
# waits for a place. A healthy node takes milliseconds for each.
MAX_SMALL_READS: Final = 32
MAX_SMALL_READS_OF_ADDRESS: Final = 8
SMALL_READ_PATIENCE: Final = 1.0
# Reads of what is larger are uploads besides (peers.max_uploads).
MAX_LARGE_READS: Final = 64
MAX_LARGE_READS_OF_ADDRESS: Final = 16
# An answer that is not taken for so long is not waited for: only the end of its connection frees what gRPC keeps of it.
UNTAKEN_SECONDS: Final = 20.0

# A connection that carries calls is tested, so that a peer that lost power ends a Read. Idle ones are not.
KEEPALIVE_MILLISECONDS: Final = 20_000
KEEPALIVE_TIMEOUT_MILLISECONDS: Final = 5_000
# An idle connection costs 58 to 90 KB; it takes 1 ms to make a new one.
IDLE_MILLISECONDS: Final = 300_000

# Finds that wait for a byte to arrive, and how long each may. A source has a child or two for each of its layers, and
# many for what is small; the rest is answered at once and asks again.
MAX_WAITS: Final = 400
MAX_WAIT_SECONDS: Final = 5.0

# The store's own time to answer a peer. Less than peers.find_timeout's default, so that a slow disk is told as such and
# not taken for a dead node.
STORE_TIMEOUT: Final = 0.4
# Silence in a Read: of a sender before its first and later messages, and of a receiver that takes nothing.
READ_START_TIMEOUT: Final = 1.5
READ_STALL_TIMEOUT: Final = 5.0
WRITE_STALL_TIMEOUT: Final = 20.0
