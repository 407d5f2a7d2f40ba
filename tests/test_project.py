"""What stands around the code: versions in one place, pins that fit, forms and workflows that their forge can read."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from documentation.notes import notes
from registryd.version import VERSION

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package that a file of requirements/ names."""
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements" / name).read_text())
    found = {}
    for entry in entries:
        if not entry.startswith("#"):
            requirement = Requirement(entry.partition(" \\")[0].strip())
            found[requirement.name.lower()] = (
                str(requirement.specifier).removeprefix("=="),
                entry.count("--hash=sha256:"),
            )
    return found


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("runtime.txt", PROJECT["project"]["dependencies"]),
        ("dev.txt", [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]),
        ("build.txt", PROJECT["build-system"]["requires"]),
    ],
)
def test_each_dependency_is_pinned_with_hashes_to_a_version_that_is_allowed(file: str, wanted: list[str]) -> None:
    known = pins(file)
    assert all(hashes for _, hashes in known.values())
    for requirement in map(Requirement, wanted):
        version, _ = known[requirement.name.lower()]
        assert requirement.specifier.contains(version), f"./dev constraints: {requirement}, and {version} in {file}"


def test_what_is_shipped_is_what_is_tested() -> None:
    tested = pins("dev.txt")
    assert {name: tested[name] for name in pins("runtime.txt")} == pins("runtime.txt")


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((ROOT / "charts/registryd/Chart.yaml").read_text())
    assert chart["appVersion"] == VERSION


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.dependabot", [ROOT / ".github/dependabot.yml"]),
    ],
)
def test_the_forge_can_read_it(schema: str, files: list[Path]) -> None:
    assert files
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_is_published_under_the_tag_that_the_chart_asks_for() -> None:
    """A release of v1.2.3 is an appVersion of 1.2.3."""
    workflow = (ROOT / ".github/workflows/release.yml").read_text()
    assert 'docker://$IMAGE:${GITHUB_REF_NAME#v}"' in workflow
    assert "default $.Chart.AppVersion .tag" in (ROOT / "charts/registryd/templates/_helpers.tpl").read_text()


def test_actions_are_named_by_commits() -> None:
    """A tag can be moved by whoever takes an action's repository over, and a release is built by what it names then."""
    used = [each for file in WORKFLOWS for each in re.findall(r"uses: (\S+)", file.read_text())]
    assert len(used) > 5
    assert [each for each in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each)] == []


def test_pythons_that_are_tested_are_those_that_are_named() -> None:
    prefix = "Programming Language :: Python :: 3."
    named = {each.removeprefix(prefix) for each in PROJECT["project"]["classifiers"] if each.startswith(prefix)}
    units = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["units"]
    assert {f"3.{minor}" for minor in named} == set(units["strategy"]["matrix"]["python"])
    assert PROJECT["project"]["requires-python"] == f">=3.{min(map(int, named))}"


PAGES = [path for folder in (ROOT, ROOT / "charts/registryd", ROOT / ".github") for path in sorted(folder.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_pages_outside_the_site_lead_somewhere(page: Path) -> None:
    """Those within docs/ are checked by `./dev docs`."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert broken == []


def test_files_that_the_architecture_names_are_there() -> None:
    """Those with a folder; a page that sends its reader to a file that is gone costs more than no page."""
    page = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|proto|html|md))`", page)
    gone = [name for name in named if not any((folder / name).is_file() for folder in (ROOT, ROOT / "registryd"))]
    assert gone == []
    assert len(named) > 50


def test_workflows_use_verbs_that_there_are() -> None:
    verbs = set(re.search(r"^  (setup \|[^)]*)\)", (ROOT / "dev").read_text(), re.MULTILINE)[1].split(" | "))  # type: ignore[index]
    used = {verb for file in WORKFLOWS for verb in re.findall(r"\./dev (\w+)", file.read_text())}
    used |= set(re.findall(r"`\./dev (\w+)", (ROOT / "CONTRIBUTING.md").read_text()))
    assert used <= verbs
    assert len(used) > 5


def test_notes_are_those_of_the_version() -> None:
    changelog = "# Changelog\n\n## Unreleased\n\nnew\n\n## 1.2.3 (2026-01-01)\n\n* one\n* two\n\n## 1.2.2\n\nold\n"
    assert notes(changelog, "v1.2.3") == "* one\n* two"
    with pytest.raises(LookupError):
        notes(changelog, "v1.2.4")
