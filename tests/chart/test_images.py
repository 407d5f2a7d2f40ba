"""What the chart makes of images that are to be treated in a way of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.config.loader import load
from registryd.content.blocked import BlockRules
from registryd.oci.digest import Digest
from tests.chart.cases import CASES
from tests.chart.conftest import variables_of

if TYPE_CHECKING:
    from tests.chart.conftest import Helm, Object, Rendered


def list_of(rendered: Rendered) -> str:
    """The name of the ConfigMap whose key is the file that the agent watches."""
    variables = variables_of(rendered.agent, dict.fromkeys(("HOST_IP", "NODE_NAME", "NODE_ZONE"), ""))
    file = variables["REGISTRYD_IMAGES_BLOCK_FILE"]
    (mount,) = [each for each in rendered.agent["volumeMounts"] if file == f"{each['mountPath']}/block"]
    assert "subPath" not in mount  # which would never change
    (volume,) = [each for each in rendered.pod["volumes"] if each["name"] == mount["name"]]
    name: str = volume["configMap"]["name"]
    return name


def test_a_blocked_image_is_in_the_file_that_agents_watch(helm: Helm) -> None:
    rendered = helm.render(CASES["blocked images"])
    text = rendered.one("ConfigMap", list_of(rendered))["data"]["block"]
    rules = BlockRules.parse(text.splitlines())
    assert rules.digests == {Digest.parse("sha256:" + "b" * 64)}
    assert rules.matches("ghcr.io/corp/app:1.2.3")


def test_a_change_of_the_list_restarts_no_agent(helm: Helm) -> None:
    def template(values: Object) -> Object:
        found: Object = helm.render(values).one("DaemonSet")["spec"]["template"]
        return found

    assert template({}) == template(CASES["blocked images"])


def test_a_list_of_ones_own_is_used_in_its_place(helm: Helm) -> None:
    rendered = helm.render(CASES["blocked by a list of one's own"])
    assert list_of(rendered) == "blocked"
    assert not [each for each in rendered.all("ConfigMap") if "block" in each["data"]]


def prefetching(rendered: Rendered) -> Object:
    found: Object = rendered.one("DaemonSet", "registryd-prefetch")["spec"]["template"]["spec"]
    return found


def test_a_list_goes_to_the_nodes_of_a_selector_in_waves_and_is_pinned(helm: Helm) -> None:
    rendered = helm.render(CASES["pinned prefetch"])
    pod = prefetching(rendered)
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "gpu"}
    strategy = rendered.one("DaemonSet", "registryd-prefetch")["spec"]["updateStrategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": 2}
    (container,) = pod["initContainers"]
    assert {"--pin", "--unpin-others", "--report=/dev/termination-log"} <= set(container["args"])


def test_each_list_goes_to_its_own_nodes_with_its_own_values(helm: Helm) -> None:
    rendered = helm.render(CASES["lists of their own nodes"])
    sets = {
        each["metadata"]["name"]: each["spec"]
        for each in rendered.all("DaemonSet")
        if "registryd/prefetch" in each["spec"]["template"]["metadata"]["labels"]
    }
    pods = {name.removeprefix("registryd-prefetch"): spec["template"]["spec"] for name, spec in sets.items()}
    pools = {name: pod["nodeSelector"].get("pool") for name, pod in pods.items()}
    assert pools == {"": "web", "-gpu": "gpu", "-private": "web"}
    # No set counts another's pods as its own.
    selectors = [spec["selector"]["matchLabels"]["app.kubernetes.io/component"] for spec in sets.values()]
    assert selectors == ["prefetch", "prefetch-gpu", "prefetch-private"]
    assert [spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] for spec in sets.values()] == [2, 2, 2]
    names = {name: [each["name"] for each in pod["initContainers"]] for name, pod in pods.items()}
    assert names[""] == names["-gpu"] == ["prefetch"]
    assert names["-private"] == ["background", "program", "image-0", "image-1", "background-end"]
    gpu, first = (pods[name]["initContainers"][0]["args"] for name in ("-gpu", ""))
    assert {"--pin", "--unpin-others", "--list=gpu", "--parallel=1"} <= set(gpu)
    assert "--pin" in first
    assert not [argument for argument in first if argument.startswith("--list")]
    for name, images in (("", "alpine\n"), ("-gpu", "ghcr.io/corp/model:v1\n"), ("-private", "app\ndb\n")):
        (volume,) = [each for each in pods[name]["volumes"] if each["name"] == "images"]
        assert volume["configMap"]["name"] == f"registryd-prefetch{name}"
        assert rendered.one("ConfigMap", f"registryd-prefetch{name}")["data"]["images.txt"] == images


def test_what_kubelets_have_pulled_is_pinned_without_their_logins(helm: Helm) -> None:
    pod = prefetching(helm.render(CASES["pinned prefetch by kubelets"]))
    *_, image, _, last = pod["initContainers"]
    assert (image["name"], last["name"]) == ("image-0", "prefetch")
    assert not [argument for argument in last["args"] if "docker-config" in argument]
    assert {volume["name"] for volume in pod["volumes"]} == {"program", "containerd", "images", "tmp"}
    assert "logins" not in str([volume for volume in pod["volumes"] if "secret" in volume])


def test_copies_are_the_agents_to_keep(helm: Helm) -> None:
    rendered = helm.render(CASES["kept images"])
    variables = variables_of(rendered.agent, dict.fromkeys(("HOST_IP", "NODE_NAME", "NODE_ZONE"), ""))
    given = {name: value for name, value in variables.items() if name.startswith("REGISTRYD_IMAGES_")}
    settings = load(flags={}, environment=given, file=None).images
    assert settings.keep == ("ghcr.io/corp/* copies=3 zones=2", "*:v1 copies=2")
    assert settings.keep_max_size == 50 << 30
