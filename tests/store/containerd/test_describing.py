"""An image counts once, whatever containerd calls it, and in how many namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.observability.metrics import Metrics
from tests.contracts.content_store import until
from tests.fakes.images import oci_image

if TYPE_CHECKING:
    from tests.fakes.containerd import FakeContainerd
    from tests.store.containerd.conftest import Connect


async def test_names_of_one_image_are_one_image(containerd: FakeContainerd, connect: Connect) -> None:
    image, other = oci_image("registry.example/app:v1"), oci_image("registry.example/other:v1", layers=(b"other",))
    containerd.put(image)
    async with connect("k8s.io", "default") as store:
        (metrics := Metrics()).follow_images(store.count_images)
        for name in (f"sha256:{'c' * 64}", "registry.example/app:latest"):  # a name by digest is there, too
            containerd.put_image(name, image.target)
        containerd.put(image, namespace="default")
        containerd.put(other)

        async def are_described() -> bool:
            told = await store.describe()
            return (len(told.names), told.images) == (8, 2)

        await until(are_described)
        assert b"registryd_images 2" in metrics.render()
