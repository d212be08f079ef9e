"""Rules of the area element: polygons, circles, geocodes, heights (CAP 1.2, 3.2.4 and 3.3.1)."""

from __future__ import annotations

from broker.cap import values
from broker.cap.context import Context, report_repeated
from broker.cap.rings import ring_problems
from broker.cap.tree import Node

_SHAPES = ("polygon", "circle", "geocode")
_MANY_POINTS = 100
_FEWEST_POINTS = 4
_HALF_ROUND_KM = 20_038
"""Half of the Earth's circumference at the equator: no point lies further from a centre."""


def check_area(node: Node, context: Context) -> None:
    """Report what is wrong with one area."""
    if not any(node.first(name) for name in _SHAPES):
        context.report.at(node, "cap.area.unlocated", "area has no polygon, circle or geocode", "")
    elif node.first("polygon") is None and node.first("circle") is None:
        message = "area has geocodes only: who does not know the code system cannot tell where it is"
        context.report.at(node, "cap.geocode.alone", message, "")
    for polygon in node.all("polygon"):
        _polygon(polygon, context)
    for circle in node.all("circle"):
        _circle(circle, context)
    geocodes = node.all("geocode")
    keys = [f"{code.value('valueName') or ''} {code.value('value') or ''}" for code in geocodes]
    report_repeated(context, geocodes, "cap.geocode.repeated", keys, "geocode")
    _heights(node, context)


def _polygon(node: Node, context: Context) -> None:
    words = values.words(node.text)
    if not words:
        context.report.at(node, "cap.polygon.empty", "polygon is empty")
        return
    if " ".join(words) != node.text:
        message = "polygon has more white space than single spaces between pairs"
        context.report.at(node, "cap.polygon.whitespace", message)
    if len(words) > context.limits.max_points:
        message = f"polygon has {len(words)} points, the limit is {context.limits.max_points}"
        context.report.at(node, "cap.polygon.limit", message)
        context.skip(node, "the points and the shape of the polygon were", "it has too many points")
        return
    pairs = values.parse_pairs(node.text)
    points = [pair for pair in pairs if pair is not None]
    if len(points) < len(pairs):
        first = pairs.index(None)
        message = f"{len(pairs) - len(points)} of {len(pairs)} are not lat,lon; the first is number {first + 1}"
        context.report.at(node, "cap.polygon.syntax", message, words[first])
        context.skip(node, "the shape of the polygon was", "it has a point that cannot be read")
        return
    outside = [index for index, point in enumerate(points) if not _in_range(point)]
    if outside:
        _outside(node, context, points, words, outside)
        context.skip(node, "the shape of the polygon was", "it has a point off the globe")
    else:
        for kind, message in ring_problems(points):
            context.report.at(node, f"cap.polygon.{kind}", message)
        if len(points) < _FEWEST_POINTS or points[0] != points[-1]:
            context.skip(node, "whether the polygon crosses itself was", "it is no closed ring")
    if len(points) > _MANY_POINTS:
        context.report.at(node, "cap.polygon.nodes", f"polygon has {len(points)} points")


def _outside(
    node: Node, context: Context, points: list[tuple[float, float]], words: list[str], outside: list[int]
) -> None:
    swapped = all(_in_range((longitude, latitude)) for latitude, longitude in points)
    rule = "cap.polygon.swapped" if swapped else "cap.polygon.range"
    message = f"{len(outside)} of {len(points)} pairs lie off the globe; the first is number {outside[0] + 1}"
    if swapped:
        message += "; latitude comes first: are the two swapped?"
    context.report.at(node, rule, message, words[outside[0]])


def _in_range(point: tuple[float, float]) -> bool:
    return -90 <= point[0] <= 90 and -180 <= point[1] <= 180


def _circle(node: Node, context: Context) -> None:
    words = values.words(node.text)
    center = values.parse_pair(words[0]) if len(words) == 2 else None
    radius = values.parse_number(words[1]) if len(words) == 2 else None
    if center is None or radius is None:
        context.report.at(node, "cap.circle.syntax", "circle must be lat,lon, a space, and a radius in kilometres")
        return
    if not _in_range(center):
        if _in_range((center[1], center[0])):
            message = "the centre lies off the globe; latitude comes first: are the two swapped?"
            context.report.at(node, "cap.circle.swapped", message)
        else:
            context.report.at(node, "cap.circle.range", "the centre lies off the globe")
    if radius < 0:
        context.report.at(node, "cap.circle.radius", "the radius is negative")
    elif radius == 0:
        context.report.at(node, "cap.circle.zero", "the radius is zero: a point, not an area")
    elif radius > _HALF_ROUND_KM:
        context.report.at(node, "cap.circle.large", "the radius reaches more than half round the Earth")


def _heights(node: Node, context: Context) -> None:
    altitude, ceiling = node.first("altitude"), node.first("ceiling")
    if ceiling is None:
        return
    if altitude is None:
        context.report.at(ceiling, "cap.ceiling.altitude", "ceiling needs altitude")
        return
    low = values.parse_decimal(values.collapse(altitude.text))
    high = values.parse_decimal(values.collapse(ceiling.text))
    if low is None or high is None:
        context.skip(ceiling, "the order of altitude and ceiling was", "one of them is no number")
    elif high < low:
        context.report.at(ceiling, "cap.ceiling.order", "ceiling is below altitude")
