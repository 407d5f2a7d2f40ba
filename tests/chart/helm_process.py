"""Helm in a process of its own: it is Go, whose threads and sockets a test could not account for.

Reads one JSON object per line, {"action": …, "options": {…}}, and answers each with one line, {"error": …}.
Arguments: the API server's URL, the file with its authority, the namespace, the chart.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from helm_python import Chart, Config, HelmError


def perform(config: Config, chart: Chart, request: dict[str, Any]) -> str:
    options = request["options"]
    of_chart = (chart,) if request["action"] in {"install", "upgrade"} else ()
    try:
        getattr(config, request["action"])(*of_chart, "registryd", **options)
    except HelmError as error:
        return str(error)
    return ""


def main(url: str, authority: str, namespace: str, path: str) -> None:
    # The releases are kept in this process: Helm would write Secrets in protobuf, which the fake does not read.
    with (
        Config(
            kube_apiserver=url,
            kube_ca_file=authority,
            kube_token="any",
            namespace=namespace,
            storage_driver="memory",
        ) as config,
        Chart.load(path) as chart,
    ):
        for line in sys.stdin:
            sys.stdout.write(json.dumps({"error": perform(config, chart, json.loads(line))}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
