"""Checks a tree against the content model: names, order, counts, and the form of each value.

It also gives our own verdict on what the OASIS schema would say, without needing the schema.
"""

from __future__ import annotations

from collections import Counter

from broker.cap import grammar, names, values
from broker.cap.collector import Collector
from broker.cap.findings import Posture
from broker.cap.grammar import Element, Kind
from broker.cap.tree import TYPED, Node, Parsed

_TYPES = {
    Kind.TEXT: ("string", "normalizedString", "token"),
    Kind.LANGUAGE: ("language",),
    Kind.URI: ("anyURI",),
    Kind.INTEGER: ("integer",),
    Kind.DECIMAL: ("decimal",),
    Kind.TIME: (),
    Kind.CHOICE: (),
    Kind.GROUP: (),
}
"""The types of XML Schema that an element may say of itself; those of times and choices have no name."""


_SHAPES: dict[int, dict[tuple[str, ...], bool]] = {}
"""By element and the names of its children: whether they fit."""
_MOST_SHAPES = 512
_LONGEST_SHAPE = 64


def check(root: Node, collector: Collector, content: Element = grammar.ALERT) -> bool:
    """Report every departure from the content model; True when a schema of that model would accept the tree.

    With the model of CAP 1.2, which is the default, that is the verdict of the OASIS schema.
    """
    return _Checker(collector, content).group(root, content)


def check_signed(parsed: Parsed, collector: Collector) -> bool:
    """Report elements of CAP inside of signatures; True when the OASIS schema would accept them there.

    The schema looks at what it declares wherever it stands: at alerts, and at the two elements of a named value.
    """
    good = True
    for node in parsed.signed_content:
        message = "an element of CAP stands inside of a signature; no part of the message may hide there"
        collector.add("cap.element.signed", "/alert/Signature", message, node.name, node.line)
        silent = Collector(Posture.STRICT, 0)
        if node.name == "alert":
            good = check(node, silent) and good
        elif node.name in ("valueName", "value"):
            good = not node.children and _Checker(silent, grammar.ALERT).group_free(node) and good
    return good


class _Checker:
    def __init__(self, collector: Collector, content: Element) -> None:
        self._report = collector
        self._content = content

    def group(self, node: Node, element: Element) -> bool:
        """Check a node with members; every check runs, whatever the others found."""
        good = self._attributes(node, element)
        if node.text.strip(values.XML_SPACE):  # the wider spaces of Unicode are text
            good = False
            self._report.at(node, "cap.element.text", f"{node.name} has text of its own between its members")
        if _fits(node, element):
            for child in node.children:
                known = element.members[element.order[child.name]]
                checked = self.group(child, known) if known.kind is Kind.GROUP else self._leaf(child, known)
                good = checked and good
            return good
        good = self._counts(node, element) and good
        furthest = -1
        for child in node.children:
            if child.signature and element is self._content:
                furthest = len(element.members)
                continue
            member = element.member(child.name) if child.namespace is None else None
            if member is None:
                good = False
                self._unknown(child, element)
                continue
            position = element.order[child.name]
            if position < furthest:
                good = False
                self._misplaced(child, element, furthest)
            furthest = max(furthest, position)
            checked = self.group(child, member) if member.kind is Kind.GROUP else self._leaf(child, member)
            good = checked and good
        return good

    def group_free(self, node: Node) -> bool:
        """Check a text that stands in no group."""
        return self._attributes(node, Element(node.name))

    def _counts(self, node: Node, element: Element) -> bool:
        good = True
        for member in element.members:
            found = node.all(member.name)
            if len(found) > 1 and not member.many:
                good = False
                for child in found[1:]:
                    message = f"{child.name} may occur once in {node.name}"
                    self._report.at(child, "cap.element.repeated", message)
            if member.required and not found:
                good = False
                message = f"{node.name} has no {member.name}"
                self._report.at(node, f"cap.{member.name}.missing", message, "")
        return good

    def _unknown(self, child: Node, element: Element) -> None:
        home = [group.name for group in grammar.groups() if group.member(child.name) is not None]
        if child.namespace is not None:
            named = f"namespace {child.namespace}" if child.namespace else "no namespace"
            message = f"{child.name} ({named}) is not an element of CAP 1.2"
        elif home:
            message = f"{child.name} does not belong in {element.name} but in {', '.join(home)}"
        else:
            message = f"{child.name} is not an element of CAP 1.2"
        # The password of CAP 1.0 may stand in a message that says it is newer, and is nobody else's business.
        self._report.at(child, "cap.element.unknown", message, "" if child.name == "password" else None)

    def _misplaced(self, child: Node, element: Element, furthest: int) -> None:
        after = "the signature" if furthest == len(element.members) else element.members[furthest].name
        self._report.at(child, "cap.element.order", f"{child.name} must stand before {after}")

    def _attributes(self, node: Node, element: Element) -> bool:
        if not node.attributes:
            return True
        types = [
            name
            for name in node.attributes
            if name.startswith(TYPED) and name[len(TYPED) :] in _TYPES[element.kind]
        ]
        if types:
            self._report.at(
                node, "cap.element.type", f"{node.name} has its own type all the same", ", ".join(types)
            )
        others = [name for name in node.attributes if name not in types]
        if others:
            self._report.at(node, "cap.element.attribute", f"{node.name} takes no attributes", ", ".join(others))
        return not others

    def _leaf(self, node: Node, element: Element) -> bool:
        if _plain(node, element):
            return True
        good = self._attributes(node, element)
        for child in node.children:
            good = False
            self._report.at(child, "cap.element.unknown", f"{node.name} holds text, not elements")
        return self._value(node, element) and good

    def _value(self, node: Node, element: Element) -> bool:
        match element.kind:
            case Kind.CHOICE:
                return self._choice(node, element)
            case Kind.TIME:
                return self._time(node)
            case Kind.LANGUAGE:
                return self._language(node)
            case Kind.URI:
                return self._formed(node, values.is_uri(values.collapse(node.text)), "is not a URI")
            case Kind.INTEGER:
                number = values.parse_integer(values.collapse(node.text))
                return self._formed(node, number is not None, "is not a whole number")
            case Kind.DECIMAL:
                decimal = values.parse_decimal(values.collapse(node.text))
                return self._formed(node, decimal is not None, "is not a decimal number")
            case _:
                self._text(node, element)
                return True

    def _formed(self, node: Node, good: bool, complaint: str) -> bool:
        if not good:
            self._report.at(node, f"cap.{node.name}.format", f"{node.name} {complaint}")
        elif values.is_blank(node.text):
            self._report.at(node, "cap.text.blank", f"{node.name} is sent empty")
        return good

    def _text(self, node: Node, element: Element) -> None:
        if not values.is_blank(node.text):
            return
        if element.required:
            own = node.name in ("identifier", "sender")
            rule = f"cap.{node.name}.empty" if own else "cap.text.empty"
            self._report.at(node, rule, f"{node.name} says nothing")
        elif node.name != "polygon" and node.name != "circle":
            self._report.at(node, "cap.text.blank", f"{node.name} is sent empty")

    def _choice(self, node: Node, element: Element) -> bool:
        allowed = element.allowed
        if node.text in allowed:
            return True
        if node.name == "certainty" and node.text == names.OLD_CERTAINTY:
            self._report.at(
                node, "cap.certainty.deprecated", "Very Likely of CAP 1.0 counts as Likely; write Likely"
            )
            return False
        plain = values.collapse(node.text).casefold()
        close = next((value for value in allowed if value.casefold() == plain), None)
        message = f"{node.name} must be one of {', '.join(allowed)}"
        if close is not None:
            message += f"; written exactly so: {close}"
        self._report.at(node, f"cap.{node.name}.value", message)
        return False

    def _language(self, node: Node) -> bool:
        tag = values.collapse(node.text)
        if not node.text:
            # The schema gives an empty element, but not a blank one, its default, en-US.
            self._report.at(node, "cap.text.blank", "language is sent empty and counts as en-US")
            return True
        if not values.is_language(tag):
            self._report.at(node, "cap.language.format", "language is not a tag such as zh-CN or en-US")
            return False
        if not values.is_language_tag(tag):
            self._report.at(node, "cap.language.tag", "language is not a well-formed tag such as zh-CN or en-US")
        return True

    def _time(self, node: Node) -> bool:
        plain = values.collapse(node.text)
        if values.parse_time(plain) is None:
            self._report.at(node, f"cap.{node.name}.format", _time_complaint(node.name, plain))
        elif plain != node.text:
            self._report.at(node, "cap.time.whitespace", f"{node.name} has white space around it")
        return values.is_schema_time(plain)


