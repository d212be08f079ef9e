"""Every rule that lint knows: its id, what must hold, the clause of CAP 1.2, its grade in each posture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from broker.cap import grammar
from broker.cap.findings import Grade, Rule
from broker.cap.grammar import Kind

_E, _W, _I = Grade.ERROR, Grade.WARNING, Grade.INFO
_HOUSE = "house rule"

_ENCODING = (
    Rule("cap.size", "The message is not larger than the limit.", _HOUSE),
    Rule("cap.depth", "Elements are not nested deeper than the limit.", _HOUSE),
    Rule("cap.elements", "The message has no more elements than the limit.", _HOUSE),
    Rule("cap.xml.encoding", "The bytes are text in the encoding that the document declares.", "XML 1.0, 4.3.3"),
    Rule("cap.xml.version", "The document is XML 1.0.", "XML 1.0, 2.8"),
    Rule("cap.xml.doctype", "The document has no document type declaration and no entities.", _HOUSE),
    Rule("cap.xml.syntax", "The document is well-formed XML.", "XML 1.0, 2.1"),
    Rule("cap.root", "The outermost element is alert.", "3.2.1"),
    Rule("cap.namespace", "The namespace is that of CAP 1.2.", "3.4"),
    Rule("cap.version", "The message is CAP 1.2, not an older version.", "3.4", _E, _I),
    Rule("cap.version.mapped", "Nothing of an older version had to be put as CAP 1.2 puts it.", _HOUSE, _I, _I),
    Rule("cap.version.newer", "An older version uses only what it knows.", _HOUSE, _E, _W),
    Rule("cap.version.dropped", "CAP 1.2 has room for all that an older version says.", _HOUSE, _W, _W),
    Rule("cap.version.unmapped", "What CAP 1.2 requires is there in an older version too.", "3.4"),
    Rule("cap.json.encoding", "JSON is UTF-8 without byte order mark.", "RFC 8259, 8.1"),
    Rule("cap.json.syntax", "The document is well-formed JSON.", "RFC 8259, 2"),
    Rule("cap.json.type", "Elements with members are objects, repeatable ones arrays, all others strings.", _HOUSE),
    Rule("cap.json.duplicate", "A key stands only once in an object.", "RFC 8259, 4"),
    Rule("cap.json.character", "Texts hold only characters that XML can carry.", "XML 1.0, 2.2"),
    Rule("cap.findings.more", "The report holds every finding.", _HOUSE, _W, _W),
    Rule("cap.check.skipped", "Every check could run.", _HOUSE, _I, _I),
)

_STRUCTURE = (
    Rule("cap.element.unknown", "Only elements of CAP 1.2 occur, each in its place.", "3.4", _E, _W),
    Rule("cap.element.order", "Elements stand in the order of the standard.", "3.4", _E, _W),
    Rule("cap.element.repeated", "An element occurs no more often than the standard allows.", "3.4"),
    Rule("cap.element.attribute", "Elements have no attributes.", "3.4", _E, _W),
    Rule("cap.element.type", "An element does not name its own type in xsi:type.", _HOUSE, _I, _I),
    Rule("cap.element.signed", "No element of CAP stands inside of a signature.", _HOUSE),
    Rule("cap.element.text", "Between the members of an element there is no text.", "3.4", _E, _W),
    Rule("cap.text.empty", "A required text is more than white space.", "3.2", _E, _W),
    Rule("cap.identifier.empty", "identifier is more than white space.", "3.2.1"),
    Rule("cap.sender.empty", "sender is more than white space.", "3.2.1"),
    Rule("cap.text.blank", "An optional element that is sent says something.", "3.2", _I, _I),
    Rule("cap.time.whitespace", "A time has no white space around it.", _HOUSE, _W, _I),
)

_ALERT = (
    Rule("cap.identifier.characters", "identifier has no spaces, commas, < or &.", "3.2.1", _E, _W),
    Rule("cap.sender.characters", "sender has no spaces, commas, < or &.", "3.2.1", _E, _W),
    Rule("cap.identity.conflict", "sender, identifier and sent name one message, not several.", "3.2.1"),
    Rule("cap.identity.repeated", "A message is looked at once.", _HOUSE, _I, _I),
    Rule("cap.sent.future", "sent is not later than now.", _HOUSE, _W, _I),
    Rule("cap.references.required", "Update, Cancel, Ack and Error name the messages they are about.", "3.2.1"),
    Rule("cap.references.format", "references are triples sender,identifier,sent.", "3.2.1", _E, _W),
    Rule("cap.references.self", "A message does not refer to itself.", "3.2.1", _E, _W),
    Rule("cap.references.duplicate", "A message is referred to once.", _HOUSE, _W, _I),
    Rule("cap.references.later", "A message refers to earlier ones.", "3.2.1", _W, _W),
    Rule("cap.restriction.required", "Scope Restricted says in restriction to whom.", "3.2.1"),
    Rule("cap.restriction.scope", "restriction goes with scope Restricted.", "3.2.1", _W, _I),
    Rule("cap.addresses.required", "Scope Private lists its recipients in addresses.", "3.2.1"),
    Rule("cap.addresses.format", "addresses are separated by space, quoted when they hold one.", "3.2.1", _E, _W),
    Rule("cap.incidents.format", "incidents are separated by space, quoted when they hold one.", "3.2.1", _W, _I),
    Rule("cap.note.exercise", "An Exercise names itself in note.", "3.2.1", _W, _I),
    Rule("cap.note.error", "An Error explains itself in note.", "3.2.1", _W, _I),
    Rule(
        "cap.info.override",
        "A later info expands on an earlier one, it does not overrule it.",
        "3.2.1",
        _W,
        _I,
    ),
    Rule("cap.info.required", "An Alert or Update has an info.", _HOUSE, _E, _W),
)

_INFO = (
    Rule("cap.language.format", "language is a language tag.", "3.2.2", _E, _W),
    Rule("cap.language.tag", "language is well-formed by RFC 5646.", "RFC 5646, 2.1", _W, _W),
    Rule("cap.language.absent", "Without language an info counts as en-US.", "3.2.2", _I, _I),
    Rule("cap.language.undeclared", "Chinese text declares its language.", _HOUSE, _W, _I),
    Rule("cap.text.placeholder", "No text holds a placeholder that a template left behind.", _HOUSE, _W, _W),
    Rule("cap.certainty.deprecated", "certainty is not Very Likely, which counts as Likely.", "3.2.2", _E, _W),
    Rule("cap.category.repeated", "A category is given once.", _HOUSE, _I, _I),
    Rule("cap.responseType.repeated", "A responseType is given once.", _HOUSE, _I, _I),
    Rule("cap.responseType.none", "responseType None stands alone.", _HOUSE, _W, _W),
    Rule("cap.eventCode.repeated", "An eventCode's valueName is given once.", _HOUSE, _I, _I),
    Rule("cap.parameter.repeated", "A parameter's valueName is given once.", _HOUSE, _I, _I),
    Rule("cap.effective.early", "effective is not before sent.", _HOUSE, _W, _I),
    Rule("cap.onset.early", "onset is not before sent.", _HOUSE, _W, _I),
    Rule("cap.onset.order", "onset is not after expires.", _HOUSE, _E, _W),
    Rule("cap.expires.order", "expires is after sent and after effective.", _HOUSE, _E, _W),
    Rule("cap.expires.past", "An Alert or Update has not expired yet.", _HOUSE, _E, _I),
    Rule("cap.expires.absent", "An Alert or Update says when it expires.", "3.2.2", _W, _I),
    Rule("cap.headline.absent", "An info has a headline.", _HOUSE, _I, _I),
    Rule("cap.headline.length", "headline is at most 160 characters.", "3.2.2", _I, _I),
    Rule("cap.web.format", "web is a URI.", "3.2.2", _E, _W),
    Rule("cap.web.absolute", "web is an absolute URI.", "3.2.2", _E, _W),
    Rule("cap.web.scheme", "web can be opened in a browser: http or https.", _HOUSE, _W, _W),
    Rule("cap.area.required", "The info of an Alert or Update has an area.", _HOUSE, _E, _W),
)

_RESOURCE = (
    Rule("cap.mimeType.format", "mimeType is a type and a subtype.", "3.2.3", _E, _W),
    Rule("cap.size.format", "size is a whole number of bytes.", "3.2.3", _E, _W),
    Rule("cap.size.negative", "size is not negative.", "3.2.3", _E, _W),
    Rule("cap.size.mismatch", "size is that of the content carried.", "3.2.3", _W, _I),
    Rule("cap.uri.format", "uri is a URI.", "3.2.3", _E, _W),
    Rule("cap.uri.relative", "uri is absolute unless it names the content carried.", "3.2.3", _E, _W),
    Rule("cap.derefUri.base64", "derefUri is base64.", "3.2.3", _E, _W),
    Rule("cap.digest.format", "digest is 40 hexadecimal digits, a SHA-1.", "3.2.3", _E, _W),
    Rule("cap.digest.mismatch", "digest is that of the content carried.", "3.2.3", _E, _W),
    Rule("cap.resource.unreachable", "A resource is linked or carried.", _HOUSE, _W, _I),
)

_AREA = (
    Rule("cap.area.unlocated", "An area has a polygon, a circle or a geocode.", _HOUSE, _E, _W),
    Rule("cap.polygon.empty", "polygon lists points.", "3.2.4"),
    Rule("cap.polygon.syntax", "polygon is pairs lat,lon separated by space.", "3.2.4"),
    Rule("cap.polygon.range", "Latitudes are within ±90, longitudes within ±180 degrees.", "3.3.1"),
    Rule("cap.polygon.swapped", "A pair is latitude first, longitude second.", "3.3.1"),
    Rule("cap.polygon.points", "polygon has at least four pairs.", "3.2.4"),
    Rule("cap.polygon.closed", "The last pair of a polygon repeats the first.", "3.2.4", _E, _W),
    Rule("cap.polygon.crossing", "A polygon does not cross or touch itself.", _HOUSE, _E, _W),
    Rule("cap.polygon.flat", "A polygon encloses an area.", _HOUSE, _E, _W),
    Rule("cap.polygon.span", "A polygon spans at most 180 degrees of longitude.", _HOUSE, _W, _W),
    Rule(
        "cap.polygon.nodes", "A polygon has at most 100 points, which some systems cannot exceed.", _HOUSE, _I, _I
    ),
    Rule("cap.polygon.whitespace", "Pairs are separated by single spaces.", _HOUSE, _I, _I),
    Rule("cap.polygon.limit", "A polygon has no more points than the limit.", _HOUSE),
    Rule("cap.circle.syntax", "circle is lat,lon, a space, and a radius in kilometres.", "3.2.4"),
    Rule("cap.circle.range", "Latitude is within ±90, longitude within ±180 degrees.", "3.3.1"),
    Rule("cap.circle.swapped", "The centre is latitude first, longitude second.", "3.3.1"),
    Rule("cap.circle.radius", "The radius is not negative.", _HOUSE),
    Rule("cap.circle.zero", "The radius is more than zero.", _HOUSE, _E, _W),
    Rule("cap.circle.large", "The radius is at most half the way round the Earth.", _HOUSE, _W, _W),
    Rule("cap.geocode.repeated", "A geocode is given once in an area.", _HOUSE, _I, _I),
    Rule("cap.geocode.alone", "A geocode comes with a polygon or circle of the same ground.", "3.2.4", _I, _I),
    Rule("cap.altitude.format", "altitude is a decimal number of feet.", "3.2.4", _E, _W),
    Rule("cap.ceiling.format", "ceiling is a decimal number of feet.", "3.2.4", _E, _W),
    Rule("cap.ceiling.altitude", "ceiling comes with altitude.", "3.2.4", _E, _W),
    Rule("cap.ceiling.order", "ceiling is not below altitude.", "3.2.4", _E, _W),
)


def _by_element() -> Iterator[Rule]:
    """The rules that the content model itself gives, one per element that it concerns."""
    seen: set[str] = set()
    for group in grammar.groups():
        for member in group.members:
            if member.name in seen:
                continue
            seen.add(member.name)
            if member.required:
                yield Rule(f"cap.{member.name}.missing", f"{member.name} is required.", group.clause)
            if member.allowed:
                listed = ", ".join(member.allowed)
                yield Rule(f"cap.{member.name}.value", f"{member.name} is one of {listed}.", group.clause)
            if member.kind is Kind.TIME:
                sentence = f"{member.name} is YYYY-MM-DDThh:mm:ss±hh:mm."
                yield Rule(f"cap.{member.name}.format", sentence, "3.3.2")


_ALL = (*_ENCODING, *_STRUCTURE, *_by_element(), *_ALERT, *_INFO, *_RESOURCE, *_AREA)

RULES: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in _ALL})
"""The catalogue: rule id → rule."""
