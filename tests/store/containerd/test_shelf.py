"""Which layers are kept within the limits."""

from __future__ import annotations

from registryd.oci.digest import Digest
from registryd.store.containerd.shelf import KeptLayersLimits, Layer, Shelf

LIMITS = KeptLayersLimits(100, longest=10)


def layer(name: str, size: int) -> Layer:
    return Layer("k8s.io", Digest.of(name.encode()), size)


A, B, C, D = layer("a", 40), layer("b", 40), layer("c", 40), layer("d", 30)


def filled(*layers: Layer) -> Shelf:
    """Each used a second after the one before."""
    shelf = Shelf(LIMITS)
    for now, each in enumerate(layers):
        shelf.put(each, now)
    return shelf


def test_what_was_used_least_recently_leaves_for_what_is_new() -> None:
    shelf = filled(A, B)
    assert shelf.room_for([C], 5) == ([A], [C])
    shelf.touch({A.digest}, 4)
    assert shelf.room_for([C], 5) == ([B], [C])


def test_no_more_leaves_than_is_needed() -> None:
    assert filled(A, D).room_for([D], 5) == ([], [D])


def test_of_an_image_that_is_too_large_a_part_is_kept() -> None:
    leaving, fitting = filled(A).room_for([B, C, layer("e", 50)], 5)
    assert (leaving, fitting) == ([A], [B, C])


def test_a_layer_that_never_fits_pushes_nobody_out() -> None:
    assert filled(A, B).room_for([layer("huge", 101)], 5) == ([], [])


def test_what_nobody_used_for_long_is_overdue() -> None:
    shelf = filled(A, B)
    assert shelf.overdue(10.5) == [A]
    assert shelf.overdue(11.5) == [A, B]


def test_more_than_the_limit_is_overdue() -> None:
    """The limits were larger when it was kept."""
    shelf = filled(A, B, C)
    assert shelf.overdue(3) == [A]
    shelf.drop(A)
    assert (len(shelf), shelf.size_bytes) == (2, 80)
    assert shelf.overdue(3) == []
