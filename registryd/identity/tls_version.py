"""TLS 1.3 and nothing older for gRPC too, which has no setting for it.

Imports nothing: it is to be called before anything imports grpc.
"""

import os

_VARIABLE = "GRPC_SSL_CIPHER_SUITES"
# The list is of TLS 1.2's ciphers; 1.3's are fixed. This one needs a pre-shared key, which there never is, so no
# handshake of 1.2 finds a cipher in common.
_NONE_OF_TLS_12 = "ECDHE-PSK-CHACHA20-POLY1305"


def refuse_old_tls() -> None:
    """Make gRPC of this process speak TLS 1.3 only, unless the user chose ciphers. Later than grpc's import: no effect.

    gRPC's core reads its configuration once, when it is loaded.
    """
    os.environ.setdefault(_VARIABLE, _NONE_OF_TLS_12)
