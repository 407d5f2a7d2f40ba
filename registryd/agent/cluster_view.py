"""The whole cluster, from the reports of members: which node gives to which, which has what, what was saved."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from registryd.cluster.assembly import Flow, Hour, image_key, image_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from registryd.cluster.assembly import ClusterView, Examination

# Images on the page: images on the fewest nodes come first.
_MOST_IMAGES: Final = 200
_MOST_FLOWS: Final = 500


def cluster_view(
    own: ClusterView,
    own_host: str,
    examined: Iterable[Examination],
    *,
    images: Collection[str],
    names: Mapping[str, str],
) -> dict[str, Any]:
    """As JSON. `images` are the names of what is here, `names` what contents are called here, by their labels.

    `nodes` is of how many nodes it is made, this one among them.
    """
    views = {own_host: own}
    views |= {each.address.host: each.report.view for each in examined if each.report and each.report.view}
    return {
        "nodes": len(views),
        "flows": _flows(views, names),
        "spread": _spread(views, images),
        "alone": _alone(views),
        "hours": _hours(views.values()),
    }


def without_names(view: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without names, for readers that may not know which content is here."""
    flows = [{**flow, "name": "", "label": ""} for flow in view["flows"]]
    return {**view, "flows": flows, "spread": []}


def _flows(views: Mapping[str, ClusterView], names: Mapping[str, str]) -> list[dict[str, Any]]:
    found = [(source, flow) for source, view in views.items() for flow in view.flows]
    found.sort(key=lambda each: each[1].sent - each[1].size)
    return [_flow(source, flow, names) for source, flow in found[:_MOST_FLOWS]]


def _flow(source: str, flow: Flow, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "label": flow.label,
        "name": names.get(flow.label, ""),
        "size": flow.size,
        "sent": flow.sent,
        "source": source,
        "receiver": flow.receiver,
    }


def _spread(views: Mapping[str, ClusterView], images: Collection[str]) -> list[dict[str, Any]]:
    keys = Counter(key for view in views.values() for key in view.images)
    # A node that has more than can be told may have an image that it does not name: this one has it in any case.
    spread = [{"image": name, "nodes": max(1, keys[image_key(name)])} for name in image_names(images)]
    spread.sort(key=lambda each: (each["nodes"], each["image"]))
    return spread[:_MOST_IMAGES]


def _alone(views: Mapping[str, ClusterView]) -> list[dict[str, Any]]:
    """Nodes that have images which no other has, as far as they are known; nothing where there are no others."""
    keys = Counter(key for view in views.values() for key in view.images)
    counts = {host: sum(1 for key in view.images if keys[key] == 1) for host, view in views.items()}
    return [{"host": host, "images": count} for host, count in counts.items() if count and len(views) > 1]


def _hours(views: Iterable[ClusterView]) -> list[dict[str, int]]:
    """The present hour first."""
    longest: Sequence[Hour] = max((view.hours for view in views), key=len, default=())
    columns = [[view.hours[hour] for view in views if hour < len(view.hours)] for hour in range(len(longest))]
    return [
        {"spared": sum(each.spared for each in column), "elsewhere": sum(each.elsewhere for each in column)}
        for column in columns
    ]
