from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cap.compose import Translation, compose, geocode_area, polygon_area
from broker.cap.level import Level
from broker.cap.model import Alert, Area, MsgType, Status
from broker.cap.segments import segments
from broker.errors import ConfigError
from broker.rendition.budget import parts
from broker.rendition.context import VARIABLES, Context, context_of
from broker.rendition.lint import FAMILIES, lint, missing, samples
from broker.rendition.templates import FIELDS, MARKS, RenditionError, TemplateSet
from broker.types import CHANNELS, ChannelName, Phase
from tests.support.places import ROOT, regions

TEMPLATES = TemplateSet.load(ROOT / "templates")
SENT = datetime(2025, 8, 10, 15, 5, tzinfo=UTC)
GOOD = "{% block action %}走{% endblock %}{% block text %}{{ place }}{{ expires }}{{ self.action() }}{% endblock %}"


def an_alert(area: Area | None = None, **changes: object) -> Alert:
    return compose(
        "T1",
        "cq-met@warning.example",
        SENT,
        "11B03",
        "暴雨",
        Level.RED,
        "暴雨红色预警",
        "过去3小时降雨100毫米。",
        "立即转移到高处。",
        areas=[area or polygon_area("重庆市合川区", [(30, 106), (30, 107), (31, 107)])],
        expires=SENT + timedelta(hours=6),
        sender_name="合川区气象台",
        translations=[
            Translation("en", "Rainstorm", "Rainstorm", "Heavy rain.", "Move to high ground.", "Hechuan Station")
        ],
        **changes,  # type: ignore[arg-type]
    )


def context(
    language: str = "zh-CN",
    area: Area | None = None,
    *,
    phase: Phase = Phase.WARNING,
    replaces: tuple[str, ...] = (),
    **changes: object,
) -> Context:
    alert = an_alert(area, **changes)
    (segment,) = segments(alert)
    assert segment.expires is not None
    info = segment.best_info(language)
    return context_of(
        alert,
        segment,
        info,
        language=language,
        regions=regions(),
        expires=segment.expires.instant,
        plays=3,
        phase=phase,
        replaces=replaces,
    )


def made(tmp_path: Path, text: str, name: str = "sms/zh-CN/default.j2") -> TemplateSet:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return TemplateSet.load(tmp_path)


def test_a_short_message_says_who_where_until_when_and_what_to_do_before_anything_else() -> None:
    text = str(TEMPLATES.render(ChannelName.SMS, "default", context()).content["text"])
    assert text.startswith("【合川区气象台】合川区，8月11日5时05分前：立即转移到高处。暴雨红色预警。")
    assert parts(text) <= 3


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_content_has_exactly_the_keys_that_the_channel_relies_on(channel: ChannelName, language: str) -> None:
    content = TEMPLATES.render(channel, "default", context(language)).content
    common = {"alert", "event", "event_name", "level", "language", "sender_name", "expires", "exercise"}
    common |= {"phase", "replaces"}
    extra = {"plays"} if channel is ChannelName.BROADCAST else set()
    assert content.keys() == common | extra | set(FIELDS[channel])
    assert content["level"] == "Red"
    assert content["event"] == "11B03"
    assert content["language"] == language
    assert content["expires"] == int((SENT + timedelta(hours=6)).timestamp() * 1000)
    assert content["exercise"] is False
    assert all("\n" not in str(value) for value in content.values())


@pytest.mark.parametrize("name", sorted(TEMPLATES))
@pytest.mark.parametrize("status", [status for status in Status if status is not Status.ACTUAL])
def test_every_text_of_what_is_not_actual_begins_with_its_mark(name: str, status: Status) -> None:
    channel, language, stem = name.split("/")
    family = stem if stem in FAMILIES.values() else "default"
    event = stem if stem not in ("default", family) else ""
    for sample in samples(language, event, family):
        content = TEMPLATES.render(ChannelName(channel), family, replace(sample, status=status)).content
        mark = MARKS[status][0 if language == "zh-CN" else 1]
        for field in set(FIELDS[ChannelName(channel)]) - {"link"}:
            assert str(content[field]).startswith(mark)
            assert str(content[field]).count(mark) == 1
        assert content["exercise"] is True


