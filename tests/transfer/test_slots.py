"""Memory of bodies from several sources: bounded, and given back when its body is over."""

from __future__ import annotations

from registryd.transfer.slots import SLOT_BYTES, SlotMemory


def test_memory_goes_back_though_somebody_still_refers_to_it() -> None:
    """The frames of an error may do so for long. Pages that went back to the system are read as zeros."""
    memory = SlotMemory(3 * SLOT_BYTES)
    with memory.reserved() as slots:
        assert slots is not None
        held = [slot for slot in (slots.take(), slots.take()) if slot is not None]
        for slot in held:
            slot[:] = b"x" * SLOT_BYTES
        slots.give_back(held[0])
    assert len(held) == 2
    assert not any(map(any, (slot[:: SLOT_BYTES // 64] for slot in held)))


def test_a_slot_is_used_again_and_none_is_made_beyond_the_share() -> None:
    memory = SlotMemory(3 * SLOT_BYTES)
    with memory.reserved() as slots, memory.reserved() as others:
        assert slots is not None
        assert others is None
        taken = [slots.take() for _ in range(4)]
        assert [slot is None for slot in taken] == [False, False, False, True]
        assert taken[0] is not None
        slots.give_back(taken[0])
        assert slots.take() is taken[0]
    assert memory.is_enough
