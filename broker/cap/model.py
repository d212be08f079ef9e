"""The CAP 1.2 message as immutable values, in document order, every text kept as it was sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from broker.cap import values
from broker.cap.names import DEFAULT_LANGUAGE


class Status(StrEnum):
    """`status`: how a message is to be handled (CAP 1.2, 3.2.1). Only Actual may reach the public."""

    ACTUAL = "Actual"
    EXERCISE = "Exercise"
    SYSTEM = "System"
    TEST = "Test"
    DRAFT = "Draft"


class MsgType(StrEnum):
    """`msgType`: the nature of a message (CAP 1.2, 3.2.1)."""

    ALERT = "Alert"
    UPDATE = "Update"
    CANCEL = "Cancel"
    ACK = "Ack"
    ERROR = "Error"


class Scope(StrEnum):
    """`scope`: for whom a message is meant (CAP 1.2, 3.2.1)."""

    PUBLIC = "Public"
    RESTRICTED = "Restricted"
    PRIVATE = "Private"


class Category(StrEnum):
    """`category`: the kind of event (CAP 1.2, 3.2.2)."""

    GEO = "Geo"
    MET = "Met"
    SAFETY = "Safety"
    SECURITY = "Security"
    RESCUE = "Rescue"
    FIRE = "Fire"
    HEALTH = "Health"
    ENV = "Env"
    TRANSPORT = "Transport"
    INFRA = "Infra"
    CBRNE = "CBRNE"
    OTHER = "Other"


class ResponseType(StrEnum):
    """`responseType`: what people are asked to do (CAP 1.2, 3.2.2)."""

    SHELTER = "Shelter"
    EVACUATE = "Evacuate"
    PREPARE = "Prepare"
    EXECUTE = "Execute"
    AVOID = "Avoid"
    MONITOR = "Monitor"
    ASSESS = "Assess"
    ALL_CLEAR = "AllClear"
    NONE = "None"


class Urgency(StrEnum):
    """`urgency`: how soon to act (CAP 1.2, 3.2.2)."""

    IMMEDIATE = "Immediate"
    EXPECTED = "Expected"
    FUTURE = "Future"
    PAST = "Past"
    UNKNOWN = "Unknown"


class Severity(StrEnum):
    """`severity`: how bad it is (CAP 1.2, 3.2.2); carries the four warning levels."""

    EXTREME = "Extreme"
    SEVERE = "Severe"
    MODERATE = "Moderate"
    MINOR = "Minor"
    UNKNOWN = "Unknown"


class Certainty(StrEnum):
    """`certainty`: how likely it is (CAP 1.2, 3.2.2)."""

    OBSERVED = "Observed"
    LIKELY = "Likely"
    POSSIBLE = "Possible"
    UNLIKELY = "Unlikely"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class CapTime:
    """A time as sent and the instant it names, with the offset (CAP 1.2, 3.3.2).

    The text keeps what the instant cannot: `-00:00`, the standard's way to write UTC.
    """

    text: str
    instant: datetime

    @classmethod
    def parse(cls, text: str) -> CapTime:
        """Read `YYYY-MM-DDThh:mm:ss±hh:mm`; white space around it is kept in the text.

        Raises ValueError when the text is no such time.
        """
        instant = values.parse_time(values.collapse(text))
        if instant is None:
            raise ValueError(f"not a CAP time: {text!r}")
        return cls(text, instant)

    @classmethod
    def of(cls, instant: datetime) -> CapTime:
        """Write an aware datetime as CAP does; UTC becomes `-00:00`, a fraction of a second is cut off.

        Raises ValueError for a datetime without offset or with one that is not whole minutes.
        """
        if instant.tzinfo is None:
            raise ValueError("a CAP time needs an offset from UTC")
        text = instant.replace(microsecond=0).isoformat()
        return cls.parse(text[:-6] + "-00:00" if text.endswith("+00:00") else text)


@dataclass(frozen=True, slots=True)
class Reference:
    """An earlier message that `references` names, and its identity."""

    sender: str
    identifier: str
    sent: CapTime

    @property
    def identity(self) -> tuple[str, str, datetime]:
        """(sender, identifier, sent instant): what `Alert.identity` of that message is."""
        return self.sender, self.identifier, self.sent.instant

    @property
    def text(self) -> str:
        """`sender,identifier,sent` as it stands in `references`."""
        return f"{self.sender},{self.identifier},{self.sent.text}"

    @classmethod
    def parse(cls, text: str) -> Reference | None:
        """Read one triple `sender,identifier,sent`; None unless all three parts are there and good."""
        parts = text.split(",")
        if len(parts) != 3 or not parts[0] or not parts[1]:
            return None
        instant = values.parse_time(parts[2])
        return None if instant is None else cls(parts[0], parts[1], CapTime(parts[2], instant))


@dataclass(frozen=True, slots=True)
class NamedValue:
    """`valueName` and `value` of an eventCode, parameter or geocode."""

    value_name: str
    value: str


@dataclass(frozen=True, slots=True)
class Polygon:
    """A `polygon` as sent, and its (latitude, longitude) points in degrees, first repeated at the end.

    `points` is empty when the text is not a list of coordinate pairs; nothing is guessed out of such a text.
    """

    text: str
    points: tuple[tuple[float, float], ...]

    @classmethod
    def parse(cls, text: str) -> Polygon:
        """Read `lat,lon lat,lon …`; the ring itself (closed, simple) is lint's business."""
        points = values.parse_pairs(text)
        good = tuple([point for point in points if point is not None])
        return cls(text, good if len(good) == len(points) else ())