# ── what a message tells its readers ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("phase", Phase)
def test_content_says_what_it_is_and_what_it_replaces(channel: ChannelName, language: str, phase: Phase) -> None:
    told = context(language, phase=phase, replaces=("0198a", "0198b"), note="误发。")
    content = TEMPLATES.render(channel, FAMILIES.get(phase, "default"), told).content
    assert content["phase"] == str(phase)
    assert content["replaces"] == ([] if phase is Phase.WARNING else ["0198a", "0198b"])


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(("language", "words"), [("zh-CN", ("更新",)), ("en", ("replac", "update"))])
def test_only_who_was_told_before_reads_of_an_update(
    channel: ChannelName, language: str, words: tuple[str, ...]
) -> None:
    def said(phase: Phase) -> str:
        content = TEMPLATES.render(
            channel, "default", context(language, phase=phase, msg_type=MsgType.UPDATE)
        ).content
        return " ".join(str(content[field]) for field in FIELDS[channel]).casefold()

    assert not any(word in said(Phase.WARNING) for word in words)
    if channel is not ChannelName.SIGNAGE:  # a screen shows what is; it has no reader who knows what was
        assert any(word in said(Phase.UPDATE) for word in words)


def test_a_short_message_that_a_warning_is_lifted_says_who_where_what_why_and_what_now() -> None:
    told = context(phase=Phase.CANCEL, note="系误发")
    told = replace(told, description="", instruction="")
    text = str(TEMPLATES.render(ChannelName.SMS, "cancel", told).content["text"])
    assert text == (
        "【合川区气象台】预警解除：合川区，8月10日23时5分发布的暴雨红色预警已经解除。"
        "说明：系误发。不必再按这条预警行动，请留意最新预警。"
    ).replace("23时5分", "23时05分")
    own = replace(told, instruction="可以返回家中。")
    assert str(TEMPLATES.render(ChannelName.SMS, "cancel", own).content["text"]).endswith(
        "说明：系误发。可以返回家中。"
    )


def test_who_is_no_longer_concerned_is_not_told_that_the_danger_is_over() -> None:
    text = str(TEMPLATES.render(ChannelName.SMS, "clear", context(phase=Phase.CLEAR, note="升级")).content["text"])
    assert "您已不在暴雨红色预警的范围内" in text
    assert "周边仍有危险" in text
    assert "解除" not in text
    assert "升级" not in text, "why others are warned anew is not for them"


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("family", ["cancel", "clear"])
def test_an_end_reads_nothing_like_a_warning(channel: ChannelName, language: str, family: str) -> None:
    """The old instruction must not be repeated: who hears it again would run again."""
    told = replace(context(language, phase=Phase(family)), description="", instruction="")
    content = TEMPLATES.render(channel, family, told).content
    said = " ".join(str(content[field]) for field in FIELDS[channel])
    assert "转移" not in said
    assert "Move" not in said
    assert "有效" not in said
    assert "until" not in said
    assert told.event_name.casefold() in said.casefold()


@pytest.mark.parametrize("family", ["cancel", "clear"])
def test_the_end_of_a_drill_is_marked_as_the_drill_was(family: str) -> None:
    told = context(phase=Phase(family), status=Status.EXERCISE)
    for channel in CHANNELS:
        content = TEMPLATES.render(channel, family, told).content
        assert all(str(content[field]).startswith("【演练】") for field in FIELDS[channel] if field != "link")
        assert content["exercise"] is True


def test_a_cancel_may_say_that_a_drill_went_out_as_real() -> None:
    told = context(phase=Phase.CANCEL, note="【演练】信息误发")
    assert "【演练】信息误发" in str(TEMPLATES.render(ChannelName.SMS, "cancel", told).content["text"])
    with pytest.raises(RenditionError):
        TEMPLATES.render(ChannelName.SMS, "default", replace(context(), description="【演练】信息误发。"))


def test_an_end_may_have_a_template_for_an_event() -> None:
    assert TEMPLATES.find(ChannelName.SMS, "zh-CN", "cancel", "11B03") == "sms/zh-CN/cancel"


@given(
    st.sampled_from(["zh-CN", "en"]), st.sampled_from(["cancel", "clear"]), st.text("雨已停。 abc.", max_size=300)
)
def test_whatever_the_note_says_a_short_message_of_an_end_keeps_its_budget(
    language: str, family: str, note: str
) -> None:
    told = replace(
        context(language, phase=Phase(family)), note=" ".join(note.split()), instruction="", description=""
    )
    assert TEMPLATES.render(ChannelName.SMS, family, told).findings == ()


def test_a_channel_and_language_in_use_must_be_able_to_say_that_it_is_over(tmp_path: Path) -> None:
    wanted = [("p.yaml:3", ChannelName.SMS, "zh-CN", "default"), ("p.yaml:9", ChannelName.SMS, "zh-CN", "default")]
    templates = made(tmp_path, GOOD)
    assert [(problem.place, problem.message) for problem in missing(templates, wanted)] == [
        ("p.yaml:3", "no template templates/sms/zh-CN/cancel.j2"),
        ("p.yaml:3", "no template templates/sms/zh-CN/clear.j2"),
    ]
    made(tmp_path, GOOD, "sms/zh-CN/cancel.j2")
    assert missing(made(tmp_path, GOOD, "sms/zh-CN/clear.j2"), wanted) == []
    both = [("p.yaml:3", channel, language, "default") for channel in CHANNELS for language in ("zh-CN", "en")]
    assert missing(TEMPLATES, both) == []


