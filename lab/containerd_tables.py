"""What a lab containerd is told, as tables of each version of config.toml's format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lab.errors import LabError

if TYPE_CHECKING:
    from lab.containerd_config import Options, Places
    from lab.toml_text import Table, Value
    from lab.versions import Release

# The containerd that came with each version of the format; later ones read it too.
_FORMATS: Final = {4: (2, 3, 0), 3: (2, 0, 0), 2: (1, 3, 0)}
_TTRPC_SUFFIX: Final = ".ttrpc"  # with versions 2 and 3 the second socket is beside the first, with this after its name


def format_for(release: Release, wanted: int = 0) -> int:
    """`wanted`, or the newest that the release reads. LabError when it does not read that."""
    readable = [number for number, since in _FORMATS.items() if release.version >= since]
    if wanted and wanted not in readable:
        raise LabError(f"{release} reads no configuration of version {wanted}")
    return wanted or readable[0]


def tables(number: int, release: Release, places: Places, options: Options) -> dict[str, Value]:
    """What differs between versions of the format. LabError when the version cannot say what the options are."""
    if number == 2:  # noqa: PLR2004
        return {"grpc": _socket(places, options), "plugins": _plugins_version_2(release, places, options)}
    plugins = _plugins_version_3(places, options)
    if number == 3:  # noqa: PLR2004
        return {"grpc": _socket(places, options), "plugins": plugins}
    return {"plugins": {**plugins, **_sockets_version_4(places, options)}}


def _plugins_version_2(release: Release, places: Places, options: Options) -> dict[str, Value]:
    containerd: dict[str, Value] = {
        "snapshotter": options.snapshotter,
        "discard_unpacked_layers": options.discard_unpacked_layers,
    }
    is_migrated = release.version >= _FORMATS[3]
    cri: Table = {
        "max_concurrent_downloads": _of_cri(options) if is_migrated else options.max_concurrent_downloads,
        "containerd": containerd,
        "registry": _registry(places),
        "cni": _cni(places),
    }
    if not is_migrated:
        return {"io.containerd.grpc.v1.cri": cri}
    if options.use_local_image_pull:
        raise LabError("use_local_image_pull is lost when 2.x reads a configuration of version 2")
    # Without runtimes 2.x drops the two settings beside them.
    containerd["runtimes"] = {"runc": {"runtime_type": "io.containerd.runc.v2"}}
    return {"io.containerd.grpc.v1.cri": cri, "io.containerd.transfer.v1.local": _transfer(options)}


def _plugins_version_3(places: Places, options: Options) -> dict[str, Value]:
    images: Table = {
        "snapshotter": options.snapshotter,
        "discard_unpacked_layers": options.discard_unpacked_layers,
        "use_local_image_pull": options.use_local_image_pull,
        "max_concurrent_downloads": _of_cri(options),
        "concurrent_layer_fetch_buffer": options.concurrent_layer_fetch_buffer,
        "registry": _registry(places),
    }
    return {
        "io.containerd.cri.v1.images": images,
        "io.containerd.cri.v1.runtime": {"cni": _cni(places)},
        "io.containerd.transfer.v1.local": _transfer(options),
    }


def _transfer(options: Options) -> Table:
    """The transfer service, which pulls by default, looks only here; CRI's own pull only at the images plugin."""
    unpack: Table = {"platform": "linux", "snapshotter": options.snapshotter}
    return {
        "unpack_config": [unpack],
        "max_concurrent_downloads": options.max_concurrent_downloads,
        "concurrent_layer_fetch_buffer": options.concurrent_layer_fetch_buffer,
    }


def _of_cri(options: Options) -> int:
    """Another number than the default makes CRI pull by itself, so it is written only where CRI does that anyway."""
    is_local = options.use_local_image_pull or options.discard_unpacked_layers
    return options.max_concurrent_downloads if is_local else 3


def _sockets_version_4(places: Places, options: Options) -> dict[str, Value]:
    return {
        "io.containerd.server.v1.grpc": _socket(places, options),
        # Its default does not follow the first socket: it is /run/containerd's, and taken from a containerd there.
        "io.containerd.server.v1.ttrpc": {"address": f"{places.socket}{_TTRPC_SUFFIX}"},
    }


def _socket(places: Places, options: Options) -> Table:
    return {"address": str(places.socket), "gid": options.socket_group}


def _registry(places: Places) -> Table:
    return {"config_path": str(places.hosts)}


def _cni(places: Places) -> Table:
    return {"conf_dir": str(places.folder / "cni"), "bin_dir": str(places.folder / "cni")}
