"""Every call for departments, declared."""

from __future__ import annotations

from typing import Any, Final

from broker.api.alerts import AlertCalls
from broker.api.declare import (
    CAP_XML,
    ETAG,
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    JSON,
    LINK,
    LOCATION,
    Answer,
    Message,
    Operation,
)
from broker.api.lifecycle import LifecycleCalls
from broker.api.listing import AlertQuery
from broker.api.models import (
    Accepted,
    AlertPage,
    AlertState,
    Brief,
    CancelRequest,
    CorrectionRequest,
    History,
    Preview,
    References,
    RejectRequest,
    ReleaseRequest,
)
from broker.api.said import Said
from broker.intake.tokens import Scope

ALERTS: Final = "alerts"
LIFECYCLE: Final = "lifecycle"
_ID: Final[dict[str, dict[str, Any]]] = {
    "id": {"type": "string", "pattern": "^[0-9a-f]{21}$", "example": "1a20ae80838eb9593e15d"}
}
_PREVIEW: Final[dict[str, dict[str, Any]]] = {
    "preview": {"type": "string", "pattern": "^[0-9a-f]{64}$", "example": "9c" * 32}
}
_CAP_MEDIA: Final = (CAP_XML, "application/xml", JSON, "application/cap+json")
_XML: Final = """<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">
  <identifier>50000041600000_20261124081456</identifier>
  <sender>cq-met@warning.example</sender>
  <sent>2026-11-24T08:14:56+08:00</sent>
  <status>Actual</status>
  <msgType>Alert</msgType>
  <scope>Public</scope>
  <info>
    <language>zh-CN</language>
    <category>Met</category>
    <event>暴雨</event>
    <responseType>Shelter</responseType>
    <urgency>Immediate</urgency>
    <severity>Severe</severity>
    <certainty>Likely</certainty>
    <eventCode><valueName>GB/T 35561</valueName><value>11B03</value></eventCode>
    <expires>2026-11-24T14:00:00+08:00</expires>
    <senderName>重庆市气象台</senderName>
    <headline>重庆市气象台发布暴雨橙色预警</headline>
    <description>预计未来3小时合川区降雨量将达50毫米以上。</description>
    <instruction>远离河边和陡坡。</instruction>
    <area>
      <areaDesc>合川区</areaDesc>
      <geocode><valueName>GB/T 2260</valueName><value>500117</value></geocode>
    </area>
  </info>
</alert>
"""
_EXAMPLE_JSON: Final = {
    "identifier": "50000041600000_20261124081456",
    "sender": "cq-met@warning.example",
    "sent": "2026-11-24T08:14:56+08:00",
    "status": "Actual",
    "msgType": "Alert",
    "scope": "Public",
    "info": [
        {
            "language": "zh-CN",
            "category": ["Met"],
            "event": "暴雨",
            "urgency": "Immediate",
            "severity": "Severe",
            "certainty": "Likely",
            "eventCode": [{"valueName": "GB/T 35561", "value": "11B03"}],
            "expires": "2026-11-24T14:00:00+08:00",
            "headline": "重庆市气象台发布暴雨橙色预警",
            "area": [{"areaDesc": "合川区", "geocode": [{"valueName": "GB/T 2260", "value": "500117"}]}],
        }
    ],
}
CAP_MESSAGE: Final = Message(
    _CAP_MEDIA,
    {CAP_XML: _XML, "application/xml": _XML, JSON: _EXAMPLE_JSON, "application/cap+json": _EXAMPLE_JSON},
)
_GOOD_CAP: Final = Said("The message as CAP 1.2 in XML; it was not sent.", "CAP 1.2 的 XML 消息；尚未发送。")
_DURABLE: Final = Said(
    "Durable: a broker killed now has lost nothing. `Location` says where to follow it.",
    "已持久保存：此刻进程被终止也不会丢失。`Location` 指明跟踪地址。",
)
_UNCHANGED: Final = Answer(
    304, Said("What the caller has still holds.", "调用方已有的版本仍然有效。"), headers=(ETAG,)
)


