"""Passwords, the delay after failures, sessions, and redirects."""

from __future__ import annotations

import asyncio

import pytest

from broker.dashboard.accounts import Delay, Passwords, TooManyFailures, WrongPassword, new_person
from broker.dashboard.security import local_path
from broker.dashboard.sessions import FormTokens, Sessions
from broker.errors import Conflict, InputRefused
from broker.store.contract import Store
from broker.store.sql import open_store


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store():
    store = open_store("sqlite:///:memory:")
    await store.start()
    yield store
    await store.close()


async def test_a_new_person_signs_in_with_the_password_that_was_shown(store: Store):
    password = await new_person(store, "王芳", "operator")
    person = await Passwords(store).check("王芳", password, "10.0.0.1")
    assert (person.name, person.role) == ("王芳", "operator")
    assert person.password.startswith("$argon2id$")
    assert password not in person.password


async def test_two_people_never_get_the_same_password(store: Store):
    passwords = [await new_person(store, f"p{number}", "auditor") for number in range(4)]
    assert len(set(passwords)) == 4
    assert all(len(password.replace("-", "")) == 20 for password in passwords)


async def test_a_name_that_is_taken_is_a_conflict_unless_it_is_to_be_replaced(store: Store):
    former = await new_person(store, "duty", "operator")
    with pytest.raises(Conflict):
        await new_person(store, "duty", "operator")
    password = await new_person(store, "duty", "operator", replace=True)
    passwords = Passwords(store)
    await passwords.check("duty", password, "10.0.0.1")
    with pytest.raises(WrongPassword):
        await passwords.check("duty", former, "10.0.0.1")


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "<script>", "x" * 65, "a\nb", "a/b"])
async def test_a_name_that_could_be_mistaken_is_refused(store: Store, name: str):
    with pytest.raises(InputRefused) as refused:
        await new_person(store, name, "king")
    assert [problem.rule for problem in refused.value.problems] == ["person.name", "person.role"]


async def test_an_unknown_name_and_a_wrong_password_are_told_apart_by_nothing(store: Store):
    await new_person(store, "duty", "operator")
    passwords = Passwords(store)
    texts = []
    for name in ("duty", "nobody"):
        with pytest.raises(WrongPassword) as wrong:
            await passwords.check(name, "guess", "10.0.0.1")
        texts.append(str(wrong.value))
    assert texts[0] == texts[1]


async def test_after_three_failures_even_the_right_password_must_wait(store: Store):
    clock = Clock()
    password = await new_person(store, "duty", "operator")
    passwords = Passwords(store, clock=clock)
    for number in range(3):
        with pytest.raises(WrongPassword):
            await passwords.check("duty", "guess", f"10.0.0.{number}")
    with pytest.raises(TooManyFailures) as told:
        await passwords.check("duty", password, "10.0.0.9")
    assert told.value.seconds == 2
    clock.now += 2
    assert (await passwords.check("duty", password, "10.0.0.9")).name == "duty"


async def test_one_who_waits_holds_nobody_else_up(store: Store):
    passwords = Passwords(store, clock=Clock())
    other = await new_person(store, "other", "operator")
    for _ in range(3):
        with pytest.raises(WrongPassword):
            await passwords.check("duty", "guess", "10.0.0.1")
    assert (await passwords.check("other", other, "10.0.0.1")).name == "other"


async def test_an_address_that_tries_many_names_must_wait_too(store: Store):
    passwords = Passwords(store, clock=Clock())
    for number in range(12):
        with pytest.raises(WrongPassword):
            await passwords.check(f"name{number}", "", "10.0.0.1")
    with pytest.raises(TooManyFailures):
        await passwords.check("fresh", "guess", "10.0.0.1")
    with pytest.raises(WrongPassword):
        await passwords.check("fresh", "guess", "10.0.0.2")