def _fits(node: Node, element: Element) -> bool:
    """Whether a node has the members that its group asks for, and no others, each in its place.

    Messages have few shapes, so the answer for a list of names is remembered.
    """
    listed = []
    for child in node.children:
        if child.namespace is not None:
            return False
        listed.append(child.name)
    shape = tuple(listed)
    # The elements of the grammar live for ever, so that their ids stay theirs.
    known = _SHAPES.setdefault(id(element), {})
    fits = known.get(shape)
    if fits is None:
        fits = _is_shape(shape, element)
        if len(shape) <= _LONGEST_SHAPE:
            if len(known) >= _MOST_SHAPES:
                known.clear()
            known[shape] = fits
    return fits


def _is_shape(shape: tuple[str, ...], element: Element) -> bool:
    if not element.order.keys() >= set(shape):
        return False
    positions = [element.order[name] for name in shape]
    counts = Counter(shape)
    return positions == sorted(positions) and all(
        (member.many or counts[member.name] <= 1) and (not member.required or counts[member.name] > 0)
        for member in element.members
    )


def _plain(node: Node, element: Element) -> bool:
    """Whether there is nothing to say of a text, as of nearly every one; False where it takes a closer look."""
    text = node.text
    if node.attributes or node.children or not text:
        return False
    match element.kind:
        case Kind.TEXT:
            return not text.isspace()
        case Kind.CHOICE:
            return text in element.allowed
        case Kind.TIME:
            return values.parse_time(text) is not None
        case _:
            return False


def _time_complaint(name: str, text: str) -> str:
    form = f"{name} must be YYYY-MM-DDThh:mm:ss±hh:mm"
    if not text:
        return f"{form}; it is empty"
    if text[-1] in "zZ":
        return f"{form}; UTC is written -00:00, not Z"
    if " " in text:
        return f"{form}; T stands between date and time, not a space"
    if "." in text:
        return f"{form}; without a fraction of a second"
    if len(text) == len("YYYY-MM-DDThh:mm:ss"):
        return f"{form}; the offset from UTC is missing"
    if len(text) == len("YYYY-MM-DDThh:mm:ss±hh:mm"):
        return f"{form}, a date and time that exist"
    return form
