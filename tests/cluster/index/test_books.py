from __future__ import annotations

from registryd.cluster.contract.index import Announcement, NodeLocation
from registryd.cluster.contract.node import NodeId
from registryd.cluster.index.books import Books
from registryd.cluster.index.view import CurrentView, View
from registryd.notation import Address

OWN = NodeId("own")
ONE, TWO = NodeId("one"), NodeId("two")
LIFETIME = 100.0


def place(number: int) -> NodeLocation:
    return NodeLocation(Address("10.0.0.1", number))


VIEW = View.of(frozenset({place(1).address, place(2).address}))
OTHER_VIEW = View.of(frozenset({place(1).address, place(3).address}))


def everything(number: int, *, process: NodeId | None = ONE, view: View = VIEW) -> Announcement:
    return Announcement(place(number), process=process, view=view.name, complete_at=OWN)


def make(*announcements: Announcement) -> Books:
    books = Books(OWN, lifetime=LIFETIME)
    for announcement in announcements:
        books.take(announcement, 0.0)
    return books


def unheard(books: Books, view: View = VIEW, now: float = 0.0) -> set[int]:
    return {address.port for address in books.unheard(view, now)}


def test_who_has_told_everything_is_heard() -> None:
    assert unheard(make()) == {1, 2}
    assert unheard(make(everything(1))) == {2}
    assert unheard(make(everything(1), everything(2))) == set()


def test_what_is_true_in_another_view_is_not_in_this_one() -> None:
    books = make(everything(1), everything(2, view=OTHER_VIEW))
    assert unheard(books) == {2}
    assert unheard(books, OTHER_VIEW) == {1, 3}


def test_what_another_process_was_told_does_not_count() -> None:
    told_another = Announcement(place(1), process=ONE, view=VIEW.name, complete_at=TWO)
    assert unheard(make(told_another, everything(2))) == {1}


def test_a_holder_that_has_begun_anew_has_told_nothing_yet() -> None:
    begins = Announcement(place(1), process=TWO, view=VIEW.name)
    assert unheard(make(everything(1), everything(2), begins)) == {1}


def test_a_part_of_something_new_is_not_everything() -> None:
    part = Announcement(place(1), process=ONE, view=VIEW.name)
    assert unheard(make(everything(1), everything(2), part)) == {1}


def test_older_versions_promise_nothing() -> None:
    assert unheard(make(Announcement(place(1)), everything(2))) == {1}


def test_silence_is_believed_for_a_while() -> None:
    books = make(everything(1), everything(2))
    assert unheard(books, now=LIFETIME) == set()
    books.take(everything(2), 60.0)
    assert unheard(books, now=LIFETIME + 1) == {1}


def test_what_was_forgotten_is_missing_until_another_process_tells_it() -> None:
    books = make(everything(1), everything(2))
    books.lack(place(1).address)
    books.take(everything(1), 1.0)
    assert unheard(books) == {1}
    books.take(everything(1, process=TWO), 2.0)
    assert unheard(books) == set()


def test_somebody_who_never_told_anything_lacks_nothing() -> None:
    books = make()
    books.lack(place(1).address)
    assert unheard(books) == {1, 2}


def test_who_speaks_as_another_process_is_told_of_once() -> None:
    books = make(everything(1), everything(2))
    assert books.take_renewed() == {place(1).address, place(2).address}
    books.take(everything(1), 1.0)
    assert books.take_renewed() == set()
    books.take(everything(1, process=TWO), 2.0)
    assert books.take_renewed() == {place(1).address}
    assert books.process_of(place(1).address) == TWO
    assert books.process_of(place(9).address) is None


class Discovery:
    """What discovery gives a node."""

    def __init__(self, *numbers: int) -> None:
        self.addresses = frozenset(place(number).address for number in numbers)

    def discovered(self) -> frozenset[Address]:
        return self.addresses


def test_nodes_that_see_the_same_members_have_the_same_view() -> None:
    one = CurrentView(Discovery(2, 3), lambda: place(1), most=3)()
    two = CurrentView(Discovery(1, 2, 3), lambda: place(2), most=3)()
    other = CurrentView(Discovery(3), lambda: place(2), most=3)()
    assert one == two
    assert one != other
    assert one is not None
    assert 0 < one.name < 2**64


def test_the_name_of_a_view_is_what_the_protocol_says() -> None:
    assert View.of(frozenset({Address("10.0.0.1", 3173), Address("::1", 3173)})).name == 0xBEFF1F25BBC69A93


def test_a_view_is_made_anew_when_it_changes_and_only_then() -> None:
    discovery = Discovery(2, 3)
    own = [1]
    view = CurrentView(discovery, lambda: place(own[0]), most=3)
    first = view()
    assert view() is first
    discovery.addresses = Discovery(2).addresses
    second = view()
    assert second is not None
    assert second.addresses == Discovery(1, 2).addresses
    own[0] = 7
    third = view()
    assert third is not None
    assert third.addresses == Discovery(2, 7).addresses


def test_a_cluster_in_which_not_everyone_is_asked_has_no_view() -> None:
    assert CurrentView(Discovery(1, 2, 3, 4), lambda: place(1), most=3)() is None
