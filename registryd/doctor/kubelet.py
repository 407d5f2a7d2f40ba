"""Which pods may use an image that is on this node already, as its kubelet sees it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from registryd.doctor.finding import Finding, ok, warning
from registryd.node.kubelet import find_kubelet

if TYPE_CHECKING:
    from registryd.doctor.patient import Patient
    from registryd.node.kubelet import Kubelet

_PAST_IT: Final = "every pod of this node may use images that came past the kubelet (ctr, prefetch --into containerd)"
# https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
_MEANINGS: Final = {
    "": f"not set, which since 1.35 is NeverVerifyPreloadedImages: {_PAST_IT}; before 1.35, every image",
    "NeverVerify": "NeverVerify: every pod of this node may use every image of the node",
    "NeverVerifyPreloadedImages": f"NeverVerifyPreloadedImages: {_PAST_IT}",
    "NeverVerifyAllowlistedImages": "NeverVerifyAllowlistedImages: an image that is not listed needs a login",
    "AlwaysVerify": "AlwaysVerify: every private image needs a login, and one that was only imported is pulled again",
}


async def check_kubelet(patient: Patient) -> list[Finding]:
    """What its policy means for images that others than itself bring to the node; nothing where none can be seen."""
    if not patient.place.has_files:
        return []
    kubelet = await asyncio.to_thread(find_kubelet, patient.place.root, patient.tree)
    return [_finding(kubelet)] if kubelet else []


def _finding(kubelet: Kubelet) -> Finding:
    if kubelet.config is None:
        found = "a kubelet runs, and doctor cannot see its configuration; if it has the default policy, "
        return ok("kubelet", f"{found}{_PAST_IT}")
    meaning = _MEANINGS.get(kubelet.policy)
    where = f"imagePullCredentialsVerificationPolicy in {kubelet.config}"
    if meaning is None:
        found = f"{where} is {kubelet.policy[:64]!r}, which is no known policy of a kubelet"
        return warning("kubelet", found, f"one of {', '.join(filter(None, _MEANINGS))}")
    return ok("kubelet", f"{where}: {meaning}")