def operations(alerts: AlertCalls, lifecycle: LifecycleCalls) -> tuple[Operation, ...]:
    """All of `/v1/alerts`."""
    return (*_alerts(alerts), *_release(lifecycle), *_followups(lifecycle))


def _alerts(calls: AlertCalls) -> tuple[Operation, ...]:
    return (
        Operation(
            method="POST",
            path="/v1/alerts",
            name="postAlert",
            tag=ALERTS,
            summary=Said("Post a message", "提交消息"),
            description=Said(
                "One CAP 1.2 message of any type: Alert, Update, Cancel, Ack or Error. Answered only after it is "
                "durable. The same bytes again get the same answer, also when they have expired meanwhile; the "
                "same "
                "identity (`sender`, `identifier`, the instant of `sent`) with other bytes is a conflict. "
                "Whatever is "
                "not understood or not allowed is refused with every problem listed. A Cancel is never "
                "rate-limited.",
                "一条任意类型的 CAP 1.2 消息：Alert、Update、Cancel、Ack 或 Error。持久保存之后才应答。"
                "相同字节再次提交得到相同应答，"
                "即使其间已过期；同一标识（`sender`、`identifier`、`sent` 的时刻）而字节不同则为冲突。"
                "不能理解或不允许的内容一律拒绝，"
                "并列出全部问题。Cancel 从不受限流。",
            ),
            handler=calls.post,
            scopes=(Scope.POST,),
            body=CAP_MESSAGE,
            answers=(Answer(202, _DURABLE, Accepted, headers=(LOCATION,)),),
            problems=("conflict",),
            share="write",
            unlimited=calls.is_cancel,
            refused=calls.count_refusal,
        ),
        Operation(
            method="GET",
            path="/v1/alerts",
            name="listAlerts",
            tag=ALERTS,
            summary=Said("List alerts", "列出预警"),
            description=Said(
                "The department's own messages, newest first, all pages full but the last. `Link` and `next` lead "
                "to "
                "the next page; a cursor goes with the filters that it was made with. New messages do not shift "
                "the "
                "pages that follow.",
                "本部门的消息，最新在前，除最后一页外每页均满。`Link` 与 `next` 指向下一页；"
                "游标须与生成它的筛选条件一同使用。"
                "新到的消息不会使后续各页错位。",
            ),
            handler=calls.list,
            scopes=(Scope.READ,),
            query=AlertQuery,
            headers=(IF_NONE_MATCH,),
            answers=(Answer(200, Said("One page.", "一页。"), AlertPage, headers=(ETAG, LINK)), _UNCHANGED),
            share="read",
        ),
        Operation(
            method="GET",
            path="/v1/alerts/{id}",
            name="getAlert",
            tag=ALERTS,
            summary=Said("State and counts", "状态与计数"),
            description=Said(
                "The message's facts, its state, its history, what it refers to and who refers to it, and counts "
                "by "
                "channel.",
                "消息的基本信息、状态、历史、所引用及被引用的消息，以及按渠道的计数。",
            ),
            handler=calls.get,
            scopes=(Scope.READ,),
            headers=(IF_NONE_MATCH,),
            parameters=_ID,
            answers=(Answer(200, Said("The alert.", "该预警。"), AlertState, headers=(ETAG,)), _UNCHANGED),
            share="read",
        ),
        Operation(
            method="GET",
            path="/v1/alerts/{id}/cap",
            name="getCap",
            tag=ALERTS,
            summary=Said("The original bytes", "原始字节"),
            description=Said(
                "The message byte for byte as it was posted, with its Content-Type. The ETag is strong.",
                "消息按提交时的字节原样返回，附其 Content-Type。ETag 为强校验。",
            ),
            handler=calls.cap,
            scopes=(Scope.READ,),
            headers=(IF_NONE_MATCH,),
            parameters=_ID,
            answers=(
                Answer(200, Said("As posted.", "如提交时。"), media=_CAP_MEDIA, headers=(ETAG,), example=_XML),
                _UNCHANGED,
            ),
            share="read",
        ),
        Operation(
            method="GET",
            path="/v1/alerts/{id}/history",
            name="getHistory",
            tag=ALERTS,
            summary=Said("History", "历史"),
            description=Said(
                "Every move and note with time, token and reason, oldest first.",
                "每一次状态变化与备注，含时间、令牌与原因，最早在前。",
            ),
            handler=calls.history,
            scopes=(Scope.READ,),
            headers=(IF_NONE_MATCH,),
            parameters=_ID,
            answers=(Answer(200, Said("The history.", "历史记录。"), History, headers=(ETAG,)), _UNCHANGED),
            share="read",
        ),
        Operation(
            method="GET",
            path="/v1/alerts/{id}/references",
            name="getReferences",
            tag=ALERTS,
            summary=Said("References both ways", "双向引用"),
            description=Said(
                "What the message refers to, resolved where that was accepted, and the messages that refer to it.",
                "消息所引用的消息（如已接收则给出编号），以及引用它的消息。",
            ),
            handler=calls.references,
            scopes=(Scope.READ,),
            headers=(IF_NONE_MATCH,),
            parameters=_ID,
            answers=(Answer(200, Said("Both ways.", "双向。"), References, headers=(ETAG,)), _UNCHANGED),
            share="read",
        ),
    )


