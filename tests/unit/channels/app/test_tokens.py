from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import ConfigError
from channels.mailbox.tokens import Gate, device_token, is_device_id, load_secret

SECRET = b"s" * 32


def test_a_token_proves_its_own_device_on_its_own_channel_only() -> None:
    gate = Gate(SECRET, "app")
    token = device_token(SECRET, "app", "a00012345")
    assert gate.admits("a00012345", f"Bearer {token}")
    assert gate.admits("a00012345", f"bearer {token}")
    assert not gate.admits("a00012346", f"Bearer {token}")
    assert not Gate(SECRET, "signage").admits("a00012345", f"Bearer {token}")
    assert not Gate(b"t" * 32, "app").admits("a00012345", f"Bearer {token}")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic x", "Bearer \udcff", "Bearer 令牌"])
def test_a_malformed_authorization_admits_nobody(header: str) -> None:
    assert not Gate(SECRET, "app").admits("a1", header)


def test_the_token_is_the_unpadded_base64url_of_the_hmac() -> None:
    # Computed with: printf app:a1 | openssl dgst -sha256 -hmac ssssssssssssssssssssssssssssssss -binary | base64
    assert device_token(SECRET, "app", "a1") == "7b4xW2muC0s_Tzs5x_E-_Vwbb-JFPCicLwnAVoMiaic"


@pytest.mark.parametrize("text", ["", "a" * 25, "a b", "a\n", ".a", "安", "a:b", "a/b"])
def test_what_cannot_name_a_device(text: str) -> None:
    assert not is_device_id(text)


def test_a_missing_or_short_secret_is_named_but_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_secret(tmp_path / "none")
    short = tmp_path / "short"
    short.write_text("only-a-few\n")
    with pytest.raises(ConfigError) as refused:
        load_secret(short)
    assert "only-a-few" not in str(refused.value)
    assert [problem.rule for problem in refused.value.problems] == ["device_secret.short"]
