"""What has to change in containerd's own configuration so that it looks at our hosts.toml files: often nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from registryd.node.config_text import set_config_path
from registryd.node.containerd_config import PLUGINS, ContainerdConfig
from registryd.node.errors import CannotMerge, ConfigConflict
from registryd.node.intent import Intent, Wanted

if TYPE_CHECKING:
    from registryd.node.distribution import Distribution
    from registryd.node.tree import Tree

# After what people number up to 90 and packages name by a word, for the last file that sets a key wins.
_DROP_IN = "zz-registryd.toml"


def hosts_roots(config: ContainerdConfig, intent: Intent, distribution: Distribution) -> tuple[Path, ...]:
    """The folders that count, ours first, then those that count today."""
    wanted = _wanted_path(config, intent, distribution)
    return tuple(dict.fromkeys([*(Path(part) for part in wanted.split(":")), *config.hosts_roots]))


def wanted_config(
    tree: Tree, config: ContainerdConfig, intent: Intent, distribution: Distribution
) -> tuple[Wanted, ...]:
    """The one file to change, or none. Raises ConfigConflict when that would stop containerd, or would not last."""
    wanted = _wanted_path(config, intent, distribution)
    if wanted == config.registry.get("config_path"):
        return ()
    _require_possible(config, distribution)
    file, version = _place(config)
    image = tree.read(file)
    text = image.text if image else f"# Written by `registryd install`.\nversion = {version}\n"
    try:
        data = set_config_path(text, PLUGINS[version], wanted).encode()
    except CannotMerge as error:
        raise ConfigConflict(f'{file} {error}; set config_path = "{wanted}" in it yourself') from error
    return (Wanted(file, data, _why(config, wanted), wanted),)


def _wanted_path(config: ContainerdConfig, intent: Intent, distribution: Distribution) -> str:
    if intent.config_path:
        return str(intent.config_path)
    if not config.hosts_roots:
        return str(distribution.hosts)
    if len(config.hosts_roots) > 1 and config.ignores_path_lists:
        return str(config.hosts_roots[0])
    return config.config_path


def _require_possible(config: ContainerdConfig, distribution: Distribution) -> None:
    old = [key for key in ("mirrors", "configs") if _is_in_the_way(key, config.registry.get(key))]
    if old:
        raise ConfigConflict(
            f"{config.owner.path} has registry.{old[0]}, and containerd refuses that together with config_path: "
            "write it as hosts.toml files first (containerd's docs/hosts.md)"
        )
    if distribution.generated:
        raise ConfigConflict(
            f"{config.owner.path} is written by {distribution.generated} at each start: set config_path in its "
            "config.toml.tmpl instead, or remove the template that does not set it"
        )


def _is_in_the_way(key: str, value: object) -> bool:
    """Containerd's ValidatePluginConfig: mirrors, and the tls of configs; their auth may stay."""
    if key == "mirrors" or not isinstance(value, dict):
        return bool(value)
    return any(isinstance(host, dict) and host.get("tls") for host in value.values())


def _place(config: ContainerdConfig) -> tuple[Path, int]:
    """The file to set it in, and its format: a drop-in of another format than the main file's is not merged well.

    (2.1.9 drops the main file's version 2 tables when a drop-in says version 3.)
    """
    folder, owner = config.drop_in_folder, config.owner
    if config.release.merges_drop_ins and folder:
        drop_in = folder / _DROP_IN
        if owner == config.main or (owner.path.parent == folder and owner.path.name < drop_in.name):
            return drop_in, config.main.version
    return owner.path, owner.version


def _why(config: ContainerdConfig, wanted: str) -> str:
    if not config.config_path:
        return f"containerd looks for hosts.toml files in {wanted} from now on; nothing told it where"
    if ":" not in config.config_path:
        return f"containerd looks for hosts.toml files in {wanted} instead of {config.config_path}"
    return f"config_path is {wanted} instead of {config.config_path}, which {config.release} may ignore as a list"