def test_the_templates_that_come_with_it_have_no_finding() -> None:
    assert lint(TEMPLATES) == []


def test_a_template_that_writes_the_mark_itself_does_not_get_it_twice(tmp_path: Path) -> None:
    templates = made(tmp_path, GOOD.replace("{% block text %}", "{% block text %}【演练】"))
    text = templates.render(ChannelName.SMS, "default", context(status=Status.EXERCISE)).content["text"]
    assert str(text).count("【演练】") == 1


def test_a_mark_in_the_middle_of_a_text_does_not_stand_for_the_one_at_its_start(tmp_path: Path) -> None:
    templates = made(tmp_path, GOOD.replace("{{ place }}", "{{ place }}【演练】"))
    text = templates.render(ChannelName.SMS, "default", context(status=Status.EXERCISE)).content["text"]
    assert str(text).startswith("【演练】合川区【演练】")


def test_an_actual_message_that_says_it_is_a_drill_is_not_rendered(tmp_path: Path) -> None:
    templates = made(tmp_path, GOOD.replace("{% block text %}", "{% block text %}[Exercise] "))
    with pytest.raises(RenditionError) as caught:
        templates.render(ChannelName.SMS, "default", context())
    assert caught.value.problems[0].rule == "rendition.contradiction"


def test_the_key_sentence_is_spoken_twice_in_words() -> None:
    speech = str(TEMPLATES.render(ChannelName.BROADCAST, "default", context()).content["speech"])
    assert speech.count("合川区暴雨红色预警，八月十一日五时零五分前有效。立即转移到高处。") == 2
    assert "过去三小时降雨一百毫米" in speech
    assert not set(speech) & set("0123456789（）()【】")


def test_a_place_gets_its_district_from_the_code_and_loses_the_city() -> None:
    area = geocode_area("重庆市白马镇、羊角街道", ["500156101000", "500156004000"])
    assert context(area=area).place == "武隆区白马镇、羊角街道"
    assert context(area=geocode_area("武隆区白马镇", ["500156101000"])).place == "武隆区白马镇"
    assert context(area=geocode_area("重庆市", ["500000000000"])).place == "重庆市"


def test_the_template_of_the_event_goes_before_the_general_one() -> None:
    assert TEMPLATES.find(ChannelName.SMS, "zh-CN", "default", "11B03") == "sms/zh-CN/11B03"
    assert TEMPLATES.find(ChannelName.SMS, "zh-CN", "default", "11G01") == "sms/zh-CN/default"
    assert TEMPLATES.find(ChannelName.SMS, "zh-CN", "duty", "11B03") is None
    assert TEMPLATES.find(ChannelName.SMS, "fr", "default", "11B03") is None


def test_a_family_of_templates_has_its_own_files(tmp_path: Path) -> None:
    made(tmp_path, GOOD, "sms/zh-CN/duty.j2")
    templates = made(tmp_path, GOOD, "sms/zh-CN/duty.11B03.j2")
    assert templates.find(ChannelName.SMS, "zh-CN", "duty", "11B03") == "sms/zh-CN/duty.11B03"
    assert templates.find(ChannelName.SMS, "zh-CN", "duty", "11A51") == "sms/zh-CN/duty"
    assert lint(templates) == []


def test_without_a_template_nothing_is_rendered() -> None:
    with pytest.raises(RenditionError):
        TEMPLATES.render(ChannelName.SMS, "duty", context())


def test_an_empty_text_is_an_error_and_an_empty_link_is_not(tmp_path: Path) -> None:
    templates = made(tmp_path, "{% block action %}走{% endblock %}{% block text %} {% endblock %}")
    with pytest.raises(RenditionError) as caught:
        templates.render(ChannelName.SMS, "default", context())
    assert caught.value.problems[0].rule == "rendition.empty"
    assert TEMPLATES.render(ChannelName.APP, "default", context()).content["link"] == ""


def test_control_characters_and_line_breaks_of_a_message_do_not_reach_a_surface() -> None:
    alert = an_alert()
    infos = tuple(replace(info, description="一\n二\x07三\u202e四") for info in alert.infos)
    (segment,) = segments(replace(alert, infos=infos))
    got = context_of(
        alert, segment, segment.infos[0], language="zh-CN", regions=regions(), expires=SENT + timedelta(hours=1)
    )
    assert got.description == "一 二三四"


