"""Warnings that are taken back or replaced, as loudspeakers over a real server hear of it."""

from __future__ import annotations

from collections import Counter

import pytest

from broker.ledger.state import Rank, rank_of

LONG = 600.0
"""Seconds that a message sounds where it must not end by itself during a test."""


def heard(world, key: str) -> Counter[tuple[str, str]]:
    """What terminals logged of a message: (address, event)."""
    return Counter((str(line["address"]), str(line["event"])) for line in world.events() if line["message"] == key)


def count(world, key: str, event: str) -> int:
    return sum(n for (_, own), n in heard(world, key).items() if own == event)


async def send(world, channel, batch, ordinals=None) -> None:
    outcomes = await channel.send(world.window(batch, ordinals), batch.rendition, lambda: False)
    assert {rank_of(int(state)) for state in outcomes.states} == {Rank.SENT}


def cancel(world, number: int = 9, **how):
    return world.batch(number, **{"alert": "c1", "phase": "cancel", "replaces": ["a1"], **how})


@pytest.mark.parametrize("phase", ["cancel", "clear"])
async def test_what_sounds_is_stopped_and_the_all_clear_is_spoken(hamlet, phase) -> None:
    village, channel = await hamlet.village(play=LONG), await hamlet.channel()
    await send(hamlet, channel, hamlet.batch(1))
    await hamlet.until(lambda: all(village.terminal(own).playing == "a1/1" for own in hamlet.ebrids))
    for own in hamlet.ebrids:
        village.terminal(own).play_seconds = 0.05
    await channel.withdraw("a1")
    await send(hamlet, channel, cancel(hamlet, phase=phase))
    await hamlet.until(lambda: hamlet.counts(9)["presented"] == 16)
    assert count(hamlet, "a1/1", "withdrawn") == count(hamlet, "c1/9", "presented") == 16
    assert count(hamlet, "a1/1", "presented") == 0
    assert (hamlet.counts(1)["delivered"], hamlet.counts(1)["presented"]) == (16, 0)
    assert [village.terminal(own).playing for own in hamlet.ebrids] == [None] * 16


async def test_terminals_that_were_away_play_neither_the_warning_nor_the_all_clear(hamlet) -> None:
    village, channel = await hamlet.village(), await hamlet.channel()
    away = hamlet.ebrids[:5]
    for own in away:
        await village.go_offline(own)
    await send(hamlet, channel, hamlet.batch(1))
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 11)
    await channel.withdraw("a1")
    await send(hamlet, channel, cancel(hamlet))
    await hamlet.until(lambda: hamlet.counts(9)["presented"] == 11)
    for own in away:
        village.go_online(own)
    await hamlet.until(lambda: hamlet.counts(9)["delivered"] == 16)
    # Whatever they had to say before comes before what they say of the next warning.
    await send(hamlet, channel, hamlet.batch(2, alert="a2"))
    await hamlet.until(lambda: hamlet.counts(2)["presented"] == 16)
    for own in away:
        assert [
            line["event"] for line in hamlet.events() if (line["address"], line["message"]) == (own, "a1/1")
        ] == [
            "received",
            "delivered",
            "withdrawn",
        ]
        assert [
            line["event"] for line in hamlet.events() if (line["address"], line["message"]) == (own, "c1/9")
        ] == [
            "received",
            "delivered",
        ]
    assert hamlet.counts(1)["delivered"] == 16
    assert hamlet.counts(1)["presented"] == hamlet.counts(9)["presented"] == 11


async def test_an_update_takes_the_place_of_what_sounds(hamlet) -> None:
    village, channel = await hamlet.village(play=LONG), await hamlet.channel()
    await send(hamlet, channel, hamlet.batch(1))
    await hamlet.until(lambda: all(village.terminal(own).playing == "a1/1" for own in hamlet.ebrids))
    update = hamlet.batch(2, alert="u1", phase="update", replaces=["a1"], level="Blue")
    await send(hamlet, channel, update)
    await hamlet.until(lambda: all(village.terminal(own).playing == "u1/2" for own in hamlet.ebrids))
    assert count(hamlet, "a1/1", "withdrawn") == 16


async def test_the_cancel_of_a_drill_cannot_stop_a_warning_nor_speak_where_there_was_no_drill(hamlet) -> None:
    village, channel = await hamlet.village(play=LONG), await hamlet.channel()
    await send(hamlet, channel, hamlet.batch(1))
    await hamlet.until(lambda: all(village.terminal(own).playing == "a1/1" for own in hamlet.ebrids))
    await send(hamlet, channel, cancel(hamlet, exercise=True))
    # The last terminal is in training and obeys the Cancel of a drill, of which it has none.
    await hamlet.until(lambda: hamlet.counts(9)["failed"] == 15 and hamlet.counts(9)["delivered"] == 1)
    assert all(village.terminal(own).playing == "a1/1" for own in hamlet.ebrids)
    assert count(hamlet, "a1/1", "withdrawn") == 0
    await send(hamlet, channel, cancel(hamlet, 10))
    await hamlet.until(lambda: all(village.terminal(own).playing == "c1/10" for own in hamlet.ebrids))


async def test_a_village_that_was_killed_remembers_what_was_taken_back(hamlet) -> None:
    village, channel = await hamlet.village(play=LONG), await hamlet.channel()
    await send(hamlet, channel, hamlet.batch(1), [0, 1, 2, 3])
    await hamlet.until(lambda: all(village.terminal(own).playing == "a1/1" for own in hamlet.ebrids[:4]))
    await send(hamlet, channel, cancel(hamlet))
    await hamlet.until(lambda: hamlet.counts(9)["delivered"] == 16)
    await village.stop(politely=False)
    village = await hamlet.village(play=0.05)
    await hamlet.until(lambda: hamlet.counts(9)["presented"] == 4)
    await send(hamlet, channel, hamlet.batch(1), list(range(16)))
    await hamlet.until(lambda: hamlet.counts(1)["delivered"] == 16)
    await send(hamlet, channel, hamlet.batch(2, alert="a2"))
    await hamlet.until(lambda: hamlet.counts(2)["presented"] == 16)
    assert count(hamlet, "a1/1", "presented") == 0
    assert count(hamlet, "c1/9", "presented") == 4
