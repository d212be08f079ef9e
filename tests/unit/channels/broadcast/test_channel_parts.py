from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from broker.errors import ConfigError
from broker.sealing import pack
from channels.broadcast.channel import by_village
from channels.broadcast.provision import broadcaster_login, load_terminals, new_terminals, save_terminals
from channels.broadcast.report import Reference, Report, TerminalState
from channels.broadcast.settings import BroadcastSettings

EBRIDS = [f"65001171{village:05d}03140104{number:02d}" for village in range(3) for number in range(4)]


@given(st.lists(st.sampled_from([*EBRIDS, "", "123", "6" * 22, "6" * 24, "x" * 23, "6" * 22 + "-"]), min_size=1))
def test_every_address_is_in_its_village_once_or_is_wrong(addresses: list[str]) -> None:
    wrong, villages = by_village(pack(addresses))
    seen = np.concatenate([*villages.values(), np.flatnonzero(wrong)]).tolist()
    assert sorted(seen) == list(range(len(addresses)))
    assert [addresses[number] in EBRIDS for number in range(len(addresses))] == (~wrong).tolist()
    for village, members in villages.items():
        assert {addresses[number][1:13] for number in members.tolist()} == {village}


@given(
    st.sampled_from(TerminalState),
    st.integers(0, 1 << 48),
    st.integers(0, 1 << 40),
    st.integers(0, 65_535),
    st.integers(1, 15),
    st.text(),
    st.none() | st.text(),
)
def test_a_report_reads_as_it_was_written(state, at, batch, ordinal, attempt, key, reason) -> None:
    report = Report(state, at, Reference(batch, ordinal, attempt, key), reason)
    try:
        data = report.encode()
    except UnicodeEncodeError:
        return
    assert Report.decode(data) == report


@given(st.binary())
def test_random_bytes_are_no_report(data: bytes) -> None:
    with pytest.raises(ValueError):
        Report.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"state":"played","at":1}',
        b'{"state":"flying","at":1,"batch":1,"ordinal":1,"attempt":1,"key":"k"}',
        b'{"state":"played","at":1,"batch":1,"ordinal":-1,"attempt":1,"key":"k"}',
        b'{"state":"played","at":1,"batch":1,"ordinal":65536,"attempt":1,"key":"k"}',
        b'{"state":"played","at":1,"batch":1,"ordinal":1,"attempt":0,"key":"k"}',
        b'{"state":"played","at":1,"batch":true,"ordinal":1,"attempt":1,"key":"k"}',
        b'{"state":"played","at":1,"batch":1,"ordinal":1,"attempt":1}',
        b'{"state":"played","batch":1,"ordinal":1,"attempt":1,"key":"k"}',
        b'{"state":"refused","at":1,"reason":5}',
        b"[" * 50_000,
    ],
)
def test_a_report_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Report.decode(data)


def test_terminals_get_their_own_passwords_and_exactly_two_topics(tmp_path) -> None:
    rows = new_terminals(EBRIDS, training=EBRIDS[:1])
    assert len({row.password for row in rows}) == len(EBRIDS)
    login = rows[0].login
    assert login.read == ("fenghuo/ebm/500117/500117100/500117100000",)
    assert len(login.read) == len(login.write) == 1
    assert login.write == (f"fenghuo/report/{EBRIDS[0]}",)
    assert rows[0].password not in repr(rows[0])
    path = tmp_path / "terminals.csv"
    save_terminals(path, rows)
    assert path.stat().st_mode & 0o077 == 0
    assert load_terminals(path) == rows
    assert broadcaster_login("b").password != broadcaster_login("b").password


def test_every_wrong_line_of_a_terminals_file_is_named(tmp_path) -> None:
    path = tmp_path / "terminals.csv"
    good = "p" * 43
    path.write_text(
        f"ebrid,password,training\n{EBRIDS[0]},{good},0\n{EBRIDS[0]},{good},0\n123,{good},0\n"
        f"{EBRIDS[1]},admin,0\n{EBRIDS[2]},{good},yes\n{EBRIDS[3]},{good}\n"
    )
    with pytest.raises(ConfigError) as error:
        load_terminals(path)
    assert [problem.place.rpartition(":")[2] for problem in error.value.problems] == ["3", "4", "5", "6", "7"]
    path.write_text("a,b\n")
    with pytest.raises(ConfigError, match="ebrid,password,training"):
        load_terminals(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_terminals(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="not an EBRID"):
        new_terminals(["123"])


def test_settings_refuse_what_they_do_not_know() -> None:
    good = {"url": "mqtt://h:1", "password_file": "p", "signing_key": "k", "key_id": "i"}
    assert BroadcastSettings.model_validate(good).window == 512
    for change in ({"pasword": "x"}, {"window": 0}, {"source": "123"}, {"window": 5000}):
        with pytest.raises(ValidationError):
            BroadcastSettings.model_validate({**good, **change})
