"""`registryd doctor`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from registryd.commands.findings import print_findings, print_findings_as_json
from registryd.commands.mirror_flags import endpoint_from, node_socket, root_from
from registryd.commands.settings_flags import takes_settings
from registryd.config.agent import Settings
from registryd.doctor.examination import examine
from registryd.doctor.finding import Severity
from registryd.doctor.patient import ExaminationScope
from registryd.node.record_store import STATE

_PROBLEM: Final = 1
# The kubelet sets it in every container (kubelet_pods.go, getServiceEnvVarMap).
_IN_A_POD: Final = "KUBERNETES_SERVICE_HOST"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the node's files are. The command finds every value that is not given."""

    root: Path = Path("/")
    """Folder where the node's file system is mounted. All other paths are paths of the node."""

    state: Path = STATE
    """Folder with the record of `registryd install`."""

    containerd_config: Path | None = None
    """containerd's main configuration file."""

    containerd_program: Path | None = None
    """containerd's program. The command runs it to learn its version when the daemon does not answer."""

    endpoint: str | None = None
    """URL at which containerd reaches the agent. The default is http:// and registry.listen."""


@takes_settings("registry", "store", "peers", "discovery", "admin")
async def doctor(
    settings: Settings,
    where: Annotated[Where, Parameter(name="*")] = Where(),
    *,
    verbose: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Examine this node, its containerd, its agent and its peers; print each problem with its remedy.

    The command changes nothing. At the end it pulls a tiny image through containerd and removes the image again. Run
    the command as root, with the agent's settings. The exit code is 1 when there is a problem.

    Args:
        settings: The agent's settings.
        where: Where the node's files are.
        verbose: Print details of the checks without a problem too.
        json: Print the findings as JSON, with all details.
    """
    root = root_from(where.root)
    place = ExaminationScope(
        root=root,
        endpoint=endpoint_from(where.endpoint, settings.registry.listen),
        has_files=where.root != Path("/") or _IN_A_POD not in os.environ,
        state=where.state.absolute(),
        config=where.containerd_config and where.containerd_config.absolute(),
        program=where.containerd_program and where.containerd_program.absolute(),
        socket=node_socket(settings.store.containerd_socket, root),
    )
    findings = await examine(settings, place)
    print_findings_as_json(findings) if json else print_findings(findings, verbose=verbose)
    return _PROBLEM if any(finding.severity is Severity.PROBLEM for finding in findings) else 0
