"""A login for what every pod could use is refused, where there are pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.commands.meant import refuse_logins_for_every_pod
from registryd.failures import CommandFailed
from registryd.node.host_root import HostRoot

if TYPE_CHECKING:
    from pathlib import Path


def with_kubelet(root: Path, text: str) -> HostRoot:
    file = root / "var/lib/kubelet/config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return HostRoot(root)


def test_where_no_kubelet_is_there_are_no_pods(tmp_path: Path) -> None:
    refuse_logins_for_every_pod(HostRoot(tmp_path), {})


def test_in_a_pod_it_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="--for-every-pod"):
        refuse_logins_for_every_pod(HostRoot(tmp_path), {"KUBERNETES_SERVICE_HOST": "10.96.0.1"})


def test_a_kubelet_that_verifies_all_images(tmp_path: Path) -> None:
    refuse_logins_for_every_pod(with_kubelet(tmp_path, "imagePullCredentialsVerificationPolicy: AlwaysVerify\n"), {})


@pytest.mark.parametrize("text", ["", "imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages\n"])
def test_a_kubelet_that_does_not(tmp_path: Path, text: str) -> None:
    with pytest.raises(CommandFailed, match=r"config\.yaml: (not set|NeverVerifyPreloadedImages)\)"):
        refuse_logins_for_every_pod(with_kubelet(tmp_path, text), {})
