"""A Cancel and a correction prepared from any warning are valid, refer to it, and bring in nothing of their own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.cap import lint, read, segments, to_json, to_xml
from broker.cap.compose import Translation, circle_area, compose, geocode_area, polygon_area, reference_to
from broker.cap.findings import Grade
from broker.cap.followup import cancel_of, correction_of, next_identifier, same_words
from broker.cap.level import Level
from broker.cap.model import Alert, Area, CapTime, MsgType, NamedValue, ResponseType, Scope, Status, Urgency

SENT = datetime(2026, 6, 18, 1, 30, tzinfo=UTC)
AREAS = [
    polygon_area("合川区两岸", [(30.0, 106.2), (30.0, 106.4), (30.1, 106.4)]),
    circle_area("草街", 30.05, 106.3, 5),
    geocode_area("合川区", ["500117"]),
]
NAMES = ("Banks in Hechuan", "Caojie", "Hechuan")
words = st.text("暴雨红色预警 abc,.<&>\"'", min_size=1, max_size=12).filter(lambda text: bool(text.strip()))
names = st.text("abcXYZ0189._@-", min_size=1, max_size=20)
later = st.integers(1, 5 * 3600).map(lambda seconds: SENT + timedelta(seconds=seconds))


@st.composite
def originals(draw: st.DrawFn) -> Alert:
    """A valid Alert or Update of one to three segments, in Chinese and perhaps English."""
    parts = []
    for level in draw(st.lists(st.sampled_from(Level), min_size=1, max_size=3, unique=True)):
        chosen = draw(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
        english = Translation(
            "en", "Rainstorm", draw(words), "Rain.", "Move.", None, tuple(NAMES[n] for n in chosen)
        )
        made = compose(
            "x",
            "y",
            SENT,
            "11B03",
            "暴雨",
            level,
            draw(words),
            draw(words),
            draw(words),
            areas=[AREAS[n] for n in chosen],
            expires=SENT + timedelta(hours=draw(st.integers(6, 48))),
            onset=draw(st.none() | st.integers(0, 5).map(lambda hours: SENT + timedelta(hours=hours))),
            translations=[english] if draw(st.booleans()) else [],
        )
        ends = draw(st.booleans())
        parts += [info if ends else replace(info, expires=None) for info in made.infos]
    scope = draw(st.sampled_from(Scope))
    update = draw(st.booleans())
    return Alert(
        identifier=draw(names),
        sender=draw(names),
        sent=CapTime.of(SENT),
        status=draw(st.sampled_from(Status)),
        msg_type=MsgType.UPDATE if update else MsgType.ALERT,
        source=draw(st.none() | words),
        scope=scope,
        restriction="staff" if scope is Scope.RESTRICTED else None,
        addresses="a@b.example" if scope is Scope.PRIVATE else None,
        codes=draw(st.sampled_from([(), ("profile:x",)])),
        note=draw(st.none() | words),
        references_text="y,first,2026-06-17T00:00:00-00:00" if update else None,
        infos=tuple(parts),
    )


def errors(alert: Alert, at: datetime) -> list[str]:
    """The rules that make it invalid, in the model and in both of its forms."""
    found = [finding.rule for finding in lint(alert, now=at) if finding.severity is Grade.ERROR]
    for form, written in (("xml", to_xml(alert)), ("json", to_json(alert))):
        reading = read(written, form, now=at)  # type: ignore[arg-type]
        found += [finding.rule for finding in reading.errors]
        assert reading.alert == alert or found
    return found


@given(originals(), later, st.none() | words, names)
def test_a_cancel_of_any_warning_is_valid_and_refers_to_it(
    original: Alert, sent: datetime, note: str | None, identifier: str
) -> None:
    assume(identifier != original.identifier)
    cancel = cancel_of(original, identifier=identifier, sent=sent, note=note)

    assert errors(cancel, sent) == []
    assert [each.identity for each in cancel.references] == [original.identity]
    assert cancel.msg_type is MsgType.CANCEL
    assert cancel.infos == ()
    assert (cancel.status, cancel.scope, cancel.sender) == (original.status, original.scope, original.sender)
    assert (cancel.restriction, cancel.addresses) == (original.restriction, original.addresses)
    assert cancel.note == (original.note if note is None else note)


@given(originals(), later, st.data())
def test_a_correction_of_any_warning_is_valid_and_says_the_same_on_fewer_areas(
    original: Alert, sent: datetime, data: st.DataObject
) -> None:
    end = SENT + timedelta(hours=6)
    parts = segments(original)
    wanted = {
        part.number: data.draw(st.lists(st.sampled_from(part.areas), max_size=len(part.areas), unique_by=repr))
        for part in parts
        if data.draw(st.booleans())
    }
    assume(any(wanted.get(part.number, part.areas) for part in parts))

    update = correction_of(original, wanted, identifier="c:1", sent=sent, note="更正", expires=end)

    assert errors(update, sent) == []
    assert [each.identity for each in update.references] == [original.identity]
    assert same_words(update, original, expires=end) == []
    assert not update.infos or all(info.areas for info in update.infos)
    told = [(part.level, part.languages) for part in parts if wanted.get(part.number) != []]
    assert [(part.level, part.languages) for part in segments(update)] == told
    assert all(info.expires is not None and info.expires.instant > sent for info in update.infos)


@given(originals(), later)
def test_a_correction_without_areas_keeps_them_and_their_names_in_every_language(
    original: Alert, sent: datetime
) -> None:
    update = correction_of(original, identifier="c:1", sent=sent)

    assert [info.areas for info in update.infos] == [info.areas for info in original.infos]
    assert same_words(update, original) == []


@given(originals(), later, st.data())
def test_any_change_of_words_is_told(original: Alert, sent: datetime, data: st.DataObject) -> None:
    update = correction_of(original, identifier="c:1", sent=sent)
    number = data.draw(st.integers(0, len(update.infos) - 1))
    info = update.infos[number]
    name, value = data.draw(
        st.sampled_from(
            [
                ("headline", f"{info.headline}!"),
                ("description", None),
                ("instruction", f"{info.instruction} "),
                ("event", f"{info.event}!"),
                (
                    "severity",
                    Level.RED.severity if info.severity is not Level.RED.severity else Level.BLUE.severity,
                ),
                ("urgency", Urgency.PAST),
                ("response_types", (ResponseType.EVACUATE,)),
                ("event_codes", (NamedValue("GB/T 35561", "11A51"),)),
                ("language", "fr"),
                ("contact", "12379"),
                ("parameters", (NamedValue("rain", "1"),)),
                ("expires", CapTime.of(SENT + timedelta(days=9))),
            ]
        )
    )
    infos = list(update.infos)
    infos[number] = replace(info, **{name: value})

    assert same_words(replace(update, infos=tuple(infos)), original, expires=SENT + timedelta(hours=6))


# ── what is told of an update that is no pure correction ──────────────────────────────────────────────


def an_alert(**changes: object) -> Alert:
    alert = compose(
        "a-1",
        "met@example.org",
        SENT,
        "11B03",
        "暴雨",
        Level.ORANGE,
        "暴雨橙色预警",
        "强降雨。",
        "转移。",
        areas=AREAS,
        expires=SENT + timedelta(hours=6),
        onset=SENT + timedelta(hours=2),
        translations=[Translation("en", "Rainstorm", "Rainstorm", "Rain.", "Move.", None, NAMES)],
    )
    return replace(alert, **changes)  # type: ignore[arg-type]


def corrected(**changes: object) -> Alert:
    update = correction_of(an_alert(), AREAS[:1], identifier="a-2", sent=SENT + timedelta(hours=1))
    return replace(update, **changes)  # type: ignore[arg-type]


def test_a_pure_correction_may_end_sooner_and_begin_later() -> None:
    infos = tuple(
        replace(
            info,
            expires=CapTime.of(SENT + timedelta(hours=5)),
            onset=CapTime.of(SENT + timedelta(hours=3)),
        )
        for info in corrected().infos
    )
    assert same_words(corrected(infos=infos), an_alert()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"expires": CapTime.of(SENT + timedelta(hours=7))}, "it stands longer"),
        ({"expires": None}, "it may stand longer"),
        ({"onset": None}, "it begins earlier"),
        ({"onset": CapTime.of(SENT + timedelta(hours=1))}, "it begins earlier"),
        ({"severity": Level.RED.severity}, "severity is Extreme, was Severe"),
        ({"headline": "暴雨红色预警"}, "headline is 暴雨红色预警, was 暴雨橙色预警"),
        ({"response_types": (ResponseType.EVACUATE,)}, "responseType is"),
        ({"event_codes": ()}, "eventCode is absent"),
    ],
)
def test_what_an_update_says_otherwise_is_named(changes: dict[str, object], said: str) -> None:
    first, second = corrected().infos
    found = same_words(corrected(infos=(replace(first, **changes), second)), an_alert())  # type: ignore[arg-type]
    assert [said in sentence and sentence.startswith("info 1: ") for sentence in found] == [True]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": Status.EXERCISE}, "status is Exercise, was Actual"),
        ({"scope": Scope.PRIVATE}, "scope is Private, was Public"),
        ({"msg_type": MsgType.ALERT}, "msgType is Alert, not Update"),
        ({"codes": ("x",)}, "code is"),
    ],
)
def test_a_message_for_other_readers_is_no_correction(changes: dict[str, object], said: str) -> None:
    [found] = same_words(corrected(**changes), an_alert())
    assert said in found


def test_a_language_or_an_info_more_or_less_is_told() -> None:
    chinese, english = corrected().infos
    assert same_words(corrected(infos=(chinese,)), an_alert()) == ["segment 1 is no longer told in en"]
    assert same_words(corrected(infos=(chinese, english, chinese)), an_alert()) == [
        "info 3 is more than there were"
    ]
    assert same_words(corrected(infos=(english, chinese)), an_alert()) == [], "their order says nothing"


# ── areas ─────────────────────────────────────────────────────────────────────────────────────────────


def test_each_language_keeps_its_own_name_of_an_area() -> None:
    chinese, english = correction_of(an_alert(), [AREAS[1]], identifier="a-2", sent=SENT).infos
    assert [area.area_desc for area in chinese.areas] == ["草街"]
    assert [area.area_desc for area in english.areas] == ["Caojie"]


def test_a_new_area_is_taken_as_it_is_given() -> None:
    smaller = circle_area("草街镇区", 30.05, 106.3, 1)
    update = correction_of(an_alert(), [smaller], identifier="a-2", sent=SENT)
    assert [info.areas for info in update.infos] == [(smaller,), (smaller,)]


def test_of_several_segments_it_must_be_said_which() -> None:
    [info] = an_alert().infos[:1]
    two = an_alert(infos=(info, replace(info, severity=Level.BLUE.severity)))
    with pytest.raises(ValueError, match="2 segments"):
        correction_of(two, AREAS[:1], identifier="a-2", sent=SENT)
    with pytest.raises(ValueError, match="no segment 3"):
        correction_of(two, {3: AREAS[:1]}, identifier="a-2", sent=SENT)
    update = correction_of(two, {2: []}, identifier="a-2", sent=SENT)
    assert [each.level for each in segments(update)] == [Level.ORANGE]


def no_area() -> list[Area]:
    return []


@pytest.mark.parametrize("areas", [no_area(), {1: no_area()}])
def test_without_any_area_left_it_is_a_matter_of_a_cancel(areas: list[Area]) -> None:
    with pytest.raises(ValueError, match="cancel"):
        correction_of(an_alert(), areas, identifier="a-2", sent=SENT)


def test_what_is_over_cannot_be_corrected() -> None:
    with pytest.raises(ValueError, match="over"):
        correction_of(an_alert(), identifier="a-2", sent=SENT + timedelta(hours=6))


# ── what cannot be made ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({"msg_type": MsgType.CANCEL}, {}, "warns of nothing"),
        ({"msg_type": MsgType.ACK}, {}, "warns of nothing"),
        ({}, {"sent": SENT - timedelta(seconds=1)}, "before the message"),
        ({}, {"sent": SENT.replace(tzinfo=None)}, "offset"),
        ({}, {"identifier": "a 2"}, "identifier"),
        ({}, {"identifier": ""}, "identifier"),
        ({}, {"identifier": "a-1", "sent": SENT + timedelta(hours=1)}, "identifier of its own"),
        ({}, {"sender": "a,b"}, "sender"),
        ({}, {"note": "\x00"}, "note"),
        ({"identifier": "a,1"}, {}, "original"),
        ({"sender": "a b"}, {"sender": "met@example.org"}, "original"),
    ],
)
def test_what_would_not_be_valid_is_not_made(
    changes: dict[str, object], arguments: dict[str, object], said: str
) -> None:
    given_ = {"identifier": "a-2", "sent": SENT, **arguments}
    with pytest.raises(ValueError, match=said):
        cancel_of(an_alert(**changes), **given_)  # type: ignore[arg-type]


def test_white_space_round_a_time_does_not_break_the_reference() -> None:
    original = an_alert(sent=CapTime.parse(f" {CapTime.of(SENT).text}\n"))
    cancel = cancel_of(original, identifier="a-2", sent=SENT)
    assert [each.identity for each in cancel.references] == [original.identity]


# ── identifiers ───────────────────────────────────────────────────────────────────────────────────────


def test_a_national_identifier_keeps_its_issuer_and_gets_the_new_time() -> None:
    original = an_alert(identifier="50011741600000_20260618093000_2")
    assert next_identifier(original, SENT) == "50011741600000_20260618093000"
    assert next_identifier(original, SENT + timedelta(minutes=5)) == "50011741600000_20260618093500"
    taken = ("50011741600000_20260618093000",)
    assert next_identifier(original, SENT, taken) == "50011741600000_20260618093000_3"


@given(
    st.text("abc-_0123456789", min_size=1, max_size=256),
    st.lists(later, min_size=1, max_size=6),
)
def test_the_next_identifier_is_new_short_and_good_for_cap(identifier: str, times: list[datetime]) -> None:
    alert, seen = an_alert(identifier=identifier), [identifier]
    for sent in times:
        found = next_identifier(alert, sent, seen)
        assert found not in seen
        assert len(found) <= 256
        assert errors(cancel_of(alert, identifier=found, sent=max(sent, alert.sent.instant)), SENT) == []
        seen.append(found)
        alert = replace(alert, identifier=found)


def test_an_identifier_does_not_grow_with_each_message() -> None:
    first = next_identifier(an_alert(), SENT)
    second = next_identifier(an_alert(identifier=first), SENT + timedelta(seconds=1))
    assert (first, second) == ("a-1-20260618093000", "a-1-20260618093001")


def test_a_reference_to_the_original_reads_as_the_standard_writes_it() -> None:
    cancel = cancel_of(an_alert(), identifier="a-2", sent=SENT, note="误发")
    assert (
        cancel.references_text == reference_to(an_alert()).text == "met@example.org,a-1,2026-06-18T01:30:00-00:00"
    )
