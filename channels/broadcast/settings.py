"""Settings of the emergency-broadcast channel."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class BroadcastSettings(BaseModel):
    """How the broadcaster reaches the MQTT server, and as whom it signs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="MQTT server: mqtt://host:port, or mqtts:// for TLS")
    authority: Path | None = Field(
        default=None, description="CA certificates (PEM) for mqtts; default the system's"
    )
    username: str = Field(
        default="fenghuo-broadcast",
        description="account, and client id of the persistent session; every worker process needs its own",
    )
    password_file: Path = Field(description="file whose first line is the account's password")
    signing_key: Path = Field(description="Ed25519 key, PKCS #8 PEM, not encrypted, readable by this process only")
    key_id: str = Field(description="the id under which terminals carry the public key")
    source: str = Field(
        default="25000000000000101010101",
        pattern=r"^[0-9]{23}$",
        description="EBRID of this broadcaster: the first 23 digits of every EBMID, and SenderCode",
    )
    window: int = Field(default=512, ge=1, le=4096, description="recipients per window: what a crash sends twice")
    confirm_seconds: float = Field(default=10.0, gt=0, le=120, description="how long to wait for a PUBACK, seconds")
    keepalive_seconds: int = Field(default=15, ge=2, le=600, description="MQTT keep alive, seconds")
    hold_reports_seconds: float = Field(
        default=0.0,
        ge=0,
        le=30,
        description="how much longer than the worker needs to make a report durable it is kept unacknowledged at"
        " the server, seconds; it must allow as many messages in flight as come in that time"
        " (max_inflight_messages)",
    )
    reconnect_seconds: float = Field(
        default=5.0, gt=0, le=120, description="longest pause between attempts, seconds"
    )
