"""What the chart makes of images that are to be treated in a way of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
