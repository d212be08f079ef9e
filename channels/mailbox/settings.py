"""Settings that the channels fetched by devices have in common."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class MailboxSettings(BaseModel):
    """Where devices reach the channel and how much they may ask of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    """Address to listen on. TLS is the business of the proxy in front."""
    port: int = Field(default=0, ge=0, le=65_535)
    """TCP port; 0 takes a free one."""
    secret_file: Path
    """File of at least 32 bytes from which the devices' tokens are derived; readable by this process only."""
    max_streams: int = Field(default=10_000, ge=1)
    """Streams held open at once; who comes later gets 503. Lowered to what the limit of open files allows."""
    heartbeat_seconds: float = Field(default=15.0, gt=0)
    """Seconds between comments on a held stream, so that proxies keep it and dead peers are noticed."""
    max_backlog_bytes: int = Field(default=262_144, ge=4_096)
    """Bytes that a stream's reader may leave unread before its connection is dropped; it catches up anew."""
    max_body_bytes: int = Field(default=65_536, ge=256)
    """Size of a posted body in bytes."""
    max_reports: int = Field(default=1_000, ge=1)
    """Reports in one post."""
    flush_seconds: float = Field(default=0.05, gt=0)
    """How long evidence may be gathered before it is handed on, in seconds."""
    flush_reports: int = Field(default=4_096, ge=1)
    """Reports after which evidence is handed on at once."""
