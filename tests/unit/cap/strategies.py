"""Generated alerts, from whatever the model can hold."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st

from broker.cap import model

texts = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn")),
        st.sampled_from("\t\n\r<>&\"' 暴雨\u2028😀"),
    ),
    max_size=30,
)
optional_texts = st.none() | texts

_FIRST, _LAST = datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2090-01-01")
times = st.builds(
    lambda moment, minutes, unknown: (
        model.CapTime.of(moment.replace(tzinfo=timezone(timedelta(minutes=minutes))))
        if not unknown
        else model.CapTime.parse(moment.replace(microsecond=0).isoformat() + "-00:00")
    ),
    st.datetimes(_FIRST, _LAST),
    st.integers(-14 * 60, 14 * 60),
    st.booleans(),
)
coordinates = st.builds(lambda n: f"{n / 1000:.3f}", st.integers(-90_000, 90_000))
pairs = st.builds(lambda a, b: f"{a},{b}", coordinates, coordinates)
polygons = st.builds(
    model.Polygon.parse, st.lists(pairs, max_size=6).map(lambda found: " ".join([*found, *found[:1]])) | texts
)
circles = st.builds(
    model.Circle.parse, st.builds(lambda pair, km: f"{pair} {km}", pairs, st.integers(0, 500)) | texts
)
named_values = st.builds(model.NamedValue, texts, texts)
heights = st.none() | st.builds(model.Height.parse, st.decimals(-999, 9999, places=2).map(str) | texts)


def tuples(items: st.SearchStrategy, min_size: int = 0) -> st.SearchStrategy:
    """Short tuples of `items`."""
    return st.lists(items, min_size=min_size, max_size=2).map(tuple)


areas = st.builds(model.Area, texts, tuples(polygons), tuples(circles), tuples(named_values), heights, heights)
resources = st.builds(
    model.Resource,
    texts,
    texts,
    st.none() | st.builds(model.Size.parse, st.integers(-9, 10**6).map(str) | texts),
    optional_texts,
    optional_texts,
    optional_texts,
)
infos = st.builds(
    model.Info,
    language=st.sampled_from([None, "", "zh-CN", "en-US", "not a tag"]),
    categories=tuples(st.sampled_from(model.Category), 1),
    event=texts,
    response_types=tuples(st.sampled_from(model.ResponseType)),
    urgency=st.sampled_from(model.Urgency),
    severity=st.sampled_from(model.Severity),
    certainty=st.sampled_from(model.Certainty),
    audience=optional_texts,
    event_codes=tuples(named_values),
    effective=st.none() | times,
    onset=st.none() | times,
    expires=st.none() | times,
    sender_name=optional_texts,
    headline=optional_texts,
    description=optional_texts,
    instruction=optional_texts,
    web=optional_texts,
    contact=optional_texts,
    parameters=tuples(named_values),
    resources=tuples(resources),
    areas=tuples(areas),
)
alerts = st.builds(
    model.Alert,
    identifier=texts,
    sender=texts,
    sent=times,
    status=st.sampled_from(model.Status),
    msg_type=st.sampled_from(model.MsgType),
    source=optional_texts,
    scope=st.sampled_from(model.Scope),
    restriction=optional_texts,
    addresses=optional_texts,
    codes=tuples(texts),
    note=optional_texts,
    references_text=optional_texts,
    incidents=optional_texts,
    infos=tuples(infos),
)
