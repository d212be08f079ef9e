"""What the API answers and asks, as pydantic models with an example each: OpenAPI's schemas are made from them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from broker.api.declare import Shown, Strict
from broker.api.said import said

Id = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{21}$"})]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Level = Literal["Red", "Orange", "Yellow", "Blue"]
Status = Literal["Actual", "Exercise", "System", "Test", "Draft"]
MsgType = Literal["Alert", "Update", "Cancel", "Ack", "Error"]
State = Literal[
    "received",
    "awaiting_release",
    "released",
    "planned",
    "sending",
    "completed",
    "rejected",
    "cancelled",
    "expired",
    "superseded",
    "stopped",
]
_ID = "1a20ae80838eb9593e15d"
_SENT = "2026-11-24T00:14:56.000+00:00"


def _example(**members: object) -> dict[str, Any]:
    return {"examples": [members]}


class ProblemItem(Shown):
    """One thing that is wrong."""

    place: str = said(
        "Where: an XPath, a JSON Pointer, a header, a parameter.", "位置：XPath、JSON 指针、头部或参数。"
    )
    rule: str = said("Stable id of the rule that is broken.", "所违反规则的固定标识。")
    message: str = said("A sentence for people; it may change.", "供人阅读的说明，可能调整。")
    value: str | None = said("What stood there, shortened.", "原值（可能截短）。")


class ProblemBody(Shown):
    """Why a call was refused (RFC 9457)."""

    type: str = said("`/problems/CODE` on this server.", "本服务器上的 `/problems/代码`。")
    title: str = said("The code in words.", "代码的文字说明。")
    status: int = said("The HTTP status.", "HTTP 状态码。", ge=400, le=599)
    code: str = said("Stable: programs may rely on it.", "固定不变，程序可以依赖。")
    detail: str = said("What happened this time.", "本次的具体情况。")
    problems: list[ProblemItem] | None = said(
        "Everything that is wrong with the input, or that changed.", "输入中的全部问题，或全部变化。", default=None
    )


class Accepted(Shown):
    """A message that is durable now."""

    model_config = ConfigDict(
        json_schema_extra=_example(
            id=_ID, identifier="50000041600000_20261124081456", state="received", url=f"/v1/alerts/{_ID}"
        )
    )

    id: Id = said("Ours, for the other calls.", "本系统的编号，用于其他调用。")
    identifier: str = said("The message's own.", "消息自身的标识。")
    state: Literal["received"]
    url: str = said("Where to follow it.", "跟踪地址。")


class Brief(Shown):
    """The facts of one message."""

    id: Id
    identifier: str
    sender: str
    sent: Time
    department: str
    status: Status
    msgType: MsgType  # noqa: N815 - CAP's name
    scope: Literal["Public", "Restricted", "Private"]
    level: Level | None = said("Of the gravest segment.", "最严重部分的级别。")
    event: str = said("National event code of the gravest segment.", "最严重部分的国家事件代码。")
    headline: str
    state: State
    received: Time
    expires: Time
    released: Time | None
    planned: Time | None
    completed: Time | None


class AlertPage(Shown):
    """One page of the department's alerts, newest first."""

    alerts: list[Brief]
    next: str | None = said(
        "Cursor of the next page: send it back as `cursor`, with the same filters.",
        "下一页的游标：以 `cursor` 送回，筛选条件不变。",
    )


class Step(Shown):
    """One move or note in the history of an alert."""

    at: Time
    state: State
    who: str = said("Id of a token, or `fenghuo`.", "令牌编号，或 `fenghuo`。")
    why: str


class History(Shown):
    """Everything that happened to an alert, oldest first."""

    history: list[Step]


class ReferenceTo(Shown):
    """A message that this one refers to."""

    sender: str
    identifier: str
    sent: Time
    alert: Id | None = said("Its id, if it was accepted here by now.", "如已在此接收，其编号。")
    url: str | None


class ReferredBy(Shown):
    """A message that refers to this one."""

    id: Id
    department: str
    sender: str
    identifier: str
    sent: Time
    msgType: MsgType  # noqa: N815 - CAP's name
    state: State
    url: str


class References(Shown):
    """What a message refers to, and who refers to it."""

    references: list[ReferenceTo]
    referred_by: list[ReferredBy]


class Counts(Shown):
    """Recipients of one channel, cumulative: presented ⊂ delivered ⊂ sent ⊂ planned."""

    planned: int
    sent: int
    delivered: int
    presented: int
    acknowledged: int
    failed: int
    withheld: int
    expired: int
    final: int


class AlertState(Brief, References, History):
    """Everything about one alert."""

    preview: str | None = said("The preview that was released.", "签发时所依据的预览。")
    reason: str | None = said("Why it was stopped or rejected.", "被停止或驳回的原因。")
    channels: dict[str, Counts] = said("Counts by channel.", "按渠道的计数。")


