"""What every event store has to do. A store's own test module subclasses StoreContract,
says how the store is opened and how it runs out of room, and has these tests.

Nothing in here knows about files: an in-memory store passes as well (test_memory.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Final

import pytest

from support.needs import OPTIONAL_COMPLETION
from unitsync.wire import OnOwnerExit, Owner, Status
from unitsyncd.core import fact_codec
from unitsyncd.core.events import (
    BecameReady,
    Declared,
    Denial,
    Denied,
    Ended,
    Launched,
    OwnerGone,
    Registered,
    Retried,
    Started,
    Undeclared,
    WasReset,
)
from unitsyncd.core.store import (
    PART_RECORDS,
    EpochRecord,
    EventStore,
    Page,
    Record,
    StoreError,
)

EPOCHS_KEPT: Final = 20
OWNER: Final = Owner(321, 9876, 4026531836, "bash -c 'ide\n\u00fc'", watched=False)
EVERY_KIND: Final[list[Record]] = [
    ("ide", Registered(1.5)),
    ("\u00fcnit", Registered(0.1 + 0.2)),
    ("ide", Declared(2.0, "\u00fcnit", OPTIONAL_COMPLETION)),
    ("ide", Undeclared(2.5, "\u00fcnit")),
    ("ide", Denied(2.75, OWNER, Denial.TIMED_OUT, "because")),
    ("ide", Denied(2.75, None, Denial.WAITING)),
    ("ide", Started(3.0, "a-request", OWNER, OnOwnerExit.WARN)),
    ("ide", Started(3.0, "", None)),
    ("ide", Launched(3.25, "a-request", OWNER, OnOwnerExit.WARN)),
    ("ide", Launched(3.25, "", None)),
    ("ide", BecameReady(3.5, "a-request")),
    ("ide", Retried(3.75, "a-request", "exit status 1", OWNER, launching=True)),
    ("ide", Retried(3.75, "")),
    ("ide", OwnerGone(4.0)),
    ("ide", Ended(1.7e9, Status.FAILED, "another", "exit status 1", OWNER)),
    ("ide", Ended(1.7e9, Status.COMPLETED)),
    ("ide", WasReset(1.7e9 + 1e-6, "a-reset")),
]


def epoch(name: str, *, startup: str = "s", machine: str = "m") -> EpochRecord:
    return EpochRecord(name, startup, machine, 1.7e9, f"request-{name}")


def records(first: int, count: int, size: int = 1) -> list[Record]:
    """*count* that all differ, each with *size* bytes of text."""
    fact = Denied(1.0, None, Denial.WAITING, "x" * size)
    return [(f"u{number}", fact) for number in range(first, first + count)]


def contents(store: EventStore) -> tuple[int, list[EpochRecord], list[tuple[int, Record]]]:
    return store.next_seq, store.epochs(), list(store.read(0))


class StoreContract:
    old_bytes_max: int
    """Of records of earlier epochs; the store under test is to be opened with that."""

    def open(self) -> EventStore:
        """The store of this test, empty at first; what was kept is there again."""
        raise NotImplementedError

    def no_room(self, store: EventStore) -> AbstractContextManager[None]:
        """While it lasts, *store* has no room for more than a little."""
        raise NotImplementedError

    def stored_bytes(self) -> int:
        """How much room the store takes."""
        raise NotImplementedError

    @pytest.fixture
    def store(self) -> Iterator[EventStore]:
        opened = self.open()
        yield opened
        opened.close()

    def reopened(self, store: EventStore) -> EventStore:
        store.close()
        return self.open()

    # --- keeping and reading --------------------------------------------------------

    def test_a_new_store_is_empty(self, store: EventStore) -> None:
        assert contents(store) == (0, [], [])

    def test_every_kind_of_record_comes_back_as_it_was(self, store: EventStore) -> None:
        store.begin(epoch("e"))
        store.append(0, EVERY_KIND)
        assert store.next_seq == len(EVERY_KIND)
        expected = list(enumerate(EVERY_KIND))
        assert list(store.read(0)) == expected
        again = self.reopened(store)
        assert contents(again) == (len(EVERY_KIND), store_epochs(("e", 0)), expected)
        again.close()

    def test_the_order_is_that_of_the_appends(self, store: EventStore) -> None:
        store.begin(epoch("e"))
        expected: list[Record] = []
        for count in (1, 7, 1, 1, 300, 2):
            store.append(store.next_seq, batch := records(len(expected), count))
            expected += batch
        assert list(store.read(0)) == list(enumerate(expected))

    def test_what_was_given_may_change_afterwards(self, store: EventStore) -> None:
        """The coordinator appends a list that it clears."""
        store.begin(epoch("e"))
        batch = records(0, 3)
        store.append(0, batch)
        batch.clear()
        assert [number for number, _ in store.read(0)] == [0, 1, 2]

    @pytest.mark.parametrize("from_seq", range(9))
    def test_reading_begins_anywhere(self, store: EventStore, from_seq: int) -> None:
        store.begin(epoch("e"))
        all_of_them = records(0, 8)
        for first, count in ((0, 3), (3, 1), (4, 4)):
            store.append(first, all_of_them[first : first + count])
        assert list(store.read(from_seq)) == list(enumerate(all_of_them))[from_seq:]

    def test_there_is_nothing_behind_the_end(self, store: EventStore) -> None:
        store.begin(epoch("e"))
        store.append(0, records(0, 2))
        assert list(store.read(2)) == list(store.read(1000)) == []
        assert store.page(2, 1000).parts == store.page(1000, 1000).parts == []

    def test_a_store_is_followed_by_reading_on(self, store: EventStore) -> None:
        store.begin(epoch("e"))
        all_of_them = records(0, 6)
        seen: list[tuple[int, Record]] = []
        for first in (0, 2, 4):
            reading = store.read(len(seen))
            store.append(first, all_of_them[first : first + 2])
            seen += reading
        seen += store.read(len(seen))
        assert seen == list(enumerate(all_of_them))

    def test_an_append_of_nothing_changes_nothing(self, store: EventStore) -> None:
        store.begin(epoch("e"))
        store.append(0, [])
        assert store.next_seq == 0
        store.append(0, records(0, 1))
        assert list(store.read(0)) == list(enumerate(records(0, 1)))

    # --- paging ---------------------------------------------------------------------

    @pytest.mark.parametrize("from_seq", range(8))
    def test_a_page_begins_with_what_was_appended_together(
        self, store: EventStore, from_seq: int
    ) -> None:
        store.begin(epoch("e"))
        all_of_them = records(0, 8)
        for first, count in ((0, 3), (3, 1), (4, 4)):
            store.append(first, all_of_them[first : first + count])
        page = store.page(from_seq, 1_000_000)
        parts = [(0, all_of_them[:3]), (3, all_of_them[3:4]), (4, all_of_them[4:])]
        begins = max(number for number, (first, _) in enumerate(parts) if first <= from_seq)
        assert (decoded(page), page.end, page.oldest) == (parts[begins:], 8, 0)

    def test_there_is_no_page_behind_the_end(self, store: EventStore) -> None:
        """So who follows can wait for more."""
        store.begin(epoch("e"))
        assert store.page(0, 1_000_000) == Page([], 0, 0)
        store.append(0, records(0, 3))
        assert store.page(3, 1_000_000) == Page([], 3, 0)

    def test_a_page_is_bounded(self, store: EventStore) -> None:
        """But a part that alone has more is one, or nobody would get any further."""
        store.begin(epoch("e"))
        size = 1000
        for count in (1, 1, 1, 9, 1, 1, 9, 9, 1):
            store.append(store.next_seq, records(store.next_seq, count, size=size))
        pages, seq = [], 0
        while (page := store.page(seq, 3 * size)).parts:
            assert len(page.parts) == 1 or sum(len(blob) for _, blob in page.parts) <= 3 * size
            pages.append([len(part) for _, part in decoded(page)])
            assert page.parts[0][0] == seq
            seq = page.end
        assert pages == [[1, 1], [1], [9], [1, 1], [9], [9], [1]]
        assert seq == store.next_seq

    def test_what_many_did_at_once_is_several_parts(self, store: EventStore) -> None:
        """None so large that a reader cannot take it, and each record as it was."""
        store.begin(epoch("e"))
        count = 2 * PART_RECORDS + 500
        store.append(0, records(0, PART_RECORDS))
        store.append(PART_RECORDS, records(PART_RECORDS, count))
        again = self.reopened(store)
        page = again.page(0, 1 << 30)
        assert [first for first, _ in page.parts] == [PART_RECORDS * number for number in range(4)]
        assert [len(part) for _, part in decoded(page)] == [PART_RECORDS] * 3 + [500]
        told = [record for _, part in decoded(page) for record in part]
        assert told == records(0, PART_RECORDS + count)
        assert list(again.read(1)) == list(enumerate(told))[1:]
        assert again.next_seq == page.end == len(told)
        again.close()

    def test_what_many_did_at_once_is_kept_as_a_whole_or_not_at_all(
        self, store: EventStore
    ) -> None:
        store.begin(epoch("e"))
        store.append(0, records(0, 3))
        before = contents(store)
        with self.no_room(store), pytest.raises(StoreError):
            store.append(3, records(3, 3 * PART_RECORDS, size=10))
        assert contents(store) == before
        store.append(3, records(3, 3 * PART_RECORDS, size=10))
        assert store.next_seq == 3 * PART_RECORDS + 3

    def test_what_is_kept_has_a_name(self, store: EventStore) -> None:
        name = store.id
        assert name
        store.begin(epoch("e"))
        again = self.reopened(store)
        again.begin(epoch("f"))
        assert again.id == name
        again.close()

    def test_epochs_are_asked_for_by_the_last_one_that_is_known(self, store: EventStore) -> None:
        assert store.epochs(7) == []
        for name in ("e1", "e2", "e3"):
            store.begin(epoch(name))
            store.append(store.next_seq, records(store.next_seq, 1))
        all_of_them = store.epochs()
        assert [known.number for known in all_of_them] == [1, 2, 3]
        for after in range(5):
            assert store.epochs(after) == all_of_them[after:]

    def test_a_page_says_which_is_the_oldest_that_is_kept(self, store: EventStore) -> None:
        for number in range(25):
            store.begin(epoch(f"e{number}"))
            store.append(store.next_seq, records(store.next_seq, 2))
        oldest = 2 * (25 - EPOCHS_KEPT)
        for from_seq in (0, 1, oldest - 1, oldest):
            page = store.page(from_seq, 1)
            assert page == Page(page.parts, oldest + 2, oldest)
            assert decoded(page) == [(oldest, records(oldest, 2))]
        assert store.page(50, 1) == Page([], 50, oldest)

    def test_records_always_belong_to_an_epoch_that_is_known(self, store: EventStore) -> None:
        """Also while old ones are being dropped, which takes some turns."""
        each = self.old_bytes_max // 3
        for number in range(12):
            store.begin(epoch(f"e{number}"))
            for _ in range(10):
                store.append(
                    store.next_seq,
                    [(f"of {number}", Denied(1.0, None, Denial.WAITING, "x" * (each // 10)))],
                )
                known = {one.first_seq: one.epoch for one in store.epochs()}
                for seq, (name, _) in store.read(0):
                    begun = max((first for first in known if first <= seq), default=-1)
                    assert known.get(begun) == f"e{name[3:]}", (number, seq)

    # --- all or nothing -------------------------------------------------------------

    @pytest.mark.parametrize("expected_seq", [0, 2, 4, 1000])
    def test_whoever_expects_another_number_changes_nothing(
        self, store: EventStore, expected_seq: int
    ) -> None:
        store.begin(epoch("e"))
        store.append(0, records(0, 3))
        before = contents(store)
        with pytest.raises(StoreError):
            store.append(expected_seq, records(7, 1))
        assert contents(store) == before

    def test_an_append_is_kept_as_a_whole_or_not_at_all(self, store: EventStore) -> None:
        store.begin(epoch("e"))
        store.append(0, records(0, 3))
        before = contents(store)
        with self.no_room(store):
            for _ in range(3):
                with pytest.raises(StoreError):
                    store.append(3, records(3, 50, size=100_000))
                assert contents(store) == before, "reading goes on"
        store.append(3, records(3, 2))
        after = (5, before[1], list(enumerate(records(0, 5))))
        assert contents(store) == after
        again = self.reopened(store)
        assert contents(again) == after
        again.close()

    def test_a_trial_keeps_nothing(self, store: EventStore) -> None:
        store.begin(epoch("e"))
        store.append(0, records(0, 3))
        before = contents(store)
        store.try_append()
        assert contents(store) == before
        store.append(3, records(3, 1))
        store.try_append()
        again = self.reopened(store)
        assert contents(again) == (4, before[1], list(enumerate(records(0, 4))))
        again.close()

    def test_an_epoch_that_could_not_begin_is_not_there(self, store: EventStore) -> None:
        store.begin(epoch("e1"))
        store.append(0, records(0, 3))
        before = contents(store)
        with self.no_room(store):
            with pytest.raises(StoreError):
                store.begin(epoch("e2", startup="s" * 5_000_000))
            assert contents(store) == before
        store.begin(epoch("e2"))
        store.append(3, records(3, 1))
        again = self.reopened(store)
        expected = store_epochs(("e1", 0), ("e2", 3))
        assert contents(again) == (4, expected, list(enumerate(records(0, 4))))
        again.close()

    # --- epochs ---------------------------------------------------------------------

    def test_numbers_run_through_all_epochs(self, store: EventStore) -> None:
        for number in range(3):
            store.begin(epoch(f"e{number}"))
            store.append(store.next_seq, records(store.next_seq, 2))
        assert store.epochs() == store_epochs(("e0", 0), ("e1", 2), ("e2", 4))
        assert list(store.read(0)) == list(enumerate(records(0, 6)))

    def test_an_epoch_needs_no_records(self, store: EventStore) -> None:
        for name in ("e1", "e2", "e3"):
            store.begin(epoch(name))
        again = self.reopened(store)
        assert contents(again) == (0, store_epochs(("e1", 0), ("e2", 0), ("e3", 0)), [])
        again.append(0, records(0, 1))
        assert [number for number, _ in again.read(0)] == [0]
        again.close()

    def test_the_last_20_epochs_are_remembered(self, store: EventStore) -> None:
        kept = records(0, 50)
        for number in range(25):
            store.begin(epoch(f"e{number}"))
            store.append(store.next_seq, kept[2 * number : 2 * number + 2])
        oldest = 25 - EPOCHS_KEPT
        newest = [(f"e{number}", 2 * number) for number in range(oldest, 25)]
        expected = (50, store_epochs(*newest, after=oldest), list(enumerate(kept))[2 * oldest :])
        assert contents(store) == expected
        again = self.reopened(store)
        assert contents(again) == expected
        again.close()

    def test_old_epochs_take_a_bounded_room(self, store: EventStore) -> None:
        """However long an epoch was: when others have begun after it, there is room for
        these."""
        each = self.old_bytes_max // 3
        sizes = []
        for number in range(30):
            store.begin(epoch(f"e{number}"))
            for _ in range(10):
                store.append(store.next_seq, records(store.next_seq, 1, size=each // 10))
            sizes.append(self.stored_bytes())
        assert max(sizes) < 3 * self.old_bytes_max
        first_seqs = {known.epoch: known.first_seq for known in store.epochs()}
        numbers = [number for number, _ in store.read(0)]
        assert numbers == list(range(numbers[0], store.next_seq)), "the newest without a gap"
        assert numbers[0] == first_seqs[next(iter(first_seqs))], "each epoch as a whole"
        assert store.next_seq - numbers[0] >= 20, "as many as there is room for"

    def test_the_present_epoch_is_never_dropped(self, store: EventStore) -> None:
        store.begin(epoch("old"))
        store.append(0, records(0, 1))
        store.begin(epoch("present"))
        for _ in range(10):
            store.append(store.next_seq, records(store.next_seq, 1, size=self.old_bytes_max // 2))
        assert [number for number, _ in store.read(1)] == list(range(1, 11))

    def test_the_epoch_before_is_known_however_long_it_was(self, store: EventStore) -> None:
        """Who dies between the beginning of an epoch and word of it elsewhere finds that
        the one it knows of was there."""
        store.begin(epoch("old"))
        for _ in range(4):
            store.append(store.next_seq, records(store.next_seq, 1, size=self.old_bytes_max // 2))
        store.begin(epoch("new"))
        assert [known.epoch for known in store.epochs()] == ["old", "new"]

    def test_a_startup_of_this_machine_is_known_for_ever(self, store: EventStore) -> None:
        """An agent that was restarted 50 times: what the first one's scripts still say
        must not pass for a new startup. Of other machines nobody is left to say anything."""
        store.begin(epoch("other", machine="another machine"))
        for number in range(50):
            store.begin(epoch(f"a{number}", startup=f"agent {number // 2}"))
            store.append(store.next_seq, records(store.next_seq, 1))
        known = store.epochs()
        assert list(dict.fromkeys(one.startup for one in known)) == [
            f"agent {number}" for number in range(25)
        ]
        assert "other" not in [one.epoch for one in known]
        assert [one.epoch for one in known] == sorted(
            (one.epoch for one in known), key=lambda name: int(name[1:])
        )


def decoded(page: Page) -> list[tuple[int, list[Record]]]:
    decode = fact_codec.decoder(list[Record]).decode
    return [(first, decode(blob)) for first, blob in page.parts]


def store_epochs(*expected: tuple[str, int], after: int = 0) -> list[EpochRecord]:
    """Those that follow the first *after* epochs of the store."""
    return [
        EpochRecord(name, "s", "m", 1.7e9, f"request-{name}", first_seq, number)
        for number, (name, first_seq) in enumerate(expected, after + 1)
    ]
