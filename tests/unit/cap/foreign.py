"""Alerts in the styles of other countries' feeds, in words of our own, with the habits that those feeds have."""

from __future__ import annotations

from dataclasses import dataclass

_NS = "urn:oasis:names:tc:emergency:cap:1.2"


@dataclass(frozen=True)
class Foreign:
    """One alert: who writes so, the text, whether the OASIS schema takes it, and what is wrong with it.

    `found` are the rules of its errors and warnings in the lenient posture; it is valid when none is an error.
    """

    style: str
    text: str
    schema_valid: bool = True
    valid: bool = True
    found: frozenset[str] = frozenset()


def alert(head: str, *infos: str) -> str:
    """An alert of these texts."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<alert xmlns="{_NS}">{head}{"".join(infos)}</alert>\n'


def head(identifier: str, sender: str, sent: str, more: str = "", msg_type: str = "Alert", after: str = "") -> str:
    """Identity, status, type and scope."""
    return (
        f"<identifier>{identifier}</identifier><sender>{sender}</sender><sent>{sent}</sent><status>Actual</status>"
        f"<msgType>{msg_type}</msgType>{more}<scope>Public</scope>{after}"
    )


def info(language: str, event: str, gravity: str, times: str, texts: str, area: str, category: str = "Met") -> str:
    """An info; `gravity` is urgency, severity and certainty by their words."""
    urgency, severity, certainty = gravity.split("/")
    return (
        f"<info><language>{language}</language><category>{category}</category><event>{event}</event>"
        f"<urgency>{urgency}</urgency><severity>{severity}</severity><certainty>{certainty}</certainty>"
        f"{times}{texts}{area}</info>"
    )


def named(element: str, *pairs: tuple[str, str]) -> str:
    """eventCode, parameter or geocode, several."""
    return "".join(f"<{element}><valueName>{n}</valueName><value>{v}</value></{element}>" for n, v in pairs)


_UNTIL = "<expires>2026-06-18T12:00:00+08:00</expires>"
_RING = "<polygon>38.47,-120.14 38.34,-119.95 38.52,-119.74 38.62,-119.89 38.47,-120.14</polygon>"

UNITED_STATES = Foreign(
    "weather service of the United States",
    alert(
        head(
            "urn:oid:2.49.0.1.840.0.aa11.002.1",
            "w-nws.webmaster@noaa.example",
            "2026-06-17T18:30:00-07:00",
            msg_type="Update",
            after="<code>IPAWSv1.0</code><references>w-nws.webmaster@noaa.example,urn:oid:2.49.0.1.840.0.aa11.001.1,"
            "2026-06-17T17:55:00-07:00\n w-nws.webmaster@noaa.example,urn:oid:2.49.0.1.840.0.aa11.000.1,"
            "2026-06-17T17:00:00-07:00</references>",
        ),
        info(
            "en-US",
            "Flash Flood Warning",
            "Immediate/Severe/Likely",
            named("eventCode", ("SAME", "FFW"), ("NationalWeatherService", "FFW")) + _UNTIL,
            "<senderName>Office</senderName><headline>Flash Flood Warning</headline><description>* WHAT...Flooding."
            "\n\n* WHERE...A creek.</description><web>http://www.weather.example</web>"
            + named(
                "parameter",
                ("BLOCKCHANNEL", "EAS"),
                ("BLOCKCHANNEL", "NWEM"),
                ("VTEC", "/O.CON.KSTO.FF.W.0003.000000T0000Z-260618T0400Z/"),
            ),
            f"<area><areaDesc>Alpine, CA</areaDesc>{_RING}"
            + named("geocode", ("SAME", "006003"), ("SAME", "006009"), ("UGC", "CAC003"))
            + "</area>",
        ),
    ),
)

UNITED_STATES_BY_WMO = Foreign(
    "the same, as an aggregator hands it on: geocode before polygon",
    UNITED_STATES.text.replace(_RING, "").replace("</area>", _RING + "</area>"),
    schema_valid=False,
    found=frozenset({"cap.element.order"}),
)

_WIND = (
    "<onset>2026-06-18T{}:00:00+02:00</onset><expires>2026-06-18T{}:00:00+02:00</expires>",
    named("parameter", ("awareness_level", "3; orange; Severe"), ("awareness_type", "1; Wind")),
    "<area><areaDesc>Tirol</areaDesc>" + named("geocode", ("EMMA_ID", "AT007")) + "</area>",
)
METEOALARM = Foreign(
    "European weather services: an info per language and period",
    alert(
        head("2.49.0.0.40.0.AT.260618.1", "office@zamg.example", "2026-06-18T03:40:00+02:00"),
        *(
            info(language, event, f"Future/{severity}/Likely", _WIND[0].format(*hours), _WIND[1], _WIND[2])
            for language, event in (("de-DE", "Sturm"), ("en-GB", "Severe wind"))
            for severity, hours in (("Moderate", ("06", "12")), ("Severe", ("12", "18")))
        ),
    ),
)

OVERRULED = Foreign(
    "the same with periods that overlap: the later info overrules the earlier",
    METEOALARM.text.replace("<onset>2026-06-18T12", "<onset>2026-06-18T10"),
)

CANADA = Foreign(
    "weather service of Canada: empty elements, many layers",
    alert(
        head(
            "urn:oid:2.49.0.1.124.1.2026",
            "cap-pac@canada.example",
            "2026-06-18T01:21:01-00:00",
            "<source>Env. Can.</source>",
            after="<restriction/><addresses/><code>profile:CAP-CP:0.4</code><code>layer:SOREM:1.0</code><note/>"
            "<references/><incidents/>",
        ),
        *(
            info(
                language,
                event,
                "Immediate/Extreme/Observed",
                named("eventCode", ("profile:CAP-CP:Event:0.4", "tornado")) + _UNTIL,
                "<headline>tornado</headline><instruction/>"
                + named("parameter", ("layer:X:1.0:Alert_Type", "warning")),
                f"<area><areaDesc>County</areaDesc>{_RING}"
                + named("geocode", ("profile:CAP-CP:Location:0.3", "3519038"))
                + "</area>",
            )
            for language, event in (("en-CA", "tornado"), ("fr-CA", "tornade"))
        ),
    ),
)

JAPAN = Foreign(
    "a service that writes fractions of a second",
    alert(
        head("JPTK.20260618.1", "jp-weather", "2026-06-18T10:30:00.000+09:00"),
        info(
            "ja-JP",
            "大雨特別警報",
            "Immediate/Extreme/Observed",
            "<expires>2026-06-18T18:00:00+09:00</expires>",
            "<headline>大雨特別警報</headline>",
            "<area><areaDesc>広島県</areaDesc>" + named("geocode", ("JMA", "340000")) + "</area>",
        ),
    ),
    schema_valid=False,
    valid=False,
    found=frozenset({"cap.sent.format"}),
)

MEXICO = Foreign(
    "earthquake early warning of Mexico: a minute long, a point for a circle, onset after the end",
    alert(
        head("SASMEX2026-06-18-1", "sismo@cires.example", "2026-06-17T19:50:00-06:00"),
        info(
            "es-MX",
            "Alerta por sismo",
            "Immediate/Severe/Likely",
            "<effective>2026-06-17T19:50:00-06:00</effective><onset>2026-06-18T19:50:00-06:00</onset>"
            "<expires>2026-06-17T20:51:00-06:00</expires>",
            "<headline>SISMO</headline>",
            "<area><areaDesc>Guerrero</areaDesc>"
            "<polygon>\n\t17.5,-99.5 17.9,-99.5 17.9,-99.0 17.5,-99.5 \n</polygon>"
            "<circle>16.5,-98.1 0.0</circle></area>",
            category="Geo",
        ),
    ),
    found=frozenset({"cap.onset.order", "cap.circle.zero"}),
)

PHILIPPINES = Foreign(
    "a service with spaces in its identifiers, addresses without scheme, and Z",
    alert(
        head("PAGASA 2026 Rain 17", "pagasa", "2026-06-18T01:45:00Z"),
        info(
            "en-PH",
            "Heavy Rainfall",
            "Expected/Moderate/Possible",
            _UNTIL,
            "<headline>Rain</headline><web>www.pagasa.example/rain</web>",
            f"<area><areaDesc>Bulacan</areaDesc>{_RING}</area>",
        ),
    ),
    schema_valid=False,
    valid=False,
    found=frozenset({"cap.identifier.characters", "cap.sent.format", "cap.web.absolute"}),
)

NEW_ZEALAND = Foreign(
    "a sender that writes longitude first, which its longitudes give away",
    alert(
        head("NZ-1", "metservice@nz.example", "2026-06-18T13:50:00+12:00"),
        info(
            "en-NZ",
            "rain",
            "Future/Moderate/Likely",
            "<expires>2026-06-19T13:50:00+12:00</expires>",
            "<headline>Heavy Rain</headline>" + named("parameter", ("ColourCode", "Orange")),
            "<area><areaDesc>Westland</areaDesc>"
            "<polygon>169.1,-43.9 170.2,-43.2 170.9,-43.4 169.1,-43.9</polygon></area>",
        ),
    ),
    valid=False,
    found=frozenset({"cap.polygon.swapped"}),
)

FIJI = Foreign(
    "islands on both sides of the 180th meridian",
    alert(
        head("FJ-1", "nwfc@met.fj.example", "2026-06-18T13:50:00+12:00"),
        info(
            "en-FJ",
            "Tropical cyclone",
            "Immediate/Extreme/Observed",
            "<expires>2026-06-19T13:50:00+12:00</expires>",
            "<headline>Hurricane warning</headline>",
            "<area><areaDesc>Lau</areaDesc><polygon>-16,179 -16,-178 -19,-178 -19,179 -16,179</polygon>"
            "<polygon>-16,179 -16,182 -19,182 -19,179 -16,179</polygon></area>",
        ),
    ),
    valid=False,
    found=frozenset({"cap.polygon.span", "cap.polygon.range"}),
)

INDIA = Foreign(
    "many agencies behind one hub: blanks around words, no sender, an area in words only",
    alert(
        head("1718676000_17", "x@y", "2026-06-18T07:10:00+05:30").replace("<sender>x@y</sender>", ""),
        info(
            "hi-IN",
            "Thunderstorm",
            "Expected/Moderate/Likely",
            _UNTIL,
            "<headline>तड़ित</headline>",
            "<area><areaDesc>12 districts of Bihar</areaDesc></area>",
            category="Met ",
        ),
    ),
    schema_valid=False,
    valid=False,
    found=frozenset({"cap.sender.missing", "cap.category.value", "cap.area.unlocated"}),
)

INDONESIA = Foreign(
    "a CAP 1.2 message that still says Very Likely",
    alert(
        head("2.49.0.1.360.0.2026.06.18.1", "cuaca@id.example", "2026-06-18T08:40:00+07:00"),
        info(
            "id-ID",
            "Hujan Lebat",
            "Immediate/Moderate/Very Likely",
            _UNTIL,
            "<headline>Hujan</headline>",
            f"<area><areaDesc>Jawa Barat</areaDesc>{_RING}</area>",
        ),
    ),
    schema_valid=False,
    found=frozenset({"cap.certainty.deprecated"}),
)

BRAZIL = Foreign(
    "an open ring of three points, and an end before the beginning",
    alert(
        head("urn:oid:2.49.0.0.76.0.2026.6.18.1", "alert-as@inmet.example", "2026-06-17T22:50:00-03:00"),
        info(
            "pt-BR",
            "Tempestade",
            "Future/Severe/Likely",
            "<onset>2026-06-17T23:00:00-03:00</onset><expires>2026-06-17T22:50:00-03:00</expires>",
            "<headline>Aviso de Tempestade</headline>" + named("parameter", ("ColorRisk", "#FF8B00")),
            "<area><areaDesc>Sul</areaDesc><polygon>-27.1,-51.0 -27.5,-50.2 -28.0,-50.9</polygon></area>",
        ),
    ),
    valid=False,
    found=frozenset({"cap.polygon.points", "cap.polygon.closed", "cap.onset.order", "cap.expires.order"}),
)

CARIBBEAN = Foreign(
    "an editor of the kind that many small services use",
    alert(
        head("urn:oid:2.49.0.1.212.0.2026.6.18.1.50", "met@dm.example", "2026-06-17T21:50:00-04:00"),
        info(
            "en",
            "High surf",
            "Expected/Minor/Likely",
            named("eventCode", ("OET:v1.2", "OET-088"))
            + "<effective>2026-06-17T21:50:00-04:00</effective><expires>2026-06-18T18:00:00-04:00</expires>",
            "<senderName>Met Service</senderName><headline>High surf advisory</headline>"
            "<web>https://met.example/alerts/1</web>"
            "<resource><resourceDesc>map</resourceDesc><mimeType>image/png</mimeType><size>20480</size>"
            "<uri>https://met.example/1.png</uri><digest>aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d</digest></resource>",
            "<area><areaDesc>West coast</areaDesc><circle>15.4,-61.4 20</circle></area>",
        ),
    ),
)

CHINA_ABROAD = Foreign(
    "the Chinese alerts as they are handed on abroad",
    alert(
        head("50011741600000_20260618093000", "publishing@cn.example", "2026-06-18T09:30:00+08:00"),
        info(
            "zh-CN",
            "暴雨",
            "Unknown/Severe/Unknown",
            named("eventCode", ("CPEAS Event Code", "11B03")) + _UNTIL,
            "<senderName>合川区气象台</senderName><headline>合川区气象台发布暴雨橙色预警</headline>",
            "<area><areaDesc>合川区</areaDesc>"
            + named("geocode", ("CPEAS Geographic Code", "500117000000"))
            + "</area>",
        ),
    ),
)

TEMPLATE = Foreign(
    "a template that nobody filled in",
    alert(
        head("T-1", "desk@x.example", "2026-06-18T09:30:00+08:00"),
        info(
            "en-GB",
            "Flood",
            "Immediate/Severe/Likely",
            _UNTIL,
            "<headline>Flood warning for [insert place]</headline><description>Since ${time} ...</description>",
            "<area><areaDesc>{area_name}</areaDesc><polygon>54.54498,-2.95268...</polygon></area>",
        ),
    ),
    valid=False,
    found=frozenset({"cap.text.placeholder", "cap.polygon.syntax"}),
)

FOREIGN = tuple(value for value in list(globals().values()) if isinstance(value, Foreign))
