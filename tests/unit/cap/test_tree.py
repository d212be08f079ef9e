"""The tree between bytes and model is gone as soon as the message is read."""

from __future__ import annotations

import gc
from datetime import UTC, datetime

from broker.cap.document import read
from broker.cap.tree import Node
from broker.demo.alerts import day


def test_nothing_of_a_tree_is_left_for_the_garbage_collector() -> None:
    bodies = [alert.body for alert in day(datetime.now(UTC))]
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(each, Node) for each in gc.get_objects())
        for body in bodies:
            assert read(body, "xml").valid
            read(body.replace(b"<sender>", b"<sender>x y").replace(b"<scope>Public</scope>", b""), "xml")
        after = sum(isinstance(each, Node) for each in gc.get_objects())
    finally:
        gc.enable()
    assert after == before


def test_the_places_of_a_tree_are_known_until_it_is_dissolved() -> None:
    root = Node("alert")
    info = Node("info", parent=root)
    leaf = Node("event", "x", parent=info)
    assert leaf.place == "/alert/info[1]/event"
    root.dissolve()
    assert (leaf.parent, info.parent) == (None, None)
    assert root.children == [info]
