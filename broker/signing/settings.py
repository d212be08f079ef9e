"""What the configuration says of our own signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator


class SigningSettings(BaseModel):
    """The key pair that signs what the broker publishes; without one, it is published unsigned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate: Path | None = None
    """PEM file of our certificate, which goes along in every signature."""
    key: Path | None = None
    """PEM file of its private key, readable by its owner only."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: name both or neither")
        return self
