"""Rules of the resource element: links, carried content, digest (CAP 1.2, 3.2.3)."""

from __future__ import annotations

import hashlib

from broker.cap import values
from broker.cap.context import Context
from broker.cap.tree import Node


def check_resource(node: Node, context: Context) -> None:
    """Report what is wrong with one resource; carried content is held against its size and digest."""
    mime_type, uri, carried = node.first("mimeType"), node.first("uri"), node.first("derefUri")
    stated = (mime_type.text if mime_type is not None else "").strip(values.XML_SPACE)
    if mime_type is not None and stated and not values.is_mime_type(stated):
        context.report.at(mime_type, "cap.mimeType.format", "mimeType must be type/subtype")
    has_uri = uri is not None and not values.is_blank(uri.text)
    has_content = carried is not None and not values.is_blank(carried.text)
    if not has_uri and not has_content:
        context.report.at(node, "cap.resource.unreachable", "the resource is neither linked nor carried", "")
    if uri is not None and has_uri and not has_content and values.scheme_of(values.collapse(uri.text)) is None:
        context.report.at(uri, "cap.uri.relative", "a relative uri needs the content in derefUri")
    content = None
    if carried is not None and has_content:
        content = values.parse_base64(carried.text)
        if content is None:
            context.report.at(carried, "cap.derefUri.base64", "derefUri is not base64")
    if content is None and not values.is_blank(node.value("digest") or ""):
        why = "derefUri cannot be read" if has_content else "the content is linked, and links are not followed"
        context.skip(node, "the digest was", why)
    _size(node, content, context)
    _digest(node, content, context)


def _size(node: Node, content: bytes | None, context: Context) -> None:
    size = node.first("size")
    number = values.parse_integer(values.collapse(size.text)) if size is not None else None
    if size is None or number is None:
        return
    if number < 0:
        context.report.at(size, "cap.size.negative", "size is negative")
    elif content is not None and number != len(content):
        context.report.at(size, "cap.size.mismatch", f"derefUri carries {len(content)} bytes")


def _digest(node: Node, content: bytes | None, context: Context) -> None:
    digest = node.first("digest")
    if digest is None or values.is_blank(digest.text):
        return
    stated = digest.text.strip(values.XML_SPACE)
    if not values.is_digest(stated):
        context.report.at(digest, "cap.digest.format", "digest must be 40 hexadecimal digits (SHA-1)")
    elif content is not None:
        # The standard prescribes SHA-1; it is compared here, not trusted for security.
        actual = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        if actual != stated.lower():
            context.report.at(digest, "cap.digest.mismatch", f"derefUri has the digest {actual}")
