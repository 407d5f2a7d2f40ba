"""A pull-through cache: time to the first byte of what it lacks, throughput of what it has.

`python -m benchmarks.cache` runs registryd next to docker-registry as a proxy and nginx with proxy_cache, all in front
of the same docker-registry, in the same run, taking turns; medians. Cold: each sample asks for a blob that nobody has
asked for, and the upstream is asked directly for another one in the same turn; it seems to be 20 ms away, as registries
are at best. Warm: one blob again and again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.downloads import Url, download
from benchmarks.processes import Server, free_port, running
from lab.layout import Layout
from lab.push import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.layout import Blob

_MIB: Final = 1024**2
_NAME: Final = "bench/blobs"
_UPSTREAM: Final = "upstream"

_NGINX: Final = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  client_body_temp_path {folder}/n1; fastcgi_temp_path {folder}/n3;
  uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;
  proxy_temp_path {folder}/n2; proxy_cache_path {folder}/cache keys_zone=blobs:10m use_temp_path=off;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{upstream}; proxy_cache blobs; proxy_cache_lock on; proxy_cache_valid 200 1h;
      proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that serves the upstream's blobs; `suffix` is what its paths end with."""

    name: str
    server: Server
    port: int
    suffix: str = ""

    def url(self, blob: Blob) -> Url:
        return Url(self.port, f"/v2/{_NAME}/blobs/{blob.digest}{self.suffix}")


@dataclass(frozen=True, slots=True)
class Result:
    """Milliseconds to the first byte of a body, cold; GB a second and processor seconds for a GiB, warm."""

    name: str
    first_byte_ms: float
    ratio: float
    throughput: float
    cpu: float


# ---------------------------------------------------------------- measuring


