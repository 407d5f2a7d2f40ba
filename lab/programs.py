"""Registries, clients and the conformance suite of others, which the cache is tried with: pinned, built once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from lab.go import GoPrograms, build
from lab.kept import cache_folder, keep

if TYPE_CHECKING:
    from pathlib import Path

# By name: a module, what of it is built, and what its go.mod asks for. All of November 2026.
PROGRAMS: Final = {
    "distribution": GoPrograms("github.com/distribution/distribution/v3", ("cmd/registry",), "v3.1.2", (1, 26, 0)),
    "ggcr": GoPrograms("github.com/google/go-containerregistry", ("cmd/registry", "cmd/crane"), "v0.22.1", (1, 25, 0)),
    "olareg": GoPrograms("github.com/olareg/olareg", ("cmd/olareg",), "v0.2.2", (1, 25, 0)),
    "regctl": GoPrograms("github.com/regclient/regclient", ("cmd/regctl",), "v0.11.7", (1, 26, 0)),
    "oras": GoPrograms("oras.land/oras", ("cmd/oras",), "v1.3.6", (1, 26, 7)),
    "conformance": GoPrograms(
        "github.com/opencontainers/distribution-spec/conformance",
        ("",),
        "v0.0.0-20260831232431-97274622c111",
        (1, 24, 0),
    ),
}


async def obtain_programs(name: str) -> Path:
    """The folder with them, in which they stay. Raises UnavailableError with the reason when they cannot be had."""
    source = PROGRAMS[name]
    return await keep(cache_folder("programs") / f"{name}-{source.version}", partial(build, source))
