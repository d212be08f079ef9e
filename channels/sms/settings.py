"""Settings of the SMS channel."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from channels.sms.receipts import IdForm


class SmsSettings(BaseModel):
    """How to reach the SMSC and how to behave there. There is no default password."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    """Name or address of the SMSC."""
    port: int = Field(default=2775, ge=1, le=65535)
    """TCP port of the SMSC."""
    system_id: str = Field(default="fenghuo", min_length=1, max_length=15, pattern=r"^[\x21-\x7e]+$")
    """Name of the bind (SMPP 3.4 §5.2.1), at most 15 characters."""
    password: SecretStr | None = None
    """Password of the bind (§5.2.2), at most 8 characters; exactly one of this and `password_file`."""
    password_file: Path | None = None
    """File whose first line is the password."""
    system_type: str = Field(default="", max_length=12)
    """Category of system the SMSC may ask for (§5.2.3)."""
    source_address: str = Field(default="12379", max_length=20, pattern=r"^[\x20-\x7e]*$")
    """Sender that people see."""
    source_ton: int = Field(default=0, ge=0, le=6)
    """Type of number of the sender (§5.2.5)."""
    source_npi: int = Field(default=0, ge=0, le=18)
    """Numbering plan of the sender (§5.2.6)."""
    destination_ton: int = Field(default=1, ge=0, le=6)
    """Type of number of recipients; 1 is international, as E.164 digits are."""
    destination_npi: int = Field(default=1, ge=0, le=18)
    """Numbering plan of recipients; 1 is E.164."""
    window: int = Field(default=1000, ge=1, le=30_000)
    """Submits that may be unanswered at a time on the bind, in PDUs."""
    recipients_per_window: int = Field(default=1000, ge=1, le=4096)
    """Recipients sent between two records of progress: what a crash may send twice."""
    max_parts: int = Field(default=10, ge=1, le=255)
    """A text that needs more short messages than this is not sent."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Seconds for connecting and binding."""
    response_timeout_s: float = Field(default=30.0, gt=0)
    """Seconds after which a submit without an answer counts as unknown, and a silent link as lost."""
    enquire_link_s: float = Field(default=15.0, gt=0)
    """Seconds of silence after which the link is tried."""
    reconnect_min_s: float = Field(default=0.2, gt=0)
    """Seconds before the first attempt to bind anew; doubles with each failure, with jitter."""
    reconnect_max_s: float = Field(default=10.0, gt=0)
    """Longest wait between attempts to bind, in seconds."""
    submit_id_form: IdForm = IdForm.TEXT
    """How the SMSC writes message ids in its answers."""
    receipt_id_form: IdForm = IdForm.TEXT
    """How the SMSC writes message ids in its receipts; set both forms where they differ."""
    early_receipt_s: float = Field(default=60.0, gt=0)
    """Seconds to hold a receipt whose message is not known yet."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.password is None) == (self.password_file is None):
            raise ValueError("exactly one of password and password_file must be given")
        if self.max_parts > self.window:
            raise ValueError("the window must hold at least one message of max_parts parts")
        if (self.submit_id_form is IdForm.TEXT) != (self.receipt_id_form is IdForm.TEXT):
            raise ValueError("submit_id_form and receipt_id_form are either both text or both numbers")
        return self

    def read_password(self) -> str:
        """The password. Raises OSError if its file cannot be read."""
        if self.password is not None:
            return self.password.get_secret_value()
        assert self.password_file is not None
        lines = self.password_file.read_text().splitlines()
        return lines[0].strip() if lines else ""
