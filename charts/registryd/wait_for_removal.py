# ruff: noqa: INP001 - run as `python3 -c`, in a container of the agent's image
"""Wait until a DaemonSet's pods are ready on all nodes, then delete it. Arguments: namespace, name, selector, seconds.

When time is up it says which nodes are not done, why as far as Kubernetes knows, and what to do; exit code 1. The
DaemonSet stays then: it goes on trying, and can be looked at.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

# Where the kubelet puts it; another folder for tests.
ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
# What is in it is shown by `kubectl describe pod`.
MESSAGE = Path(os.environ.get("TERMINATION_LOG", "/dev/termination-log"))
POLL_SECONDS = 1
LONGEST_REASON = 300


def ask(path: str, *, method: str = "GET") -> dict[str, Any]:
    """One request to the API server; raises OSError."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    token = (ACCOUNT / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"https://{server}{path}", headers=headers, method=method)
    tls = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=10, context=tls) as answer:  # noqa: S310 - the scheme is written above
        found: dict[str, Any] = json.load(answer)
        return found


def missing(daemonset: dict[str, Any]) -> int | None:
    """How many nodes are not done; None while its controller has not looked at it."""
    status = daemonset.get("status") or {}
    if int(status.get("observedGeneration", 0)) < int(daemonset["metadata"].get("generation", 1)):
        return None
    return int(status.get("desiredNumberScheduled", 0)) - int(status.get("numberReady", 0))


def unfinished(pods: list[dict[str, Any]]) -> dict[str, str]:
    """The nodes whose pod is not ready, and why."""
    return {node_of(pod): reason_of(pod) for pod in pods if not is_ready(pod)}


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def node_of(pod: dict[str, Any]) -> str:
    """Its node, also while the scheduler has not put it there: the controller of DaemonSets chooses by affinity."""
    spec = pod.get("spec") or {}
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    try:
        affinity = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        return str(affinity["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])
    except (LookupError, TypeError):
        return f"the node of pod {pod['metadata']['name']}"


def reason_of(pod: dict[str, Any]) -> str:
    status = pod.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for each in containers:
        for state in (each.get("state") or {}, each.get("lastState") or {}):
            waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
            if waiting.get("reason") not in {None, "PodInitializing", "ContainerCreating"}:
                return cut(f"{each['name']}: {waiting['reason']}: {waiting.get('message', '')}")
            if ended.get("exitCode"):
                return cut(f"{each['name']} ended with {ended['exitCode']}: {ended.get('message', '')}")
    unscheduled = [each for each in status.get("conditions") or [] if each.get("reason") == "Unschedulable"]
    if unscheduled:
        return cut(f"its pod is not scheduled: {unscheduled[0].get('message', '')}")
    return "its pod runs, and is not ready" if containers else "its kubelet has not taken the pod: is the node alive?"


def cut(text: str) -> str:
    return " ".join(text.split())[:LONGEST_REASON].rstrip(" :")


def wait(namespace: str, name: str, selector: str, seconds: float) -> dict[str, str] | None:
    """None when all nodes were done in time, else those that were not, and why."""
    path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"
    of_pods = f"/api/v1/namespaces/{namespace}/pods?labelSelector={urllib.parse.quote(selector)}"
    left: dict[str, str] = {}
    said = ""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            count = missing(ask(path))
            if count == 0:
                ask(path, method="DELETE")
                return None
            left = unfinished(ask(of_pods).get("items") or [])
            text = "waiting for the controller" if count is None else f"{count} not done: {', '.join(sorted(left))}"
        except OSError as error:
            text = f"the API server does not answer: {error}"
        if text != said:
            say(text)
            said = text
        time.sleep(POLL_SECONDS)
    return left or {"no node is known": "the pods were not made; see `kubectl describe daemonset` of this one"}


def verdict(left: dict[str, str], namespace: str, name: str, selector: str) -> str:
    """What a person reads who asks why `helm uninstall` failed."""
    return "\n".join(
        [
            "These nodes still ask registryd first, which does no harm: containerd goes on to its next endpoint.",
            *(f"  {node}: {reason}" for node, reason in sorted(left.items())),
            f"DaemonSet {name} goes on trying: kubectl -n {namespace} get pods -o wide -l {selector}",
            "When they are done, or deleted (kubectl delete node): `helm uninstall` again. Or give up on them:",
            f"`helm uninstall --no-hooks`, then kubectl -n {namespace} delete daemonset,job -l {selector}",
        ]
    )


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(namespace: str, name: str, selector: str, seconds: str) -> int:
    left = wait(namespace, name, selector, float(seconds))
    if left is None:
        say("all nodes are done")
        return 0
    text = verdict(left, namespace, name, selector)
    say(text)
    try:
        MESSAGE.write_text(text)
    except OSError as error:
        say(f"{MESSAGE} cannot be written: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