@dataclass(frozen=True, slots=True)
class Circle:
    """A `circle` as sent, its centre (latitude, longitude) in degrees and radius in kilometres.

    Centre and radius are None when the text is not `lat,lon radius`.
    """

    text: str
    center: tuple[float, float] | None
    radius_km: float | None

    @classmethod
    def parse(cls, text: str) -> Circle:
        """Read `lat,lon radius`; ranges are lint's business."""
        parts = values.words(text)
        center = values.parse_pair(parts[0]) if len(parts) == 2 else None
        radius = values.parse_number(parts[1]) if len(parts) == 2 else None
        return cls(text, None, None) if center is None or radius is None else cls(text, center, radius)


@dataclass(frozen=True, slots=True)
class Height:
    """An `altitude` or `ceiling` as sent, and in feet above mean sea level (None when not a number)."""

    text: str
    feet: Decimal | None

    @classmethod
    def parse(cls, text: str) -> Height:
        """Read an xs:decimal."""
        return cls(text, values.parse_decimal(values.collapse(text)))


@dataclass(frozen=True, slots=True)
class Size:
    """A resource's `size` as sent, and in bytes (None when not an integer)."""

    text: str
    octets: int | None

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read an xs:integer."""
        return cls(text, values.parse_integer(values.collapse(text)))


@dataclass(frozen=True, slots=True)
class Area:
    """An `area`: the union of its polygons, circles and geocodes (CAP 1.2, 3.2.4)."""

    area_desc: str
    polygons: tuple[Polygon, ...] = ()
    circles: tuple[Circle, ...] = ()
    geocodes: tuple[NamedValue, ...] = ()
    altitude: Height | None = None
    ceiling: Height | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """A `resource`: a file that belongs to the text, carried or linked (CAP 1.2, 3.2.3)."""

    resource_desc: str
    mime_type: str
    size: Size | None = None
    uri: str | None = None
    deref_uri: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Info:
    """An `info`: the event in one language (CAP 1.2, 3.2.2). None is "absent", "" is "sent empty"."""

    language: str | None
    categories: tuple[Category, ...]
    event: str
    response_types: tuple[ResponseType, ...]
    urgency: Urgency
    severity: Severity
    certainty: Certainty
    audience: str | None = None
    event_codes: tuple[NamedValue, ...] = ()
    effective: CapTime | None = None
    onset: CapTime | None = None
    expires: CapTime | None = None
    sender_name: str | None = None
    headline: str | None = None
    description: str | None = None
    instruction: str | None = None
    web: str | None = None
    contact: str | None = None
    parameters: tuple[NamedValue, ...] = ()
    resources: tuple[Resource, ...] = ()
    areas: tuple[Area, ...] = ()

    @property
    def language_tag(self) -> str:
        """The language as sent, or en-US when absent or empty, as the standard says."""
        return values.collapse(self.language or "") or DEFAULT_LANGUAGE

    def event_code(self, *value_names: str) -> str | None:
        """The value of the first eventCode whose valueName is among those given; None without one."""
        return next((code.value for code in self.event_codes if code.value_name in value_names), None)

    def parameter(self, value_name: str) -> str | None:
        """The value of the first parameter of that valueName; None without one."""
        return next((item.value for item in self.parameters if item.value_name == value_name), None)

    @property
    def geocodes(self) -> tuple[NamedValue, ...]:
        """The geocodes of all areas, in document order."""
        return tuple(code for area in self.areas for code in area.geocodes)


@dataclass(frozen=True, slots=True)
class Alert:
    """An `alert`: one CAP 1.2 message (CAP 1.2, 3.2.1). None is "absent", "" is "sent empty"."""

    identifier: str
    sender: str
    sent: CapTime
    status: Status
    msg_type: MsgType
    source: str | None
    scope: Scope
    restriction: str | None = None
    addresses: str | None = None
    codes: tuple[str, ...] = ()
    note: str | None = None
    references_text: str | None = None
    incidents: str | None = None
    infos: tuple[Info, ...] = ()

    @property
    def identity(self) -> tuple[str, str, datetime]:
        """(sender, identifier, sent instant): what makes two messages the same one."""
        return self.sender, self.identifier, self.sent.instant

    @property
    def references(self) -> tuple[Reference, ...]:
        """The well-formed triples of `references`, in order; lint reports the others."""
        triples = (Reference.parse(word) for word in values.words(self.references_text or ""))
        return tuple(triple for triple in triples if triple is not None)

    @property
    def address_list(self) -> tuple[str, ...]:
        """The recipients that `addresses` names; empty when it is absent or a quote is left open."""
        return values.parse_list(self.addresses or "") or ()

    @property
    def incident_list(self) -> tuple[str, ...]:
        """The incidents that `incidents` names; empty when it is absent or a quote is left open."""
        return values.parse_list(self.incidents or "") or ()
