"""nginx, the reference: as the source that both relay from, and as the server and relay to compare with.

One worker each, as registryd has one event loop. The relay buffers as in shared measurements of it: 16 buffers of
64 KiB, no temporary file; that was its fastest setting on loopback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.certificates import Certificates

_FRAME = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.log;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  client_body_temp_path {folder}/{name}-1; proxy_temp_path {folder}/{name}-2; fastcgi_temp_path {folder}/{name}-3;
  uwsgi_temp_path {folder}/{name}-4; scgi_temp_path {folder}/{name}-5;
  {servers}
}}
"""

_SOURCE = """
  server {{ listen 127.0.0.1:{plain}; root {folder}; }}
  server {{
    listen 127.0.0.1:{tls} ssl; root {folder};
    ssl_protocols TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key};
    ssl_client_certificate {ca}; ssl_verify_client on;
  }}
"""

_REFERENCE = """
  server {{
    listen 127.0.0.1:{port};
    proxy_buffering on; proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k;
    proxy_max_temp_file_size 0; proxy_http_version 1.1;
    proxy_ssl_protocols TLSv1.3; proxy_ssl_certificate {certificate}; proxy_ssl_certificate_key {key};
    location /local/ {{ alias {folder}/; }}
    location /relay/ {{ proxy_pass http://127.0.0.1:{plain}/; }}
    location /relay-tls/ {{ proxy_pass https://127.0.0.1:{tls}/; }}
  }}
"""


def source_command(folder: Path, certificates: Certificates, *, plain: int, tls: int) -> list[str]:
    """The command of an nginx that serves the folder, plain and by TLS to clients with a certificate."""
    servers = _SOURCE.format(folder=folder, plain=plain, tls=tls, **certificates.as_texts())
    return _command(folder, "source", servers)


def reference_command(folder: Path, certificates: Certificates, *, port: int, plain: int, tls: int) -> list[str]:
    """The command of an nginx that serves the folder below /local/, and the source's below /relay/ and /relay-tls/."""
    servers = _REFERENCE.format(folder=folder, port=port, plain=plain, tls=tls, **certificates.as_texts())
    return _command(folder, "reference", servers)


def _command(folder: Path, name: str, servers: str) -> list[str]:
    config = folder / f"{name}.conf"
    config.write_text(_FRAME.format(folder=folder, name=name, servers=servers))
    return ["nginx", "-c", str(config)]