async def test_parallel_guesses_gain_nothing(store: Store):
    await new_person(store, "duty", "operator")
    passwords = Passwords(store, clock=Clock())
    tries = [passwords.check("duty", f"guess{number}", f"10.0.1.{number}") for number in range(10)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(outcome, WrongPassword) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, TooManyFailures) for outcome in outcomes) == 7


def test_the_delay_doubles_up_to_its_longest_and_is_forgotten_in_time():
    clock = Clock()
    delay = Delay(free=2, longest=30, forget=100, clock=clock)
    waits = []
    for _ in range(8):
        delay.count("x")
        waits.append(delay.remaining("x"))
        clock.now += delay.remaining("x")
    assert waits == [0, 2, 4, 8, 16, 30, 30, 30]
    clock.now += 101
    delay.count("x")
    assert delay.remaining("x") == 0


def test_a_success_takes_back_only_its_own_try():
    delay = Delay(free=3, clock=Clock())
    for _ in range(3):
        delay.count("hall")
    delay.forgive("hall")
    assert delay.remaining("hall") == 0
    delay.count("hall")
    assert delay.remaining("hall") > 0


def test_made_up_names_cannot_fill_the_memory():
    delay = Delay(free=1, most=50, clock=Clock())
    for number in range(500):
        delay.count(f"name{number}")
    assert sum(delay.remaining(f"name{number}") > 0 for number in range(500)) == 50


def test_a_session_ends_when_idle_and_an_active_one_at_its_absolute_limit():
    clock = Clock()
    sessions = Sessions(idle=60, absolute=200, clock=clock)
    idle, active = sessions.begin("a", "operator"), sessions.begin("b", "operator")
    for _ in range(3):
        clock.now += 50
        assert sessions.get(active) is not None
    assert sessions.get(idle) is None
    clock.now += 51
    assert sessions.get(active) is None


def test_signing_in_always_makes_a_new_id_and_ends_the_former_session():
    sessions = Sessions()
    first = sessions.begin("a", "operator")
    second = sessions.begin("a", "operator", former=first)
    assert first != second
    assert sessions.get(first) is None
    assert sessions.get(second) is not None


def test_an_id_brought_along_by_an_attacker_never_becomes_a_session():
    sessions = Sessions()
    planted = "x" * 43
    given = sessions.begin("victim", "operator", former=planted)
    assert given != planted
    assert sessions.get(planted) is None


def test_the_memory_holds_no_session_id():
    sessions = Sessions()
    session_id = sessions.begin("a", "operator")
    assert session_id not in repr(vars(sessions))
    assert len(session_id) >= 43  # 256 bits in base64


def test_a_stream_learns_that_its_session_was_ended():
    sessions = Sessions()
    session_id = sessions.begin("a", "operator")
    session = sessions.get(session_id)
    assert session is not None
    assert sessions.touch(session)
    sessions.end(session_id)
    assert not sessions.touch(session)


def test_sessions_that_ran_out_are_swept_away():
    clock = Clock()
    sessions = Sessions(idle=10, clock=clock)
    for _ in range(20):
        sessions.begin("a", "operator")
    clock.now += 11
    sessions.begin("a", "operator")
    assert len(sessions) == 1


def test_a_form_token_fits_only_its_own_cookie_and_process():
    forms = FormTokens()
    cookie = forms.fresh_cookie()
    assert forms.fits(cookie, forms.token(cookie))
    assert not forms.fits(forms.fresh_cookie(), forms.token(cookie))
    assert not forms.fits(None, forms.token(cookie))
    assert not forms.fits(cookie, "")
    assert not FormTokens().fits(cookie, forms.token(cookie))


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "javascript:alert(1)",
        "evil.example",
        "",
        "http:evil.example",
        "/ok\r\nSet-Cookie: x=1",
    ],
)
def test_a_redirect_never_leaves_this_server(wanted: str):
    assert local_path(wanted) == "/"


@pytest.mark.parametrize("wanted", ["/", "/alerts/7?view=map", "/预警"])
def test_a_redirect_to_a_page_of_ours_is_kept(wanted: str):
    assert local_path(wanted) == wanted
