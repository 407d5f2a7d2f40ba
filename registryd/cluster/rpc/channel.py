"""A gRPC connection to a peer: how it is secured, how much it may carry, the methods on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from registryd.cluster.rpc import limits
from registryd.cluster.rpc.codec import SERVICE

if TYPE_CHECKING:
    import grpc

    from registryd.identity.credentials import ClientCredentials
    from registryd.notation import Address


_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),  # peers are neighbours; the node's proxy is for the world
    ("grpc.use_local_subchannel_pool", 1),  # a peer's connection ends with its channel
    ("grpc.max_receive_message_length", limits.MAX_REPLY_BYTES),
    ("grpc.max_metadata_size", limits.MAX_METADATA_BYTES),
    ("grpc.keepalive_time_ms", limits.KEEPALIVE_MILLISECONDS),
    ("grpc.keepalive_timeout_ms", limits.KEEPALIVE_TIMEOUT_MILLISECONDS),
    ("grpc.http2.max_pings_without_data", 0),
    # No pings beside every answer to find out how much may be under way: a chunk of a Read may be.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", limits.READ_CHUNK_BYTES),
    ("grpc.client_idle_timeout_ms", limits.IDLE_MILLISECONDS),
    # When to try again is decided by Members; a probe must lead to an attempt to connect.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_retries", 0),
)


_QUESTIONS: Final = ("Hello", "Find", "Resolve", "Vouch", "Doubt", "Keep", "Claim", "Announce", "AnnounceNames")


class PeerChannel:
    """A channel and its methods, made once: making them costs as much as half a call. Messages are bytes here."""

    def __init__(self, channel: grpc.aio.Channel, *, generation: int) -> None:
        self.channel = channel
        self.generation = generation
        self.unary: dict[str, Any] = {method: channel.unary_unary(f"/{SERVICE}/{method}") for method in _QUESTIONS}
        self.read: Any = channel.unary_stream(f"/{SERVICE}/Read")


def open_connection(address: Address, credentials: ClientCredentials) -> PeerChannel:
    """A connection that is made with the first call, with the certificate that is current now."""
    return PeerChannel(credentials.open_channel(str(address), _OPTIONS), generation=credentials.generation)
