"""The credentials by which an upstream knows this node; never shown."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and a password or access token.

    Raises ValueError for a user name with a colon, which Basic authentication cannot carry (RFC 7617 section 2).
    """

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if ":" in self.username:
            raise ValueError("a user name with a colon cannot be sent")

    def authorization(self) -> str:
        """The Authorization header of Basic authentication."""
        text = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(text).decode()}"


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A refresh token, which a token server changes into access tokens (distribution, "OAuth 2 Token Authentication").

    Docker keeps one where a registry's login was by browser; its credential helpers give it the user name `<token>`.
    """

    token: str = field(repr=False)


Login = Credentials | IdentityToken
"""How we prove to an upstream who we are."""
