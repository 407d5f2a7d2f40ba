"""The state of the node's files before registryd: an uninstall cannot find this out by itself."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from registryd.json_text import parse_json
from registryd.node.change import FileKind
from registryd.node.errors import RecordBroken
from registryd.node.tree import FileImage

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file that registryd changed or made.

    Args:
        before: The content before; None when there was no file.
        written: `digest_of` each content that registryd may have left: more than one while a change is under way.
        modes: The file's mode as registryd left it, or may have left it.
        ours: registryd's part of the file, in case that someone has changed it since: the URLs, with blanks between
            them, or the value of config_path.
    """

    path: Path
    kind: FileKind
    before: FileImage | None
    written: tuple[str, ...]
    modes: tuple[int, ...]
    ours: str


@dataclass(frozen=True, slots=True)
class InstallRecord:
    """All files that registryd changed, and the folders that it made.

    Args:
        restart_due: Whether containerd still has to be restarted for it.
        changed_at: When its configuration was changed last, in seconds of the clock; 0: it was not.
        socket: Where the containerd answers that was set up; an agent on this node follows it.
        owner: Which release of the chart has set the node up; empty: nobody has said.
        config: The main file of the containerd that was set up.
    """

    entries: tuple[RecordedFile, ...]
    folders: tuple[Path, ...]
    restart_due: bool = False
    changed_at: float = 0
    socket: Path | None = None
    owner: str = ""
    config: Path | None = None

    def covering(self, other: InstallRecord | None) -> InstallRecord:
        """The record for the way from `other` to this one, right wherever the way is broken off."""
        if other is None:
            return self
        old, new = ({entry.path: entry for entry in record.entries} for record in (other, self))
        entries = [_either(old.get(path), new.get(path)) for path in dict.fromkeys([*old, *new])]
        folders = tuple(dict.fromkeys([*other.folders, *self.folders]))
        restart_due, changed_at = self.restart_due or other.restart_due, max(self.changed_at, other.changed_at)
        return replace(self, entries=tuple(entries), folders=folders, restart_due=restart_due, changed_at=changed_at)

    def to_json(self) -> bytes:
        document = asdict(self) | {"format": _FORMAT}
        return json.dumps(document, default=_plain, indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, path: Path) -> Self:
        """Raises RecordBroken, also for the record of a later registryd."""
        try:
            document = parse_json(data)
            if document["format"] != _FORMAT:
                raise RecordBroken(f"{path} is of another registryd: use that one's `uninstall` first")
            return cls(
                tuple(map(_entry, document["entries"])),
                tuple(map(Path, document["folders"])),
                bool(document["restart_due"]),
                float(document.get("changed_at", 0)),
                Path(document["socket"]) if document.get("socket") else None,
                str(document.get("owner", "")),
                Path(document["config"]) if document.get("config") else None,
            )
        except (ValueError, LookupError, TypeError) as error:
            remedy = "restore it, or move it away: then `uninstall` goes by the mark above our entries"
            raise RecordBroken(f"{path}, which says what to put back, cannot be read ({error}); {remedy}") from error


def digest_of(data: bytes) -> str:
    return sha256(data).hexdigest()


def _either(old: RecordedFile | None, new: RecordedFile | None) -> RecordedFile:
    if old and new:
        written = dict.fromkeys([*old.written, *new.written])
        return replace(new, written=tuple(written), modes=tuple(dict.fromkeys([*old.modes, *new.modes])))
    return new or old  # type: ignore[return-value]


def _plain(value: Any) -> str | None:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _entry(table: dict[str, Any]) -> RecordedFile:
    before = table["before"]
    image = before and FileImage(**before | {"data": base64.b64decode(before["data"], validate=True)})
    return RecordedFile(
        Path(table["path"]),
        FileKind(table["kind"]),
        image,
        tuple(table["written"]),
        tuple(table["modes"]),
        str(table["ours"]),
    )
