"""A real API server that refuses an account's requests because it is busy: 429, by priority and fairness."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

from lab.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.kubernetes.lab.control_plane import ControlPlane
    from e2e.kubernetes.lab.kubectl import Kubectl, Object

_BUSY = "busy"  # the other account
_NAME = "one-at-a-time"
_GROUP = "flowcontrol.apiserver.k8s.io/v1"
_WEBHOOK_SECONDS = 30  # the longest that Kubernetes allows
_PORT = 8443


@contextlib.asynccontextmanager
async def refusing(kubectl: Kubectl, plane: ControlPlane, account: str) -> AsyncIterator[None]:
    """For the length of the block, and half a minute at most, requests of this account of `default` are answered 429.

    They share a priority that has no seats and no queue. An API server lets one request of such a priority in when no
    other is executing, so another account has one, which waits for a webhook that does not answer.
    """
    await kubectl.apply(*_priority(account), *_rights(), _webhook(plane))
    await kubectl.until(lambda: _is_in_force(kubectl), what="the server knows the priority")
    with plane.host.namespace.open_socket() as silent:
        silent.bind((plane.host.ipv4, _PORT))
        silent.listen()
        waiting = asyncio.create_task(_create_config_map(kubectl), name="a request that waits for a webhook")
        try:
            await kubectl.until(lambda: _is_executing(kubectl), what="a request waits for the webhook")
            yield
        finally:
            silent.close()
            await waiting
            for each in ("flowschema", "prioritylevelconfiguration", "validatingwebhookconfiguration"):
                await kubectl("delete", each, _NAME)
            await kubectl("delete", f"serviceaccount/{_BUSY}", f"role/{_BUSY}", f"rolebinding/{_BUSY}")


async def _create_config_map(kubectl: Kubectl) -> None:
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": _BUSY}}
    path = "/api/v1/namespaces/default/configmaps"
    who = f"--as=system:serviceaccount:default:{_BUSY}"
    with contextlib.suppress(CommandError):  # it is refused when the webhook's time is over
        await kubectl("create", "--raw", path, "-f", "-", who, stdin=json.dumps(made))


async def _is_in_force(kubectl: Kubectl) -> bool:
    """The server says that it has read the schema, and found its priority."""
    conditions = (await kubectl.get("flowschema", _NAME)).get("status", {}).get("conditions", [])
    return any(each["type"] == "Dangling" and each["status"] == "False" for each in conditions)


async def _is_executing(kubectl: Kubectl) -> bool:
    metrics = await kubectl("get", "--raw", "/metrics")
    lines = (line for line in metrics.splitlines() if "current_executing_requests" in line and _NAME in line)
    return any(line.endswith(" 1") for line in lines)


def _priority(account: str) -> tuple[Object, ...]:
    limited = {
        "nominalConcurrencyShares": 0,
        "lendablePercent": 0,
        "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Reject"},
    }
    subjects = [
        {"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": "default"}}
        for name in (account, _BUSY)
    ]
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
    schema = {
        "matchingPrecedence": 2,  # before all others but "exempt"
        "priorityLevelConfiguration": {"name": _NAME},
        "rules": [{"subjects": subjects, "resourceRules": [everything]}],
    }
    return (
        _object(_GROUP, "PriorityLevelConfiguration", _NAME, spec={"type": "Limited", "limited": limited}),
        _object(_GROUP, "FlowSchema", _NAME, spec=schema),
    )


def _rights() -> tuple[Object, ...]:
    """The other account may make what the webhook is asked about."""
    group = "rbac.authorization.k8s.io"
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}
    subject = {"kind": "ServiceAccount", "name": _BUSY, "namespace": "default"}
    role = {"apiGroup": group, "kind": "Role", "name": _BUSY}
    return (
        _object("v1", "ServiceAccount", _BUSY),
        _object(f"{group}/v1", "Role", _BUSY, rules=[rule]),
        _object(f"{group}/v1", "RoleBinding", _BUSY, roleRef=role, subjects=[subject]),
    )


def _webhook(plane: ControlPlane) -> Object:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    hook = {
        "name": "silent.lab.example",
        "clientConfig": {"url": f"https://{plane.host.ipv4}:{_PORT}/"},
        "rules": [rule],
        "matchConditions": [{"name": "of-the-other", "expression": f"object.metadata.name == '{_BUSY}'"}],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": _WEBHOOK_SECONDS,
        "failurePolicy": "Fail",
    }
    return _object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", _NAME, webhooks=[hook])


def _object(version: str, kind: str, name: str, **rest: object) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}