def test_a_message_over_its_budget_is_sent_whole_and_reported(tmp_path: Path) -> None:
    templates = made(tmp_path, GOOD.replace("{{ place }}", "{{ place }}{{ description }}"))
    words = templates.render(ChannelName.SMS, "default", replace(context(), description="雨" * 300))
    assert str(words.content["text"]).count("雨") == 300
    assert [finding.rule for finding in words.findings] == ["rendition.budget"]


# ── what a template must not do ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("{{ plaec }}", "template.unknown_field"),
        ("{{ place | uper }}", "template.unknown_filter"),
        ("{{ place.__class__ }}", "template.unsafe"),
        ("{{ place.upper() }}", "template.unsafe"),
        ("{{ self.__init__ }}", "template.unsafe"),
        ("{{ ''.__class__.__mro__ }}", "template.unsafe"),
        ("{{ range(9) }}", "template.unsafe"),
        ("{% for i in range(999999999) %}x{% endfor %}", "template.unsafe"),
        ("{{ place * 999999999 }}", "template.unsafe"),
        ("{{ 9 ** 99999 }}", "template.unsafe"),
        ("{% include 'sms/zh-CN/default.j2' %}", "template.unsafe"),
        ("{% import 'x.j2' as x %}", "template.unsafe"),
        ("{% macro m() %}{% endmacro %}", "template.unsafe"),
        ("{{ status }}", "template.unknown_field"),
        ("{% block text %}", "template.syntax"),
        ("{{ place", "template.syntax"),
        ("{% extends 'nowhere.j2' %}", "template.extends"),
        ("{% extends '../../etc/passwd' %}", "template.extends"),
        ("{% extends place %}", "template.unsafe"),
    ],
)
def test_an_unsafe_or_mistaken_construct_is_refused_with_its_line(tmp_path: Path, body: str, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(tmp_path, f"{{# a comment\n#}}\n{body}")
    assert rule in {problem.rule for problem in caught.value.problems}
    assert all(":" in problem.place.rpartition("/")[2] for problem in caught.value.problems)


def test_an_unknown_field_is_told_with_the_likely_right_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'instruction'"):
        made(tmp_path, "{{ instructon }}")


def test_a_template_in_the_folder_of_no_channel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'signage'"):
        made(tmp_path, GOOD, "signag/zh-CN/default.j2")


def test_templates_see_no_more_than_the_documented_fields() -> None:
    assert "status" not in VARIABLES
    assert {"place", "expires", "instruction", "level", "event_name", "sender_name"} <= VARIABLES


# ── lint ──────────────────────────────────────────────────────────────────────────────────────────────


def rules(templates: TemplateSet) -> set[str]:
    return {problem.rule for problem in lint(templates)}


def test_a_good_template_has_no_finding(tmp_path: Path) -> None:
    assert rules(made(tmp_path, GOOD)) == set()


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("{{ place }}", "", "template.place"),
        ("{{ expires }}", "", "template.time"),
        ("{{ self.action() }}", "", "template.action"),
        ("{% block action %}走{% endblock %}", "{% block action %}{% endblock %}", "template.action"),
        (
            "{{ place }}",
            "{{ place }}{{ description }}{{ description }}{{ description }}{{ headline }}" * 2,
            "template.budget",
        ),
    ],
)
def test_lint_finds_a_short_message_that_lacks_something(tmp_path: Path, old: str, new: str, rule: str) -> None:
    assert rule in rules(made(tmp_path, GOOD.replace(old, new)))


SCRIPT = """{% block action %}走{% endblock %}
{% block key %}{{ place }}{{ expires }}{{ self.action() }}{% endblock %}
{% block title %}{{ place }}{% endblock %}
{% block text %}{{ self.key() }}{% endblock %}
{% block speech %}{{ self.key() | spoken(language) }}{{ self.key() | spoken(language) }}{% endblock %}
"""


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("", "", None),
        ("{{ self.key() | spoken(language) }}{{", "{{", "template.twice"),
        ("{% block speech %}", "{% block speech %}{{ description }}", "template.spoken"),
        ("{% block key %}", "{% block other %}", "rendition.failed"),
        ("{% block text %}{{ self.key() }}", "{% block text %}{{ place }}", "template.action"),
    ],
)
def test_lint_finds_a_script_that_cannot_be_spoken(tmp_path: Path, old: str, new: str, rule: str | None) -> None:
    found = rules(made(tmp_path, SCRIPT.replace(old, new), "broadcast/zh-CN/default.j2"))
    assert rule in found if rule else found == set()