class SegmentShown(Shown):
    """What one segment of the alert becomes."""

    model_config = ConfigDict(extra="allow")

    segment: int
    event: str
    level: Level | None
    verdict: str
    rules: list[str] = said("Rules of the policy that decided.", "起作用的策略规则。")
    channels: dict[str, int]
    problems: list[str]


class DistrictShown(Shown):
    """Recipients in one district."""

    district: str = said("Six digits, GB/T 2260.", "六位代码，GB/T 2260。")
    channels: dict[str, int]


class RenditionShown(Shown):
    """The words as they will be read."""

    model_config = ConfigDict(extra="allow")

    segment: int
    channel: str
    language: str
    template: str
    phase: Literal["warning", "update", "clear", "cancel"]
    content: dict[str, JsonValue]
    recipients: int


class Preview(Shown):
    """What releasing the alert would do, frozen until `valid_until`."""

    model_config = ConfigDict(extra="allow")

    preview: str = said(
        "SHA-256 over all that release depends on; the release names it.",
        "签发所依赖全部内容的 SHA-256；签发时须指明。",
    )
    url: str
    made: Time
    valid_until: Time
    alert: Id
    identifier: str
    status: Status
    msgType: MsgType  # noqa: N815 - CAP's name
    people: int
    recipients: int
    no_longer_concerned: int
    channels: dict[str, int]
    districts: list[DistrictShown]
    segments: list[SegmentShown]
    renditions: list[RenditionShown]
    notes: list[str]
    minutes_to_90: dict[str, float] = said(
        "Estimated minutes until nine of ten have it, by channel; no part of the hash.",
        "预计九成接收者收到所需分钟数（按渠道）；不计入哈希。",
    )


_LINE = r"^[^\x00-\x1f\x7f-\x9f\ufffe\uffff]*[^\s\x00-\x1f\x7f-\x9f\ufffe\uffff][^\x00-\x1f\x7f-\x9f\ufffe\uffff]*$"
"""One line that says something, of characters that XML can carry."""


def _line(text: str) -> str:
    if not re.fullmatch(_LINE, text) or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("one line of text is expected, without control characters, and not blank")
    return text


Reason = Annotated[
    str,
    Field(min_length=1, max_length=500),
    AfterValidator(_line),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 500, "pattern": _LINE}),
]


class ReleaseRequest(Strict):
    """The second person names what they were shown."""

    model_config = ConfigDict(json_schema_extra=_example(preview="9c" * 32))

    preview: str = said("The `preview` of the preview.", "预览中的 `preview`。", pattern="^[0-9a-f]{64}$")


class RejectRequest(Strict):
    """Why the alert must not go out."""

    model_config = ConfigDict(json_schema_extra=_example(reason="the radar picture was a test pattern"))

    reason: Reason = said("For the department; kept in the history.", "供本部门查阅；记入历史。")


class CancelRequest(Strict):
    """Why the alert is taken back."""

    model_config = ConfigDict(json_schema_extra=_example(reason="issued in error"))

    reason: Reason = said("Goes into the Cancel's `note`.", "写入 Cancel 的 `note`。")


class CorrectedArea(Strict):
    """One area, drawn as CAP 1.2, 3.2.4 draws it."""

    areaDesc: Reason = said("What people call it.", "区域的通称。")  # noqa: N815 - CAP's name
    segment: Annotated[int, Field(ge=1, le=100)] | None = said(
        "Number of the segment that it belongs to; needed where the alert has several.",
        "所属部分的序号；预警含多个部分时必填。",
        default=None,
    )
    geocodes: list[Annotated[str, Field(pattern="^[0-9]{6,12}$")]] = said(
        "National division codes.", "国家行政区划代码。", default=[], max_length=1000
    )
    polygons: list[Annotated[str, Field(max_length=60_000, pattern=r"^[-+0-9., ]+$")]] = said(
        "`lat,lon lat,lon …`, closed.", "`纬度,经度 纬度,经度 …`，首尾闭合。", default=[], max_length=100
    )
    circles: list[Annotated[str, Field(max_length=200, pattern=r"^[-+0-9., ]+$")]] = said(
        "`lat,lon radius`, in kilometres.", "`纬度,经度 半径`，单位为千米。", default=[], max_length=100
    )


class CorrectionRequest(Strict):
    """The smaller area that the alert is for, and why."""

    model_config = ConfigDict(
        json_schema_extra=_example(
            areas=[{"areaDesc": "合川区", "geocodes": ["500117"]}], reason="only Hechuan is concerned"
        )
    )

    areas: list[CorrectedArea] = said(
        "All that stays warned.", "继续预警的全部区域。", min_length=1, max_length=100
    )
    reason: Reason = said("Goes into the Update's `note`.", "写入 Update 的 `note`。")


class Alive(Shown):
    """The process answers."""

    status: Literal["alive"]


class Ready(Shown):
    """Whether the broker can accept."""

    status: Literal["ready", "not ready"]
    wrong: list[str]


class AnyJson(Shown):
    """A JSON object that another standard describes."""

    model_config = ConfigDict(extra="allow")
