"""What of a containerd's images can be kept, and under which name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.config.agent import StoreSettings
from registryd.store.containerd.connect import connect_containerd_store
from registryd.store.containerd.pins import Reason, open_pins
from tests.fakes.images import docker_image, oci_image
from tests.store.containerd.conftest import PATIENT

if TYPE_CHECKING:
    from tests.fakes.containerd import FakeContainerd


async def test_an_image_is_kept_by_its_tag_and_by_its_digest_when_it_has_none(containerd: FakeContainerd) -> None:
    tagged, bare = oci_image(), docker_image()
    containerd.put(tagged)
    for data in bare.blobs.values():
        containerd.put_blob(data)
    by_digest = f"registry.example/demo/docker@{bare.target.digest}"
    containerd.put_image(by_digest, bare.target)
    containerd.put_image(str(bare.target.digest), bare.target)
    containerd.put(docker_image("registry.example/demo/hidden:v1"), namespace="moby")
    settings = StoreSettings(
        containerd_socket=containerd.socket, containerd_root=containerd.root, namespaces=("k8s.io", "moby")
    )
    async with connect_containerd_store(settings, timing=PATIENT) as store:
        await store.wait_ready()
        here = store.keepable
        found = {str(each.image): each.image for each in await here.images()}
        assert {name: image.digest for name, image in found.items()} == {
            str(tagged.name): tagged.target.digest,
            by_digest: bare.target.digest,
        }
        for image in found.values():
            assert await here.keep(image.name)
        assert {str(name) for name in await here.kept()} == found.keys()
        async with open_pins(containerd.socket) as pins:
            assert all(Reason.COPIES in each.names for each in await pins.all())
        await here.let_go(found[by_digest].name)
        assert [str(name) for name in await here.kept()] == [str(tagged.name)]


async def test_an_image_that_would_fill_the_disk_has_no_room(containerd: FakeContainerd) -> None:
    settings = StoreSettings(containerd_socket=containerd.socket, containerd_root=containerd.root)
    (containerd.root / "io.containerd.content.v1.content").mkdir(parents=True, exist_ok=True)
    async with connect_containerd_store(settings, timing=PATIENT) as store:
        assert store.keepable.has_room(1, most_used=1.0)
        assert not store.keepable.has_room(1 << 60, most_used=1.0)
