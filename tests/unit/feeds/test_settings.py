"""config/feeds.yaml: what is wrong with it is told with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.feeds.settings import load_feeds

ROOT = Path(__file__).parents[3]


def test_the_example_can_be_read() -> None:
    assert load_feeds(ROOT / "config/feeds.yaml").feeds == ()


def test_what_the_example_shows_commented_out_can_be_used(tmp_path: Path) -> None:
    lines = (ROOT / "config/feeds.yaml").read_text(encoding="utf-8").splitlines()
    shown = [line.removeprefix("# ") for line in lines if line.startswith(("# feeds:", "#   "))]
    path = tmp_path / "feeds.yaml"
    path.write_text("\n".join(shown), encoding="utf-8")
    (feed,) = load_feeds(path).feeds
    assert feed.certificates == (tmp_path / "certificates/neighbour.pem",)
    assert feed.department == "meteorology"


def test_no_file_is_no_feeds(tmp_path: Path) -> None:
    assert load_feeds(tmp_path / "feeds.yaml").feeds == ()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("url: ftp://a.example/?key=secret", "http or https"),
        ("url: 'https://[secret'", "http or https"),
        ("profile: wno", "no profile 'wno'"),
        ("every_seconds: 1", "every_seconds"),
        ("posture: strict", "posture"),
        ("max_items: 0", "max_items"),
        ("name: Feed One", "name"),
        ("depatment: geology", "did you mean 'department'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_without_its_secret(tmp_path: Path, line: str, told: str) -> None:
    given = {"name": "name: one", "url": "url: https://a.example/f", "department": "department: geology"}
    given[line.partition(":")[0]] = line
    path = tmp_path / "feeds.yaml"
    path.write_text("feeds:\n  - " + "\n    ".join(given.values()) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_feeds(path)
    assert told in str(refused.value)
    assert "feeds.yaml:" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_two_feeds_cannot_have_one_name(tmp_path: Path) -> None:
    path = tmp_path / "feeds.yaml"
    one = "  - {name: one, url: 'https://a.example/', department: geology}\n"
    path.write_text("feeds:\n" + one + one, encoding="utf-8")
    with pytest.raises(ConfigError, match="one"):
        load_feeds(path)
