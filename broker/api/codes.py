"""The catalogue of problem codes: stable words that programs may rely on, each with its status and its meaning.

docs/reference/problems.md repeats it for people, and the server itself serves it under `/problems/CODE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.api.said import Said


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of problem (RFC 9457, 4)."""

    name: str
    status: int
    title: Said
    meaning: Said
    """When it is answered, and what the caller can do."""

    @property
    def type(self) -> str:
        """The `type` URI, relative to the server that answered (RFC 9457, 3.1.1 asks for an absolute path)."""
        return f"/problems/{self.name}"


_ALL: Final = (
    Code(
        "malformed",
        400,
        Said("The request cannot be read", "请求无法读取"),
        Said(
            "The bytes are not one well-formed CAP message or JSON object, hold a DTD or entities, or were cut "
            "off; "
            "the request line or a header is not HTTP; or a parameter of the query cannot be answered.",
            "报文不是一条格式良好的 CAP 消息或 JSON 对象，含有 DTD 或实体，或被截断；请求行或头部不是 HTTP；"
            "或查询参数无法回答。",
        ),
    ),
    Code(
        "unauthenticated",
        401,
        Said("A valid token is needed", "需要有效的令牌"),
        Said(
            "No token, or one that is unknown, revoked or expired; the answer does not say which in detail.",
            "没有令牌，或令牌未知、已撤销或已过期；应答不细说是哪一种。",
        ),
    ),
    Code(
        "not-allowed",
        403,
        Said("Not allowed", "不允许"),
        Said(
            "The message is understood but not this department's to say (`authority.*`), the alert is another "
            "department's, the token lacks the scope, or the author may not be the second person.",
            "消息能够理解，但本部门无权发布（`authority.*`）；或预警属于其他部门；或令牌缺少权限范围；"
            "或作者不得自行签发。",
        ),
    ),
    Code(
        "not-found",
        404,
        Said("Not found", "未找到"),
        Said("There is no such alert, preview or path.", "没有这条预警、预览或路径。"),
    ),
    Code(
        "method-not-allowed",
        405,
        Said("Method not allowed", "方法不允许"),
        Said(
            "The path does not know this method; the header `Allow` lists those that it knows.",
            "该路径不支持此方法；头部 `Allow` 列出支持的方法。",
        ),
    ),
    Code(
        "too-slow",
        408,
        Said("The body came too slowly", "报文到达过慢"),
        Said(
            "The body was not complete in time (`body.slow`). Nothing was accepted; send it again.",
            "报文未在时限内到齐（`body.slow`）。未接收任何内容；请重新发送。",
        ),
    ),
    Code(
        "conflict",
        409,
        Said("The present state does not allow this", "当前状态不允许此操作"),
        Said(
            "The same identity was accepted with other content, or the alert is in another state than the request "
            "supposes. Where there is more than one reason, `problems` lists them.",
            "同一标识已以其他内容被接收，或预警的状态与请求所设想的不同。原因多于一个时，`problems` 逐一列出。",
        ),
    ),
    Code(
        "preview-outdated",
        409,
        Said("What would go out is not what was previewed", "将要发布的内容与预览不符"),
        Said(
            "The preview that the release names has run out, is of another alert, or does not hold any more: "
            "`problems` lists every difference. Make a new preview, look at it, and release that.",
            "签发所指的预览已过期、属于另一条预警，或已不成立：`problems` 列出每一处差异。请重新预览、"
            "核对后再签发。",
        ),
    ),
    Code(
        "too-large",
        413,
        Said("The body is too large", "报文过大"),
        Said(
            "More bytes than the broker takes (`max_body_bytes` for a message). Refused before the body is read "
            "where "
            "its length is told.",
            "字节数超过本系统的上限（消息的上限为 `max_body_bytes`）。如已声明长度，则在读取之前即拒绝。",
        ),
    ),
    Code(
        "media-type",
        415,
        Said("This media type is not taken", "不接受此媒体类型"),
        Said(
            "The header `Content-Type` is none of those that the call takes.",
            "头部 `Content-Type` 不是该调用接受的类型。",
        ),
    ),
    Code(
        "expectation-failed",
        417,
        Said("This expectation cannot be met", "无法满足该期望"),
        Said(
            "The header `Expect` asks for something else than `100-continue`.",
            "头部 `Expect` 要求的不是 `100-continue`。",
        ),
    ),
    Code(
        "invalid",
        422,
        Said("The input is refused", "输入被拒绝"),
        Said(
            "Well-formed, with problems, all of them in `problems`. Nothing was accepted. Also when some problems "
            "are "
            "of authority and others are not.",
            "格式良好但有问题，全部列于 `problems`。未接收任何内容。既有权限问题又有其他问题时也用此代码。",
        ),
    ),
    Code(
        "idempotency-key-reused",
        422,
        Said("This Idempotency-Key was used for another request", "该 Idempotency-Key 已用于另一请求"),
        Said(
            "The same key came with another body before. Take a new key for a new request.",
            "同一个键此前曾随不同的报文使用。新的请求请使用新的键。",
        ),
    ),
    Code(
        "rate-limited",
        429,
        Said("Too many requests", "请求过多"),
        Said(
            "The department has used up its share; `Retry-After` says in how many seconds to try again. Messages "
            "of "
            "type Cancel are never limited.",
            "本部门的配额已用完；`Retry-After` 说明多少秒后重试。Cancel 类消息从不受限。",
        ),
    ),
    Code(
        "headers-too-large",
        431,
        Said("The headers are too large", "头部过大"),
        Said(
            "The request line or a header is longer than 8 KiB, or there are more than 128 headers.",
            "请求行或某个头部超过 8 KiB，或头部多于 128 个。",
        ),
    ),
    Code(
        "http-error",
        400,
        Said("The HTTP server refuses this", "HTTP 服务器拒绝此请求"),
        Said(
            "Any other refusal of the HTTP server; `status` says which.",
            "HTTP 服务器的其他拒绝；`status` 说明是哪一种。",
        ),
    ),
    Code(
        "internal",
        500,
        Said("A fault of ours", "本系统的故障"),
        Said(
            "A fault of ours. `detail` holds a reference that is in the log.",
            "本系统的故障。`detail` 中的编号可在日志中查到。",
        ),
    ),
    Code(
        "unavailable",
        503,
        Said("Not available now, try again", "暂不可用，请重试"),
        Said(
            "The store or the queues cannot be reached, or too many bodies are on their way at once. `Retry-After` "
            "says when to try again; post the same bytes.",
            "存储或队列无法访问，或同时到达的报文过多。`Retry-After` 说明何时重试；请发送相同的字节。",
        ),
    ),
)

CODES: Final = {code.name: code for code in _ALL}
"""Every code by its name, in the order of their statuses."""