def _release(calls: LifecycleCalls) -> tuple[Operation, ...]:
    return (
        Operation(
            method="POST",
            path="/v1/alerts/{id}/preview",
            name="makePreview",
            tag=LIFECYCLE,
            summary=Said("Preview what would go out", "预览将发布的内容"),
            description=Said(
                "Audiences with counts by channel and district, the words as they will read, and estimates. It "
                "freezes "
                "the audience until `valid_until`: exactly this is sent if the release names it.",
                "受众（按渠道与区县计数）、实际文字以及预计时间。受众冻结至 `valid_until`：签发若指明此预览，"
                "则照此发送。",
            ),
            handler=calls.make_preview,
            scopes=(Scope.READ,),
            parameters=_ID,
            answers=(Answer(201, Said("The preview.", "预览。"), Preview, headers=(LOCATION,)),),
            problems=("invalid", "conflict"),
            share="write",
        ),
        Operation(
            method="GET",
            path="/v1/alerts/{id}/preview/{preview}",
            name="getPreview",
            tag=LIFECYCLE,
            summary=Said("A preview again", "再次查看预览"),
            description=Said("A preview that was made, valid or not any more.", "已生成的预览，无论是否仍有效。"),
            handler=calls.preview,
            scopes=(Scope.READ,),
            headers=(IF_NONE_MATCH,),
            parameters={**_ID, **_PREVIEW},
            answers=(Answer(200, Said("The preview.", "预览。"), Preview, headers=(ETAG,)), _UNCHANGED),
            share="read",
        ),
        Operation(
            method="POST",
            path="/v1/alerts/{id}/release",
            name="releaseAlert",
            tag=LIFECYCLE,
            summary=Said("Release", "签发"),
            description=Said(
                "A second person, not the author, lets a waiting alert go, naming the preview that they were "
                "shown. "
                "Refused with every difference if what would go out is not that any more. Of two at once, one "
                "wins.",
                "由作者以外的第二人签发等待中的预警，并指明所见的预览。若将发布的内容已与之不同，"
                "则拒绝并列出每一处差异。"
                "两人同时签发时只有一人成功。",
            ),
            handler=calls.release,
            scopes=(Scope.RELEASE,),
            parameters=_ID,
            body=ReleaseRequest,
            answers=(Answer(200, Said("Released.", "已签发。"), Brief),),
            problems=("conflict", "preview-outdated"),
        ),
        Operation(
            method="POST",
            path="/v1/alerts/{id}/reject",
            name="rejectAlert",
            tag=LIFECYCLE,
            summary=Said("Reject", "驳回"),
            description=Said(
                "A waiting alert must not go out; its author may say so too. It is an end: the department posts a "
                "mended "
                "one.",
                "等待中的预警不得发布；作者本人也可驳回。驳回即终结：由部门另行提交修正后的消息。",
            ),
            handler=calls.reject,
            scopes=(Scope.RELEASE, Scope.POST),
            parameters=_ID,
            body=RejectRequest,
            answers=(Answer(200, Said("Rejected.", "已驳回。"), Brief),),
            problems=("conflict",),
        ),
    )


