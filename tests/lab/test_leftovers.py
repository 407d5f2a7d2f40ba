from __future__ import annotations

import os

import pytest

from lab.leftovers import is_left_over, unique_name, workspace

NO_PROCESS = 1 << 22  # the kernel's largest process number, plus one


def test_what_a_running_process_made_stays() -> None:
    assert not is_left_over(unique_name("node-1"))


def test_what_a_dead_process_made_goes() -> None:
    assert is_left_over(f"rdlab-{NO_PROCESS}-1-node")


@pytest.mark.parametrize("name", ["rdlab", f"rdlab-{NO_PROCESS}", f"x-rdlab-{NO_PROCESS}-1-a", "rdlab-me-1-a", ""])
def test_foreign_names_are_left_alone(name: str) -> None:
    assert not is_left_over(name)


def test_names_are_unique_and_say_whose_they_are() -> None:
    one, two = unique_name("a"), unique_name("a")
    assert one != two
    assert one.split("-")[1] == str(os.getpid())


async def test_a_workspace_is_gone_afterwards_also_after_an_error() -> None:
    async def fail() -> None:
        async with workspace() as folder:
            (folder / "file").write_text("x")
            raise LookupError(folder)

    with pytest.raises(LookupError) as caught:
        await fail()
    assert not caught.value.args[0].exists()
