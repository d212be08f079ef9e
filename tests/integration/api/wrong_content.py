"""Posts in the form of CAP 1.2 that say what cannot be or may not be said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from tests.integration.api.wrong import (
    GEOCODE,
    POLYGON,
    RING,
    Body,
    Case,
    changed,
    swapped,
    time_from_now,
    with_area,
    with_value,
    without,
)
from tests.support.broker import CAREFUL, LIMITED, alert_xml


def values() -> Iterator[Case]:
    yield Case("status in small letters", 422, "cap.status.value", with_value("status", "actual"))
    yield Case("an unknown status", 422, "cap.status.value", with_value("status", "Live"))
    yield Case("an unknown msgType", 422, "cap.msgType.value", with_value("msgType", "Warning"))
    yield Case("no msgType in its element", 422, "cap.msgType.value", with_value("msgType", ""))
    yield Case("an unknown scope", 422, "cap.scope.value", with_value("scope", "Everybody"))
    yield Case("an unknown category", 422, "cap.category.value", with_value("category", "Weather"))
    yield Case("an unknown response", 422, "cap.responseType.value", with_value("responseType", "Run"))
    yield Case("an unknown urgency", 422, "cap.urgency.value", with_value("urgency", "Now"))
    yield Case("a colour as severity", 422, "cap.severity.value", with_value("severity", "Red"))
    yield Case("a severity with a space", 422, "cap.severity.value", with_value("severity", " Extreme"))
    yield Case("certainty of CAP 1.0", 422, "cap.certainty.deprecated", with_value("certainty", "Very Likely"))
    yield Case("a space in the identifier", 422, "cap.identifier.characters", with_value("identifier", "a b"))
    yield Case("a comma in the identifier", 422, "cap.identifier.characters", with_value("identifier", "a,b"))
    yield Case(
        "an ampersand in the identifier", 422, "cap.identifier.characters", with_value("identifier", "a&amp;b")
    )
    yield Case("a blank identifier", 422, "cap.identifier.empty", with_value("identifier", " \u3000 "))
    yield Case("an identifier without end", 422, "intake.identifier.length", with_value("identifier", "1" * 5000))
    yield Case("a space in the sender", 422, "cap.sender.characters", with_value("sender", "hechuan met"))
    yield Case("an empty sender", 422, "cap.sender.empty", with_value("sender", ""))
    yield Case("an empty event", 422, "cap.text.empty", with_value("event", " "))
    yield Case("a language that is none", 422, "cap.language.format", with_value("language", "中文"))
    yield Case("severity unknown", 422, "intake.level", with_value("severity", "Unknown"))
    yield Case("web without a scheme", 422, "cap.web.absolute", swapped("<area>", "<web>example.org/a</web><area>"))
    resource = "<resource><resourceDesc>map</resourceDesc><mimeType>{}</mimeType>{}</resource><area>"
    yield Case(
        "a resource of no type",
        422,
        "cap.mimeType.format",
        swapped("<area>", resource.format("picture", "<uri>https://example.org/a</uri>")),
    )
    yield Case(
        "a resource of negative size",
        422,
        "cap.size.negative",
        swapped("<area>", resource.format("image/png", "<size>-1</size>")),
    )
    yield Case(
        "a resource with another digest",
        422,
        "cap.digest.mismatch",
        swapped(
            "<area>", resource.format("image/png", f"<derefUri>aGVsbG8=</derefUri><digest>{'0' * 40}</digest>")
        ),
    )
    yield Case(
        "a ceiling without an altitude",
        422,
        "cap.ceiling.altitude",
        swapped("</area>", "<ceiling>900</ceiling></area>"),
    )


def times() -> Iterator[Case]:
    for name, text in (
        ("a date only", "2026-06-18"),
        ("no zone", "2026-06-18T09:30:00"),
        ("Z for a zone", "2026-06-18T01:30:00Z"),
        ("fractions of seconds", "2026-06-18T09:30:00.5+08:00"),
        ("month 13", "2026-13-18T09:30:00+08:00"),
        ("30 February", "2026-02-30T09:30:00+08:00"),
        ("hour 25", "2026-06-18T25:30:00+08:00"),
        ("zone 25", "2026-06-18T09:30:00+25:00"),
        ("the year 0", "0000-06-18T09:30:00+08:00"),
        ("words", "this morning"),
        ("digits of another script", "２０２６-06-18T09:30:00+08:00"),
        ("nothing", ""),
    ):
        yield Case(f"sent: {name}", 422, "cap.sent.format", with_value("sent", text))
    yield Case(
        "expires after the end of time",
        422,
        "cap.expires.format",
        with_value("expires", "9999-12-31T23:59:59-14:00"),
    )
    yield Case(
        "expires before the first day",
        422,
        "cap.expires.format",
        with_value("expires", "0001-01-01T00:00:00+14:00"),
    )
    yield Case(
        "expired", 422, "cap.expires.past", lambda: with_value("expires", time_from_now(timedelta(seconds=-5)))()
    )
    yield Case(
        "expires before it is sent",
        422,
        "cap.expires.order",
        lambda: with_value("expires", time_from_now(timedelta(hours=-9)))(),
    )
    yield Case(
        "begins after it ends",
        422,
        "cap.onset.order",
        lambda: swapped("<expires>", f"<onset>{time_from_now(timedelta(days=2))}</onset><expires>")(),
    )


def _about_an_earlier_one(kind: str) -> Body:
    triple = "wulong-met@warning.example,earlier,2026-01-01T00:00:00+08:00"
    text = f"</scope><references>{triple}</references>"
    return changed(lambda t: t.replace(">Alert<", f">{kind}<", 1).replace("</scope>", text, 1))


def whole_message() -> Iterator[Case]:
    public = "<scope>Public</scope>"
    yield Case("restricted to nobody", 422, "cap.restriction.required", swapped("Public", "Restricted"))
    yield Case("private to nobody", 422, "cap.addresses.required", swapped("Public", "Private"))
    for kind in ("Update", "Cancel", "Ack", "Error"):
        yield Case(f"{kind} of nothing", 422, "cap.references.required", with_value("msgType", kind))
    for kind in ("Update", "Cancel"):
        yield Case(f"{kind} of another sender's", 403, "authority.reference", _about_an_earlier_one(kind))
    for status in ("Exercise", "Test"):
        yield Case(f"{status} with a live token", 403, "authority.realm", with_value("status", status))
    headline = "合川区气象台发布暴雨预警"
    yield Case("a drill by its headline", 422, "intake.signals", swapped(headline, f"【演练】{headline}"))
    yield Case("lifted by its headline", 422, "intake.signals", swapped(headline, "合川区气象台解除暴雨预警"))
    for name, text in (
        ("words", "the one of this morning"),
        ("two parts", "hechuan-met@warning.example,earlier"),
        ("a time without zone", "hechuan-met@warning.example,earlier,2026-01-01T00:00:00"),
    ):
        yield Case(
            f"references: {name}",
            422,
            "cap.references.format",
            swapped(public, f"{public}<references>{text}</references>"),
        )


def shapes() -> Iterator[Case]:
    def polygon(points: str) -> Body:
        return with_area(f"<polygon>{points}</polygon>")

    yield Case("polygon: open", 422, "cap.polygon.closed", polygon(RING.rpartition(" ")[0]))
    yield Case("polygon: three points", 422, "cap.polygon.points", polygon("30.0,106.2 30.1,106.2 30.0,106.2"))
    yield Case("polygon: one point", 422, "cap.polygon.points", polygon("30.0,106.2"))
    yield Case("polygon: nothing", 422, "cap.polygon.empty", polygon(""))
    yield Case("polygon: off the globe", 422, "cap.polygon.range", polygon(RING.replace("106.4", "206.4")))
    yield Case(
        "polygon: longitude first",
        422,
        "cap.polygon.swapped",
        polygon("106.2,30.0 106.4,30.0 106.4,30.1 106.2,30.0"),
    )
    yield Case(
        "polygon: crosses itself",
        422,
        "cap.polygon.crossing",
        polygon("30.0,106.2 30.1,106.4 30.1,106.2 30.0,106.4 30.0,106.2"),
    )
    yield Case(
        "polygon: on one line", 422, "cap.polygon.flat", polygon("30.0,106.2 30.1,106.2 30.2,106.2 30.0,106.2")
    )
    yield Case("polygon: words", 422, "cap.polygon.syntax", polygon("along both rivers"))
    yield Case("polygon: semicolons", 422, "cap.polygon.syntax", polygon(RING.replace(" ", ";")))
    yield Case("polygon: NaN", 422, "cap.polygon.syntax", polygon(RING.replace("106.4", "NaN")))
    yield Case("polygon: infinite", 422, "cap.polygon.syntax", polygon(RING.replace("106.4", "Infinity")))
    yield Case("polygon: exponents", 422, "cap.polygon.syntax", polygon(RING.replace("30.0", "3e1")))
    yield Case("polygon: heights too", 422, "cap.polygon.syntax", polygon(RING.replace("106.4", "106.4,300")))
    yield Case("polygon: in Paris", 422, "intake.area.outside", polygon("48.8,2.3 48.9,2.3 48.9,2.4 48.8,2.3"))
    circle = "<circle>{}</circle>".format
    yield Case("circle: no radius", 422, "cap.circle.syntax", with_area(circle("30.0,106.3")))
    yield Case("circle: words", 422, "cap.circle.syntax", with_area(circle("the town and 5 km around")))
    yield Case("circle: nothing", 422, "cap.circle.syntax", with_area(circle("")))
    yield Case("circle: with unit", 422, "cap.circle.syntax", with_area(circle("30.0,106.3 5km")))
    yield Case("circle: radius zero", 422, "cap.circle.zero", with_area(circle("30.0,106.3 0")))
    yield Case("circle: negative radius", 422, "cap.circle.radius", with_area(circle("30.0,106.3 -5")))
    yield Case("circle: off the globe", 422, "cap.circle.range", with_area(circle("30.0,306.3 5")))
    yield Case("circle: longitude first", 422, "cap.circle.swapped", with_area(circle("106.3,30.0 5")))
    yield Case("circle: in Paris", 422, "intake.area.outside", with_area(circle("48.85,2.35 5")))
    yield Case("circle: round the Earth", 422, "intake.shape", with_area(circle("30.0,106.3 99999")))
    yield Case("an area without a place", 422, "cap.area.unlocated", with_area(""))


def codes() -> Iterator[Case]:
    def geocode(value: str, name: str = "GB/T 2260") -> Body:
        return with_area(GEOCODE.format(name, value))

    unknown = "intake.geocode.unknown"
    yield Case("geocode: of no division", 422, unknown, geocode("500199000000"))
    yield Case("geocode: of another city", 422, unknown, geocode("110101000000"))
    yield Case("geocode: eleven digits", 422, unknown, geocode("50011700000"))
    yield Case("geocode: words", 422, unknown, geocode("合川区"))
    yield Case("geocode: digits of another script", 422, unknown, geocode("５００１１７"))
    yield Case("geocode: empty", 422, "cap.text.empty", geocode(""))
    yield Case("geocode: a prefix with a star", 422, unknown, geocode("5001*"))
    yield Case("geocode: another system", 422, "intake.geocode.name", geocode("500117", "SAME"))
    yield Case("geocode: no system", 422, "cap.text.empty", geocode("500117", ""))
    yield Case(
        "geocode: one of two unknown",
        422,
        unknown,
        swapped(
            POLYGON,
            POLYGON
            + geocode("500199")().decode().partition("两岸镇街</areaDesc>")[2].partition("</area>")[0].strip(),
        ),
    )
    code = "<value>11B03</value>"
    yield Case("event: no such code", 422, "intake.event.unknown", swapped(code, "<value>11B98</value>"))
    yield Case("event: a pattern", 422, "intake.event.unknown", swapped(code, "<value>11B*</value>"))
    yield Case("event: no code", 422, "intake.event.absent", without("eventCode"))
    yield Case("event: a code of another system", 422, "intake.event.absent", swapped("GB/T 35561", "SAME"))


def authority() -> Iterator[Case]:
    wulong = "<geocode><valueName>GB/T 2260</valueName><value>500156000000</value></geocode>"
    city = "cq-met@warning.example"
    ring = "29.3,107.6 29.3,107.8 29.4,107.8 29.4,107.6 29.3,107.6"
    yield Case("a sender of another department", 403, "authority.sender", with_value("sender", city))
    yield Case(
        "a token of another department",
        403,
        "authority.sender",
        changed(lambda t: t + "\n"),
        department="met-wulong",
    )
    yield Case("an event of another department", 403, "authority.event", swapped("11B03", "11A51"))
    yield Case("a region of another department", 403, "authority.region", with_area(wulong))
    yield Case("a polygon in another district", 403, "authority.region", with_area(f"<polygon>{ring}</polygon>"))
    yield Case("a circle over the border", 403, "authority.region", with_area("<circle>30.0,106.3 90</circle>"))
    yield Case(
        "the whole city by a district", 403, "authority.region", with_area(wulong.replace("500156", "500000"))
    )
    yield Case(
        "a level that is not given to them",
        403,
        "authority.level",
        lambda: alert_xml(sender=f"{LIMITED}@warning.example").encode(),
        department=LIMITED,
    )
    yield Case(
        "a second info of another event",
        403,
        "authority.event",
        changed(lambda t: t.replace("</info>", "</info>" + info_of(t).replace("11B03", "11D01"))),
    )
    yield Case("a sender like theirs", 403, "authority.sender", with_value("sender", f"{CAREFUL}@warning.example"))
    yield Case("a sender in capitals", 403, "authority.sender", with_value("sender", "HECHUAN-MET@warning.example"))


def info_of(text: str) -> str:
    return "<info>" + text.partition("<info>")[2].partition("</info>")[0] + "</info>"
