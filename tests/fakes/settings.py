"""Settings of a node whose content is a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.config.agent import Settings, StoreKind, StoreSettings

if TYPE_CHECKING:
    from pathlib import Path


def directory_settings(root: Path) -> Settings:
    return Settings(store=StoreSettings(kind=StoreKind.DIRECTORY, directory=root))
