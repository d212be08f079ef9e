"""Nothing that is logged holds a phone number, a token or a password."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from broker import logs
from broker.clock import now_ms
from broker.intake.accept import new_id
from broker.intake.tokens import new


def scrubbed(**event: Any) -> dict[str, Any]:
    return dict(logs.scrub(None, "info", event))


@pytest.mark.parametrize(
    "text",
    [
        "13812345678",
        "8613812345678",
        "+8613812345678",
        "+86 138 1234 5678",
        "138-1234-5678",
        "call 13812345678 now",
        "tel:13812345678;x",
        "+85291234567",
        "['13812345678', '13912345678']",
    ],
)
def test_a_phone_number_is_masked_wherever_it_stands(text: str) -> None:
    for value in (text, [text], {"to": text}, {"a": [{"b": text}]}, ValueError(text), text.encode()):
        shown = json.dumps(scrubbed(reason=value), ensure_ascii=False, default=repr)
        assert "1234" not in shown
        assert "9123" not in shown
        assert "***" in shown


def test_a_phone_number_that_is_a_number_is_masked() -> None:
    assert scrubbed(n=13812345678) == {"n": "***"}
    assert scrubbed(n=8613812345678) == {"n": "***"}


@pytest.mark.parametrize(
    "key", ["phone", "address", "addresses", "password", "token", "secret", "key", "Authorization", "MSISDN"]
)
def test_what_is_named_like_a_secret_is_dropped_at_any_depth(key: str) -> None:
    shown = scrubbed(**{key: "s3cret"}, inner={key: ["s3cret"]}, more=[{key: {"x": "s3cret"}}])
    assert "s3cret" not in str(shown)


def test_a_token_and_the_password_in_an_address_are_masked() -> None:
    token, _ = new("meteorology")
    shown = scrubbed(reason=f"no {token} for amqp://fenghuo:s3cret@rabbit:5672/ and postgresql://u:p4ss@db/x")
    assert token not in str(shown)
    assert "s3cret" not in str(shown)
    assert "p4ss" not in str(shown)
    assert "@rabbit:5672/" in str(shown)


@given(st.integers(0, 5_000_000), st.integers(0, 10**9), st.floats(allow_nan=False), st.booleans())
def test_ids_counts_and_times_stay_as_they_are(batch: int, ms: int, seconds: float, on: bool) -> None:
    event = {"batch": batch, "ms": ms, "seconds": seconds, "on": on, "at": now_ms(), "none": None}
    assert scrubbed(**event) == event


@given(st.integers(1_700_000_000_000, 1_900_000_000_000))
def test_an_alert_can_always_be_found_by_its_id(at: int) -> None:
    alert = new_id(at)
    assert scrubbed(alert=alert) == {"alert": alert}


def test_an_alert_whose_id_looks_like_a_number_keeps_it() -> None:
    assert scrubbed(alert="a13812345678b") == {"alert": "a13812345678b"}


# ── the whole way ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def configured() -> Iterator[io.StringIO]:
    """A process's logging as it is set up in earnest, with standard error at hand."""
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []  # setting up closes the handlers that it finds
    with redirect_stderr(stream):
        logs.configure("info")
        try:
            yield stream
        finally:
            structlog.reset_defaults()
            root.handlers[:] = before
            root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_action_level_and_time() -> None:
    with configured() as stream:
        logs.get(role="worker").bind(batch=7).info("batch_sent", text="请立即转移\nsecond line")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "action": "batch_sent",
        "level": "info",
        "role": "worker",
        "batch": 7,
        "text": "请立即转移\nsecond line",
    }


def test_below_the_level_nothing_is_said() -> None:
    with configured() as stream:
        logs.get().debug("detail")
    assert lines(stream) == []


def test_a_traceback_is_logged_without_the_number_in_it() -> None:
    numbers = ["13812345678"]
    with configured() as stream:
        try:
            raise ValueError(f"cannot send to {numbers}")
        except ValueError:
            logs.get().exception("send_failed")
    (line,) = lines(stream)
    assert "ValueError: cannot send to ['***']" in line["exception"]
    assert "13812345678" not in stream.getvalue()


def test_what_libraries_log_goes_the_same_way() -> None:
    with configured() as stream:
        logging.getLogger("aiormq").error("no answer for %s", "+8613812345678")
    (line,) = lines(stream)
    assert line["action"] == "no answer for ***"
    assert line["level"] == "error"
