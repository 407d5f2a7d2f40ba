"""What an API server tells clients about itself: its version, groups and resources. Enough for client-go and Helm."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Object = dict[str, Any]
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete"]


@dataclass(frozen=True)
class Resource:
    api: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def path(self) -> str:
        scope = "namespaces/{namespace}/" if self.namespaced else ""
        return f"/{path_of(self.api)}/{scope}{self.plural}/{{name}}"

    def operations(self) -> Object:
        """That the server checks fields when it applies a patch: what clients look for before they send one."""
        group, _, version = self.api.rpartition("/")
        kind = {"group": group, "version": version, "kind": self.kind}
        parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
        return {"patch": {"parameters": [parameter], "x-kubernetes-group-version-kind": kind}}

    def document(self) -> Object:
        singular = self.kind.lower()
        return {
            "name": self.plural,
            "singularName": singular,
            "namespaced": self.namespaced,
            "kind": self.kind,
            "verbs": VERBS,
        }


RESOURCES = (
    Resource("v1", "Namespace", "namespaces", namespaced=False),
    Resource("v1", "ConfigMap", "configmaps"),
    Resource("v1", "Pod", "pods"),
    Resource("v1", "Secret", "secrets"),
    Resource("v1", "Service", "services"),
    Resource("v1", "ServiceAccount", "serviceaccounts"),
    Resource("apps/v1", "DaemonSet", "daemonsets"),
    Resource("batch/v1", "Job", "jobs"),
    Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
    Resource("rbac.authorization.k8s.io/v1", "Role", "roles"),
    Resource("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
)


def discovery_documents(version: str) -> Iterator[tuple[str, Object]]:
    """Paths and what they answer; `version` as in v1.31.0."""
    major, minor, _ = version.removeprefix("v").split(".")
    yield "/version", {"major": major, "minor": minor, "gitVersion": version, "platform": "linux/amd64"}
    by_api: dict[str, list[Object]] = defaultdict(list)
    for resource in RESOURCES:
        by_api[resource.api].append(resource.document())
    for api, resources in by_api.items():
        path = path_of(api)
        yield f"/{path}", {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api, "resources": resources}
        operations = {resource.path: resource.operations() for resource in RESOURCES if resource.api == api}
        yield f"/openapi/v3/{path}", {"openapi": "3.0.0", "paths": operations}
    specifications = {path_of(api): {"serverRelativeURL": f"/openapi/v3/{path_of(api)}"} for api in by_api}
    yield "/openapi/v3", {"paths": specifications}
    yield "/api", {"kind": "APIVersions", "versions": ["v1"]}
    yield "/apis", {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(api) for api in by_api if "/" in api]}


def path_of(api: str) -> str:
    return f"apis/{api}" if "/" in api else f"api/{api}"


def _group(api: str) -> Object:
    group, _, version = api.partition("/")
    known = {"groupVersion": api, "version": version}
    return {"name": group, "versions": [known], "preferredVersion": known}
