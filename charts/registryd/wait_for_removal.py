"""Wait until every pod of a DaemonSet is ready. Arguments: namespace, name, seconds. Exit code 1 when time is up."""

import json
import os
import ssl
import sys
import time
import urllib.request

FOLDER = os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount")


def status(namespace, name):
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with open(f"{FOLDER}/token") as file:
        headers = {"Authorization": f"Bearer {file.read().strip()}"}
    request = urllib.request.Request(f"https://{server}/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}")
    request.headers.update(headers)
    tls = ssl.create_default_context(cafile=f"{FOLDER}/ca.crt")
    with urllib.request.urlopen(request, timeout=10, context=tls) as answer:
        return json.load(answer)


def missing(daemonset):
    """How many nodes are not done; None when the controller has not looked yet."""
    now = daemonset.get("status") or {}
    if now.get("observedGeneration", 0) < daemonset["metadata"].get("generation", 1):
        return None
    return now.get("desiredNumberScheduled", 0) - now.get("numberReady", 0)


def main(namespace, name, seconds):
    until = time.monotonic() + float(seconds)
    left = None
    while time.monotonic() < until:
        try:
            left = missing(status(namespace, name))
            print("waiting" if left is None else f"{left} nodes are not done", flush=True)
        except OSError as error:
            print(f"the API server does not answer: {error}", flush=True)
        if left == 0:
            return 0
        time.sleep(1)
    return 1


sys.exit(main(*sys.argv[1:]))
