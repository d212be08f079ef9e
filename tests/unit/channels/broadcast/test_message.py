from __future__ import annotations

import contextlib
import dataclasses
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import ConfigError
from broker.types import Phase
from channels.broadcast.ids import ebmid, is_ebrid, message_topic, report_topic, reporter, village_of
from channels.broadcast.keys import SigningKey, TrustedKeys
from channels.broadcast.message import (
    REASONS,
    BroadcastMessage,
    MsgType,
    Refused,
    Severity,
    alert_of,
    message_key,
    seal,
    seal_payload,
    unseal,
)

KEY = SigningKey.generate("city-1")
TRUSTED = TrustedKeys.parse(KEY.public_line(), "test")
EBRID = "65001171000010314010401"
NOON = 1_800_000_000_000
MESSAGE = BroadcastMessage(
    ebmid=ebmid("2" * 23, NOON, 12_345),
    key="a1/7",
    batch=7,
    attempt=1,
    msg_type=MsgType.ACTUAL,
    sender_name="重庆市气象台",
    sender_code="2" * 23,
    send_time=NOON,
    event_type="11B03",
    severity=Severity.RED,
    start_time=NOON,
    end_time=NOON + 3_600_000,
    language="zho",
    title="暴雨红色预警",
    description="请立即转移。",
    speech="请立即转移。",
    plays=2,
    area_code="500117100001",
    targets={EBRID: 3},
)
SEALED = seal(MESSAGE, KEY)


def reason_of(envelope: bytes, trusted: TrustedKeys = TRUSTED) -> str:
    with pytest.raises(Refused) as refused:
        unseal(envelope, trusted)
    assert refused.value.reason in REASONS
    return refused.value.reason


def test_a_sealed_message_opens_as_it_was() -> None:
    assert unseal(SEALED, TRUSTED) == MESSAGE


@given(
    st.text(),
    st.text(),
    st.integers(0, 65_535),
    st.integers(1, 15),
    st.sampled_from(MsgType),
    st.sampled_from(Severity),
)
def test_every_message_opens_as_it_was(title, text, ordinal, attempt, msg_type, severity) -> None:
    message = dataclasses.replace(
        MESSAGE,
        title=title,
        description=text,
        attempt=attempt,
        msg_type=msg_type,
        severity=severity,
        targets={EBRID: ordinal},
    )
    try:
        sealed = seal(message, KEY)
    except UnicodeEncodeError:
        return  # a lone surrogate is not text
    assert unseal(sealed, TRUSTED) == message


def test_the_same_message_has_the_same_signed_bytes() -> None:
    assert seal(MESSAGE, KEY) == SEALED


def test_a_signature_of_another_key_with_the_same_name_is_refused() -> None:
    assert reason_of(seal(MESSAGE, SigningKey.generate("city-1"))) == "signature"


def test_a_key_that_is_not_carried_is_refused() -> None:
    assert reason_of(seal(MESSAGE, SigningKey.generate("city-2"))) == "unknown_key"


def test_a_flipped_bit_in_any_byte_is_refused() -> None:
    for place in range(len(SEALED)):
        for bit in (0, 3, 7) if place > 80 else range(8):
            altered = bytearray(SEALED)
            altered[place] ^= 1 << bit
            assert reason_of(bytes(altered)) in {"malformed", "unsigned", "unknown_key", "signature"}


def test_a_message_cut_anywhere_or_with_bytes_after_it_is_refused() -> None:
    for length in range(len(SEALED)):
        assert reason_of(SEALED[:length]) in {"malformed", "unsigned"}
    assert reason_of(SEALED + b"\0") == "malformed"
    assert reason_of(SEALED + SEALED) == "malformed"


def test_a_message_without_signature_is_refused_as_unsigned() -> None:
    head = 10 + len(KEY.id)
    assert reason_of(SEALED[:head] + SEALED[head + 64 :]) == "unsigned"
    assert reason_of(SEALED[:head] + bytes(64) + SEALED[head + 64 :]) == "signature"


def test_a_signature_of_one_message_does_not_carry_another() -> None:
    other = seal(dataclasses.replace(MESSAGE, description="一切正常。" + "。"), KEY)
    head = 10 + len(KEY.id)
    assert reason_of(other[:head] + SEALED[head : head + 64] + other[head + 64 :]) == "signature"


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    reason_of(data)


def test_ten_thousand_random_messages_are_refused() -> None:
    source = random.Random(7)
    head = SEALED[: 10 + len(KEY.id)]
    for number in range(10_000):
        data = source.randbytes(source.randrange(1, 600))
        with pytest.raises(Refused):
            unseal(head + data if number % 2 else data, TRUSTED)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_behind_a_true_head_are_refused(data: bytes) -> None:
    if data:
        reason_of(SEALED[: 10 + len(KEY.id)] + data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(json.loads(MESSAGE.payload()))), _JSON)
def test_a_truly_signed_message_of_wrong_content_is_refused_or_is_a_message(field, value) -> None:
    fields = json.loads(MESSAGE.payload())
    fields[field] = value
    envelope = seal_payload(json.dumps(fields).encode(), KEY)
    with contextlib.suppress(Refused):
        assert isinstance(unseal(envelope, TRUSTED), BroadcastMessage)
        return
    assert reason_of(envelope) in {"content", "malformed"}


