"""Pods whose images are pulled by the kubelet of a node of our choice, and what became of them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.errors import CommandError

if TYPE_CHECKING:
    from e2e.kubernetes.lab.kubectl import Kubectl, Object
    from e2e.kubernetes.lab.node import Node
    from lab.cri import Credentials

_POLL_SECONDS = 0.2
_TRIES = 3
_REFUSALS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerError")


@dataclass(frozen=True)
class Outcome:
    """What became of a pod: it runs, or its image could not be had."""

    runs: bool
    seconds: float
    reason: str = ""  # Kubernetes' word for why it waits
    message: str = ""

    def __str__(self) -> str:
        return "runs" if self.runs else self.reason


def pod(name: str, image: str, node: Node, *, secret: str = "", namespace: str = "default", **spec: Any) -> Object:
    """A pod with one container, on this node. `secret` is the name of its pull secret."""
    container = {"name": "app", "image": image, "imagePullPolicy": spec.pop("pull_policy", "IfNotPresent")}
    container |= spec.pop("container", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"lab": "pod"}},
        "spec": {
            "nodeName": node.name,
            "containers": [container],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            **({"imagePullSecrets": [{"name": secret}]} if secret else {}),
            **spec,
        },
    }


def pull_secret(name: str, registry: str, login: Credentials, *, namespace: str = "default") -> Object:
    """As `kubectl create secret docker-registry` makes it."""
    pair = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    config = {"auths": {registry: {"username": login.username, "password": login.password, "auth": pair}}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {".dockerconfigjson": json.dumps(config)},
    }


async def outcome_of(kubectl: Kubectl, name: str, *, namespace: str = "default", timeout: float = 300) -> Outcome:
    """Return when the pod runs, or its image was refused; TimeoutError when neither comes."""
    began = time.monotonic()
    async with asyncio.timeout(timeout):
        while True:
            try:
                found = _outcome(await kubectl.get("pod", name, namespace=namespace), time.monotonic() - began)
            except CommandError:  # the API server is away
                found = None
            if found:
                return found
            await asyncio.sleep(_POLL_SECONDS)


async def run_pod(kubectl: Kubectl, specification: Object, *, keep: bool = False, timeout: float = 300) -> Outcome:
    """Make the pod, see what becomes of it, and take it away again.

    A kubelet waits a second for a pull secret, and then pulls without one, which it says in an event. A pod that was
    refused after that, on a busy machine, tells nothing, and is made again.
    """
    name, namespace = specification["metadata"]["name"], specification["metadata"]["namespace"]
    left = _TRIES
    while True:
        left -= 1
        await kubectl.apply(specification)
        is_void = False
        try:
            outcome = await outcome_of(kubectl, name, namespace=namespace, timeout=timeout)
            is_void = not outcome.runs and left > 0 and await _lacked_secret(kubectl, name, namespace=namespace)
        finally:
            if is_void or not keep:
                wait = "--wait=true" if is_void else "--wait=false"
                await kubectl("-n", namespace, "delete", "pod", name, wait, "--grace-period=0")
        if not is_void:
            return outcome


async def _lacked_secret(kubectl: Kubectl, name: str, *, namespace: str) -> bool:
    """Whether the kubelet has said that it pulled without the pod's pull secret."""
    try:
        uid = (await kubectl.get("pod", name, namespace=namespace))["metadata"]["uid"]
        wanted = f"--field-selector=involvedObject.uid={uid},reason=FailedToRetrieveImagePullSecret"
        return bool(await kubectl("-n", namespace, "get", "events", wanted, "-o", "name"))
    except CommandError:  # the API server is away
        return False


def _outcome(found: Object, seconds: float) -> Outcome | None:
    status = found.get("status", {})
    if status.get("phase") in {"Running", "Succeeded"}:
        return Outcome(runs=True, seconds=seconds)
    for each in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = each.get("state", {}).get("waiting", {})
        if waiting.get("reason") in _REFUSALS:
            return Outcome(runs=False, seconds=seconds, reason=waiting["reason"], message=waiting.get("message", ""))
    return None
