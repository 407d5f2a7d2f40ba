"""A Debian package of another suite, from the mirror that this machine itself uses.

With a source list, package lists and a cache of its own: the system's apt does not notice.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.commands import require, run
from lab.errors import CommandError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")
_FIELD = re.compile(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)


@dataclass(frozen=True)
class AptSource:
    """One archive, as the machine's own configuration names it."""

    uri: str
    suites: frozenset[str]
    components: frozenset[str]
    signed_by: str = ""  # a key ring's path, or the key itself in deb822's indented form

    def stanza(self, suite: str) -> str:
        """The same archive's other suite, in deb822 form."""
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {suite}", "Components: main"]
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


def parse_sources(text: str) -> Iterator[AptSource]:
    """The binary package sources of a deb822 file (*.sources)."""
    without_comments = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for stanza in re.split(r"\n[ \t]*\n", without_comments):
        fields = {name.lower(): value.strip() for name, value in _FIELD.findall(stanza)}
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no":
            yield from _from_fields(fields)


def _from_fields(fields: dict[str, str]) -> Iterator[AptSource]:
    suites, components = frozenset(fields.get("suites", "").split()), frozenset(fields.get("components", "").split())
    for uri in fields.get("uris", "").split():
        yield AptSource(uri, suites, components, fields.get("signed-by", ""))


def parse_list(text: str) -> Iterator[AptSource]:
    """The binary package sources of a one-line file (*.list)."""
    for line in text.splitlines():
        if match := _ONE_LINE.fullmatch(line.partition("#")[0].strip()):
            options = dict(option.partition("=")[::2] for option in (match["options"] or "").split())
            components = frozenset(match["components"].split())
            yield AptSource(match["uri"], frozenset({match["suite"]}), components, options.get("signed-by", ""))


def own_source(codename: str, etc: Path = Path("/etc/apt")) -> AptSource:
    """Where this machine gets Debian itself from."""
    for source in _configured(etc):
        if codename in source.suites and "main" in source.components:
            return source
    raise UnavailableError(f"apt on this machine has no source for {codename}")


def _configured(etc: Path) -> Iterator[AptSource]:
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        yield from parse_sources(path.read_text())
    for path in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]:
        if path.is_file():
            yield from parse_list(path.read_text())


def debian_codename(os_release: Path = Path("/etc/os-release")) -> str:
    lines = os_release.read_text().splitlines() if os_release.is_file() else []
    fields = {name: "".join(shlex.split(value)) for name, _, value in (line.partition("=") for line in lines)}
    if fields.get("ID") != "debian" or "VERSION_CODENAME" not in fields:
        raise UnavailableError("packages of other Debian suites can only be had on Debian")
    return fields["VERSION_CODENAME"]


async def unpack_package(package: str, *, suite: str, target: Path, work: Path) -> None:
    """Unpack the newest version that `suite` has into `target`; `work` is an empty folder for the way there."""
    require("apt-get", package="apt")
    options = isolated(own_source(debian_codename()), suite, work)
    try:
        await run("apt-get", "-qq", *options, "update")
        await run("sh", "-c", 'cd "$0" && exec apt-get -qq "$@"', str(work), *options, "download", package)
        await run("dpkg", "-x", *map(str, work.glob("*.deb")), str(target))  # noqa: ASYNC240 - a folder of five
    except CommandError as error:
        reason = error.said.partition("\n")[0]
        raise UnavailableError(f"{package} of Debian {suite} cannot be downloaded: {reason}") from error


def isolated(source: AptSource, suite: str, work: Path) -> list[str]:
    sources = work / "lab.sources"
    sources.write_text(source.stanza(suite))
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    settings = {
        "Dir::Etc::sourcelist": str(sources),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State::lists": str(work / "lists"),
        "Dir::State::status": "/dev/null",  # what is installed here shall not decide which version is newest
        "Dir::Cache": str(work / "cache"),
        "APT::Sandbox::User": "root",  # the folder is ours; apt's own user could not write there
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::Languages": "none",
        "APT::Update::Error-Mode": "any",  # else an archive that cannot be reached is a warning
        "Acquire::Retries": "1",
    }
    return [argument for name, value in settings.items() for argument in ("-o", f"{name}={value}")]