@pytest.mark.parametrize("field", sorted(json.loads(MESSAGE.payload()).keys() - {"phase", "replaces"}))
def test_a_truly_signed_message_that_lacks_a_field_is_refused(field: str) -> None:
    fields = json.loads(MESSAGE.payload())
    del fields[field]
    assert reason_of(seal_payload(json.dumps(fields).encode(), KEY)) == "content"


@pytest.mark.parametrize("payload", [b"[" * 100_000, b"null", b"{}", b"\xff", b"1e999", b'{"EBMVersion":NaN}'])
def test_signed_nonsense_is_refused(payload: bytes) -> None:
    assert reason_of(seal_payload(payload, KEY)) == "content"


def test_a_message_never_lives_longer_than_its_alert() -> None:
    late = dataclasses.replace(MESSAGE, end_time=NOON + 999)
    assert unseal(seal(late, KEY), TRUSTED).end_time == NOON


def test_times_are_written_as_beijing_time() -> None:
    assert json.loads(MESSAGE.payload())["SendTime"] == "2027-01-15 16:00:00"


def test_an_ebmid_is_source_beijing_date_and_four_digits() -> None:
    assert MESSAGE.ebmid == "2" * 23 + "20270115" + "2345"
    assert ebmid("2" * 23, 1_800_028_800_000 - 1, 1)[23:31] == "20270115"
    assert ebmid("2" * 23, 1_800_028_800_000, 1)[23:31] == "20270116"


def test_levels_become_ebm_severities() -> None:
    assert [int(Severity.of(word)) for word in ("Red", "Orange", "Yellow", "Blue", "Green")] == [1, 2, 3, 4, 0]
    ranked = sorted(Severity, key=lambda severity: -severity.urgency)
    assert ranked == [Severity.RED, Severity.ORANGE, Severity.YELLOW, Severity.BLUE, Severity.UNKNOWN]


def test_topics_follow_the_region_code() -> None:
    assert is_ebrid(EBRID)
    assert not is_ebrid(EBRID[:-1])
    assert not is_ebrid("٣" * 23)
    assert message_topic(village_of(EBRID)) == "fenghuo/ebm/500117/500117100/500117100001"
    assert reporter(report_topic(EBRID)) == EBRID
    for topic in ("fenghuo/report/123", "fenghuo/report/", f"fenghuo/ebm/{EBRID}", EBRID):
        assert reporter(topic) is None


def test_a_signing_key_is_kept_for_its_owner_and_never_replaced(tmp_path) -> None:
    path = tmp_path / "key.pem"
    KEY.save(path)
    assert path.stat().st_mode & 0o077 == 0
    assert SigningKey.load(path, "city-1").public_line() == KEY.public_line()
    with pytest.raises(FileExistsError):
        SigningKey.generate("city-1").save(path)
    assert "Private" not in repr(KEY)


@pytest.mark.parametrize(
    "content", [b"", b"secret", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_that_is_no_key_is_an_error_with_its_place(tmp_path, content) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"key\.pem"):
        SigningKey.load(path, "city-1")
    with pytest.raises(ConfigError, match="cannot be read"):
        SigningKey.load(tmp_path / "none", "city-1")
    with pytest.raises(ConfigError, match="key id"):
        SigningKey.load(path, "a key")


def test_every_wrong_line_of_trusted_keys_is_named() -> None:
    text = f"{KEY.public_line()}\nnonsense\ncity-1 = {'00' * 32}\nx = {'00' * 31}\n"
    with pytest.raises(ConfigError) as error:
        TrustedKeys.parse(text, "keys")
    assert [problem.place for problem in error.value.problems] == ["keys:2", "keys:3", "keys:4"]
    with pytest.raises(ConfigError, match="every message would be refused"):
        TrustedKeys.parse("# none\n\n", "keys")


def test_a_message_of_a_broadcaster_that_knows_no_phases_is_a_warning() -> None:
    fields = json.loads(MESSAGE.payload())
    del fields["phase"], fields["replaces"]
    assert unseal(seal_payload(json.dumps(fields).encode(), KEY), TRUSTED) == MESSAGE
    assert not MESSAGE.ends


@pytest.mark.parametrize("phase", list(Phase))
def test_what_a_message_tells_and_what_it_takes_back_is_signed_with_it(phase: Phase) -> None:
    message = dataclasses.replace(MESSAGE, phase=phase, replaces=("A1", "A2"))
    assert unseal(seal(message, KEY), TRUSTED) == message
    assert message.ends is (phase in (Phase.CLEAR, Phase.CANCEL))


@pytest.mark.parametrize(
    "wrong", [{"phase": "over"}, {"phase": None}, {"phase": 1}, {"replaces": "A1"}, {"replaces": [1]}]
)
def test_a_phase_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    fields = {**json.loads(MESSAGE.payload()), **wrong}
    assert reason_of(seal_payload(json.dumps(fields).encode(), KEY)) == "content"


def test_the_alert_is_found_in_a_key() -> None:
    assert alert_of(message_key("urn:a/b", 7)) == "urn:a/b"
    assert alert_of("nothing") == ""
