"""How a node proves to peers that it is a member, and how it tells that they are: the contracts, and the lack of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import grpc.aio

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    Options = Sequence[tuple[str, str | int]]


class ServerCredentials(Protocol):
    """Credentials for listeners. A listener keeps them for its whole life, through every renewal and rotation."""

    def add_grpc_port(self, server: grpc.aio.Server, address: str) -> int:
        """Let the server listen on `host:port`; returns the port. Raises RuntimeError as gRPC does."""

    def listener_context(self) -> ssl.SSLContext | None:
        """For a listener of bytes; None: without TLS."""

    def still_accepts(self, connection: ssl.SSLObject | None) -> bool:
        """Whether a connection that was accepted by that listener would be accepted by the same standards now.

        None is one without TLS. "No" once certificates or authorities have changed, whoever it is: a member connects
        again, and who was put out cannot.
        """


class ClientCredentials(Protocol):
    """For connections to peers."""

    @property
    def generation(self) -> int:
        """Grows when certificates or authorities change.

        A channel that was opened before may fail to connect again: open a new one for the next call, and close the
        old one when its calls have ended.
        """

    def open_channel(self, target: str, options: Options = ()) -> grpc.aio.Channel:
        """A channel to the member at `host:port`."""

    def client_context(self) -> ssl.SSLContext | None:
        """The context for one connection for bytes, asked for anew each time; None: without TLS.

        It checks that the server is a member, under whatever address or name it is reached.
        """


class PeerCredentials(ServerCredentials, ClientCredentials, Protocol):
    """Both sides of every connection between members."""


class NoCredentials:
    """Neither TLS nor membership: the port is open to every client. For loopback, and where the user insists."""

    generation: Final = 0

    def add_grpc_port(self, server: grpc.aio.Server, address: str) -> int:
        return server.add_insecure_port(address)

    def listener_context(self) -> None:
        return None

    def still_accepts(self, _connection: ssl.SSLObject | None) -> bool:
        return True

    def open_channel(self, target: str, options: Options = ()) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(target, tuple(options))

    def client_context(self) -> None:
        return None