def _followups(calls: LifecycleCalls) -> tuple[Operation, ...]:
    return (
        Operation(
            method="GET",
            path="/v1/alerts/{id}/cancel",
            name="getCancel",
            tag=LIFECYCLE,
            summary=Said("The prepared Cancel", "已备好的 Cancel"),
            description=Said(
                "The Cancel that takes the alert back, ready to be looked at, or to be signed and posted by the "
                "department itself.",
                "用于撤回该预警的 Cancel，可供查看，或由部门自行签名后提交。",
            ),
            handler=calls.prepared_cancel,
            scopes=(Scope.READ,),
            parameters=_ID,
            answers=(Answer(200, _GOOD_CAP, media=(CAP_XML,), example=_XML),),
            problems=("conflict",),
            share="read",
        ),
        Operation(
            method="POST",
            path="/v1/alerts/{id}/cancel",
            name="cancelAlert",
            tag=LIFECYCLE,
            summary=Said("Cancel", "撤回"),
            description=Said(
                "Composes the Cancel and takes it in as if it had been posted. It needs no release, is never "
                "rate-limited, and goes to exactly those who were sent the alert.",
                "生成 Cancel 并按提交处理。无需签发，从不受限流，且恰好发给曾收到该预警的接收者。",
            ),
            handler=calls.cancel,
            scopes=(Scope.POST,),
            headers=(IDEMPOTENCY_KEY,),
            parameters=_ID,
            body=CancelRequest,
            answers=(Answer(202, _DURABLE, Accepted, headers=(LOCATION,)),),
            problems=("conflict", "idempotency-key-reused"),
        ),
        Operation(
            method="GET",
            path="/v1/alerts/{id}/correction",
            name="getCorrection",
            tag=LIFECYCLE,
            summary=Said("The prepared correction", "已备好的更正"),
            description=Said(
                "The Update that would say the same to the same area: shrink its areas, sign it and post it, or "
                "let "
                "the broker do so.",
                "以相同文字面向相同区域的 Update：可缩小其区域、签名后提交，或交由本系统完成。",
            ),
            handler=calls.prepared_correction,
            scopes=(Scope.READ,),
            parameters=_ID,
            answers=(Answer(200, _GOOD_CAP, media=(CAP_XML,), example=_XML),),
            problems=("conflict",),
            share="read",
        ),
        Operation(
            method="POST",
            path="/v1/alerts/{id}/correction",
            name="correctAlert",
            tag=LIFECYCLE,
            summary=Said("Correct to a smaller area", "更正为较小区域"),
            description=Said(
                "Composes an Update with the same words and the areas given, and takes it in as if it had been "
                "posted. "
                "Those no longer inside get the all-clear. It needs no release as long as it adds nobody.",
                "以相同文字和所给区域生成 Update 并按提交处理。不再处于区域内者收到解除通知。只要不增加任何人，"
                "即无需签发。",
            ),
            handler=calls.correct,
            scopes=(Scope.POST,),
            headers=(IDEMPOTENCY_KEY,),
            parameters=_ID,
            body=CorrectionRequest,
            answers=(Answer(202, _DURABLE, Accepted, headers=(LOCATION,)),),
            problems=("conflict", "idempotency-key-reused"),
            share="write",
        ),
    )
