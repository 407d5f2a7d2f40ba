"""Errors of requests, as the OCI distribution specification names them.

One table joins an error to its code and its HTTP status. Only the code that answers HTTP writes from it.
Codes: distribution-spec v1.1 "Error Codes"; RANGE_INVALID as the CNCF distribution registry has it.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class OciError(Exception):
    """A request that is answered with an OCI error body; the message is for people and names what to change."""

    cache_status = ""
    """What the answer's Cache-Status says, if it has one (RFC 9211)."""


class NameInvalid(OciError):
    """Not a repository name."""


class NameUnknown(OciError):
    """A repository that the registry does not have, or one without its registry: there is no default to assume."""


class DigestInvalid(OciError):
    """Not a digest, or of an algorithm that registryd does not verify."""


class TagInvalid(OciError):
    """Neither a tag nor a digest where a reference is expected."""


class ManifestInvalid(OciError):
    """Not a manifest that can be understood."""


class RangeInvalid(OciError):
    """A range outside of the content; `size` is the content's length in bytes."""

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class RangesUnsupported(OciError):
    """Several ranges of what is not at hand. Not 416, after which clients give up; after this they ask for less."""


class ManifestUnknown(OciError):
    """No source has the manifest, or it may not be answered for: the client asks its next endpoint."""


class BlobUnknown(OciError):
    """No source has the blob, or it may not be answered for: the client asks its next endpoint."""


class PathUnknown(OciError):
    """No such endpoint: registryd serves the pull side of the distribution API only."""


class MethodUnsupported(OciError):
    """A method other than GET and HEAD."""


class Denied(OciError):
    """The upstream refuses it to us. Not 401: after that clients would send us their own credentials."""


class Unavailable(OciError):
    """The upstream cannot be asked now. Not 429: containerd would ask five or six times at once.

    `retry_after`: in so many seconds it may be asked again, if that is known.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def about(what: str, reason: str) -> str:
    """A reason with what it is about, unless it begins with that itself."""
    return reason if reason.startswith(what) else f"{what}: {reason}"


class Code(NamedTuple):
    """How an error is written: the `code` of the OCI error body and the HTTP status."""

    code: str
    status: int


CODES: Final[dict[type[OciError], Code]] = {
    NameInvalid: Code("NAME_INVALID", 400),
    NameUnknown: Code("NAME_UNKNOWN", 404),
    DigestInvalid: Code("DIGEST_INVALID", 400),
    TagInvalid: Code("MANIFEST_INVALID", 400),
    ManifestInvalid: Code("MANIFEST_INVALID", 400),
    RangeInvalid: Code("RANGE_INVALID", 416),
    RangesUnsupported: Code("UNSUPPORTED", 400),
    ManifestUnknown: Code("MANIFEST_UNKNOWN", 404),
    BlobUnknown: Code("BLOB_UNKNOWN", 404),
    Denied: Code("DENIED", 403),
    Unavailable: Code("UNAVAILABLE", 503),
    PathUnknown: Code("UNSUPPORTED", 404),
    MethodUnsupported: Code("UNSUPPORTED", 405),
}
