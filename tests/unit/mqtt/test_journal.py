from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.mqtt import journal as log
from broker.mqtt.journal import Journal, JournalError, read


async def write(path, records) -> None:
    journal = Journal(path, sync=False)
    journal.open()
    for record in records:
        journal.append(record)
    await journal.close()


RECORDS = [
    log.client_record(1, "a"),
    log.filter_record(1, "v/1", 1),
    log.client_record(2, "b"),
    log.filter_record(2, "v/1", 1),
    log.message_record(1, "v/1", b"one", [1, 2]),
    log.message_record(2, "v/1", b"two", [1, 2]),
    log.ack_record(1, 1),
    log.ack_record(2, 1),
    log.ack_record(2, 2),
]


async def test_what_was_not_acknowledged_is_found_again(tmp_path) -> None:
    path = tmp_path / "journal"
    await write(path, RECORDS)
    found = read(path)
    assert list(found.sessions["a"].pending) == [2]
    assert list(found.sessions["b"].pending) == []
    assert found.sessions["a"].filters == {"v/1": 1}
    assert found.messages == {2: ("v/1", b"two")}
    assert (found.next_message, found.next_index) == (3, 3)


async def test_opening_writes_anew_only_what_matters(tmp_path) -> None:
    path = tmp_path / "journal"
    await write(path, RECORDS * 1)
    before = path.stat().st_size
    await write(path, [])
    assert path.stat().st_size < before
    found = read(path)
    assert list(found.sessions["a"].pending) == [2]
    assert found.messages == {2: ("v/1", b"two")}


async def test_a_session_given_up_takes_its_messages_along(tmp_path) -> None:
    path = tmp_path / "journal"
    await write(path, [*RECORDS, log.gone_record(1)])
    assert set(read(path).sessions) == {"b"}
    assert read(path).messages == {}


async def test_a_session_begun_anew_forgets_the_earlier_one(tmp_path) -> None:
    path = tmp_path / "journal"
    await write(path, [*RECORDS, log.client_record(3, "a"), log.ack_record(1, 2), log.unfilter_record(1, "v/1")])
    assert read(path).sessions["a"].pending == {}
    assert read(path).sessions["a"].filters == {}


async def test_a_journal_torn_anywhere_gives_back_everything_before_the_tear(tmp_path) -> None:
    path = tmp_path / "journal"
    await write(path, RECORDS)
    whole = path.read_bytes()
    sizes = []
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        found = read(path)
        sizes.append(len(found.sessions) + len(found.messages))
        assert set(found.sessions) <= {"a", "b"}
    assert sizes[0] == 0
    assert sizes[-1] == 3
    await write(path, [log.client_record(9, "c")])
    assert set(read(path).sessions) == {"a", "b", "c"}


async def test_a_flipped_byte_ends_the_reading_there(tmp_path) -> None:
    path = tmp_path / "journal"
    await write(path, RECORDS)
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 1
    path.write_bytes(bytes(whole))
    assert list(read(path).sessions["b"].pending) == [2]


async def test_another_file_is_not_taken_for_a_journal(tmp_path) -> None:
    path = tmp_path / "journal"
    path.write_text("something of somebody else\n")
    with pytest.raises(JournalError):
        Journal(path).open()
    assert path.read_text() == "something of somebody else\n"


async def test_nothing_is_confirmed_once_the_disk_refuses(tmp_path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.open()
    confirmed, failed = [], []
    journal.on_failure = lambda: failed.append(True)
    real, journal._file = journal._file, 999_999
    journal.append(log.client_record(1, "a"))
    journal.when_kept(lambda: confirmed.append(True))
    journal._file, kept = journal._file, real
    await journal._running
    assert failed
    assert not confirmed
    assert journal.failure is not None
    journal._file = kept
    await journal.close()


OPERATION = st.one_of(
    st.tuples(st.just("send"), st.sampled_from([(1,), (2,), (1, 2)])),
    st.tuples(st.just("ack"), st.tuples(st.sampled_from([1, 2]), st.integers(1, 12))),
)


@given(st.lists(OPERATION, max_size=30))
def test_the_journal_agrees_with_a_plain_model(tmp_path_factory, operations) -> None:
    path = tmp_path_factory.mktemp("j") / "journal"
    records = [log.client_record(1, "1"), log.client_record(2, "2")]
    model: dict[int, list[int]] = {1: [], 2: []}
    number = 0
    for kind, what in operations:
        if kind == "send":
            number += 1
            records.append(log.message_record(number, "t", str(number).encode(), what))
            for index in what:
                model[index].append(number)
        elif what[1] <= number:
            records.append(log.ack_record(*what))
            if what[1] in model[what[0]]:
                model[what[0]].remove(what[1])
    path.write_bytes(log.MAGIC + b"".join(map(log._sealed, records)))
    found = read(path)
    assert {index: list(found.sessions[str(index)].pending) for index in (1, 2)} == model
    assert set(found.messages) == set(model[1]) | set(model[2])
