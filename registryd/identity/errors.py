"""Errors of the files that prove an identity. No message carries any part of a secret."""


class IdentityError(Exception):
    """The operator has to put something right; the message names the file and says what."""


class SecretInvalid(IdentityError):
    """A file of secrets or tokens cannot be read, is malformed, or holds a secret that could be guessed."""


class CertificateInvalid(IdentityError):
    """A certificate, its key or its authority cannot be read, do not belong together, or would be refused by peers."""
