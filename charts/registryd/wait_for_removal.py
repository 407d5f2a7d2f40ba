# ruff: noqa: INP001 - run as `python3 -c`, in a container of the agent's image
"""Wait until every pod of a DaemonSet is ready. Arguments: namespace, name, seconds. Exit code 1 when time is up."""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

# Where the kubelet puts it; another folder for tests.
ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
POLL_SECONDS = 1


def ask(namespace: str, name: str) -> dict[str, Any]:
    """Get the DaemonSet; raises OSError."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    token = (ACCOUNT / "token").read_text().strip()
    request = urllib.request.Request(
        f"https://{server}/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}",
        headers={"Authorization": f"Bearer {token}"},
    )
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


def wait(namespace: str, name: str, seconds: float) -> bool:
    """Whether all nodes were done in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            left = missing(ask(namespace, name))
            say("waiting for the controller" if left is None else f"{left} nodes are not done")
            if left == 0:
                return True
        except OSError as error:
            say(f"the API server does not answer: {error}")
        time.sleep(POLL_SECONDS)
    return False


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(0 if wait(sys.argv[1], sys.argv[2], float(sys.argv[3])) else 1)