def first_byte_seconds(url: Url, *, size: int) -> float:
    """Ask, wait for the first byte of the body, and then read the rest, so that it is stored."""
    with socket.create_connection(("127.0.0.1", url.port), timeout=60) as sock:
        begun = time.perf_counter()
        sock.sendall(f"GET {url.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while len(parts := head.split(b"\r\n\r\n", 1)) < 2 or not parts[1]:
            head += (chunk := sock.recv(65536))
            if not chunk:
                raise EOFError(head[:200])
        seconds = time.perf_counter() - begun
        left = size - len(parts[1])
        while left > 0 and (chunk := sock.recv(1 << 20)):
            left -= len(chunk)
    return seconds


def measure_cold(contestants: list[Contestant], blobs: list[Blob]) -> dict[str, list[float]]:
    """Every contestant and the upstream in turn, each with a blob of its own."""
    samples: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    rest = iter(blobs)
    for contestant, blob in zip(contestants * (len(blobs) // len(contestants)), rest, strict=False):
        samples[contestant.name].append(first_byte_seconds(contestant.url(blob), size=blob.size))
    return samples


def measure_warm(contestant: Contestant, blob: Blob) -> tuple[float, float]:
    cpu, begun = contestant.server.cpu_seconds(), time.perf_counter()
    download(contestant.url(blob), size=blob.size)
    seconds = time.perf_counter() - begun
    return blob.size / seconds / 1e9, (contestant.server.cpu_seconds() - cpu) / blob.size * 1024 * _MIB


def measure(contestants: list[Contestant], small: list[Blob], large: Blob, *, rounds: int) -> list[Result]:
    cold = measure_cold(contestants, small)
    upstream = statistics.median(cold[_UPSTREAM])
    warm: dict[str, list[tuple[float, float]]] = {contestant.name: [] for contestant in contestants}
    for _ in range(rounds + 1):
        for contestant in contestants:
            warm[contestant.name].append(measure_warm(contestant, large))
    results = []
    for contestant in contestants:
        first = statistics.median(cold[contestant.name])
        throughput, cpu = (statistics.median(values) for values in zip(*warm[contestant.name][1:], strict=True))
        results.append(Result(contestant.name, first * 1000, first / upstream, throughput, cpu))
    return results


# ---------------------------------------------------------------- the stage


@contextmanager
def stage(small: int, large_mib: int, *, distance_ms: float) -> Iterator[tuple[list[Contestant], list[Blob], Blob]]:
    """An upstream with blobs, some way off, and the three caches before it."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        near, upstream, proxy, nginx, cache = (free_port() for _ in range(5))
        registry = cleanup.enter_context(running(registry_command(folder, "upstream", near), ports=(near,)))
        blobs, large = push_blobs(folder, near, small=small, large_mib=large_mib)
        cleanup.enter_context(running(distance_command(upstream, near, distance_ms), ports=(upstream,)))
        remote = {"proxy": {"remoteurl": f"http://127.0.0.1:{upstream}"}}
        commands = {
            "registryd": (cache_command(folder, cache, upstream), cache, "?ns=up.lab"),
            "docker-registry": (registry_command(folder, "proxy", proxy, **remote), proxy, ""),
            "nginx": (nginx_command(folder, nginx, upstream), nginx, ""),
        }
        contestants = [Contestant(_UPSTREAM, registry, upstream)]
        for name, (command, port, suffix) in commands.items():
            server = cleanup.enter_context(running(command, ports=(port,)))
            contestants.append(Contestant(name, server, port, suffix))
        yield contestants, blobs, large


def registry_command(folder: Path, name: str, port: int, **more: object) -> list[str]:
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / name)}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **more,
    }
    config = folder / f"{name}.json"
    config.write_text(json.dumps(settings))
    return ["env", "OTEL_TRACES_EXPORTER=none", "docker-registry", "serve", str(config)]


def distance_command(port: int, upstream: int, milliseconds: float) -> list[str]:
    options = {"port": port, "upstream": upstream, "milliseconds": milliseconds}
    return [sys.executable, "-m", "benchmarks.distance", *(f"--{key}={value}" for key, value in options.items())]


def cache_command(folder: Path, port: int, upstream: int) -> list[str]:
    registries = json.dumps({"up.lab": {"url": f"http://127.0.0.1:{upstream}"}})
    flags = {
        "cache.listen": f"127.0.0.1:{port}",
        "cache.keep_free": "0B",
        "admin.listen": "127.0.0.1:0",
        "store.directory": str(folder / "cache-store"),
        "upstreams.registries": registries,
        "log.level": "error",
    }
    return [sys.executable, "-m", "registryd", "cache", *(f"--{key}={value}" for key, value in flags.items())]


def nginx_command(folder: Path, port: int, upstream: int) -> list[str]:
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream))
    return ["nginx", "-c", str(config)]


def push_blobs(folder: Path, port: int, *, small: int, large_mib: int) -> tuple[list[Blob], Blob]:
    layout = Layout(folder / "layout")
    (folder / "layout" / "blobs" / "sha256").mkdir(parents=True)
    blobs = [layout.add("application/octet-stream", os.urandom(_MIB)) for _ in range(small)]
    large = layout.add("application/octet-stream", os.urandom(_MIB) * large_mib)
    repository = Repository(f"http://127.0.0.1:{port}/v2/{_NAME}")
    asyncio.run(repository.push_blobs(layout, (*blobs, large)))
    return blobs, large


# ---------------------------------------------------------------- reporting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blobs", type=int, default=80, help="blobs of 1 MiB for the cold samples")
    parser.add_argument("--mib", type=int, default=512, help="size of the warm blob")
    parser.add_argument("--rounds", type=int, default=7, help="warm samples of each")
    parser.add_argument("--distance", type=float, default=20.0, help="milliseconds to the upstream and back")
    parser.add_argument("--json", type=Path, default=Path("cache.json"))
    options = parser.parse_args()
    with stage(options.blobs, options.mib, distance_ms=options.distance) as (contestants, blobs, large):
        results = measure(contestants, blobs, large, rounds=options.rounds)
    print(f"{'':16} cold: first byte ms  of upstream's   warm: GB/s  CPU s/GiB")
    for each in results:
        print(f"{each.name:16} {each.first_byte_ms:19.2f} {each.ratio:12.2f} {each.throughput:17.2f} {each.cpu:9.3f}")
    options.json.write_text(json.dumps([asdict(each) for each in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
