"""`fenghuo alert lint`: what it prints for people and for programs, and how it ends."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.cap import to_xml
from broker.cap.compose import compose, geocode_area, polygon_area
from broker.cap.level import Level
from broker.cap.model import ResponseType
from broker.cli import main
from broker.signing.generate import new_pair
from broker.signing.sign import Signer

Capture = pytest.CaptureFixture[str]
ALERT_KEYS = {"identifier", "sender", "sent", "valid", "schema_valid", "findings"}
FINDING_KEYS = {"rule", "severity", "place", "line", "value", "message", "clause"}


def _xml(identifier: str = "T1", headline: str = "暴雨红色预警") -> str:
    now = datetime.now(UTC).replace(microsecond=0)
    alert = compose(
        identifier,
        "office@example.org",
        now,
        "11B03",
        "暴雨",
        Level.RED,
        headline,
        "将有大暴雨。",
        "请转移。",
        areas=[polygon_area("合川区", [(29.9, 106.1), (29.9, 106.5), (30.2, 106.5)])],
        expires=now + timedelta(hours=3),
        response_types=[ResponseType.SHELTER],
    )
    return to_xml(alert).decode()


def _own(text: str) -> str:
    return text.partition("?>")[2].strip()


def _feed(*inside: str) -> str:
    entries = "".join(
        f"<entry><id>urn:{n}</id><title>t</title><updated>2026-06-18T02:00:00Z</updated>{each}</entry>"
        for n, each in enumerate(inside)
    )
    return (
        '<feed xmlns="http://www.w3.org/2005/Atom"><id>urn:f</id><title>t</title>\n'
        f"<updated>2026-06-18T02:00:00Z</updated><author><name>a</name></author>\n{entries}</feed>"
    )


def _content(alert: str) -> str:
    return f'<content type="application/cap+xml">\n{_own(alert)}\n</content>'


def _file(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def _json(capsys: Capture) -> list[dict[str, Any]]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, list)
    return found


def test_a_good_alert_is_valid_and_that_is_all_there_is_to_say(tmp_path: Path, capsys: Capture) -> None:
    name = _file(tmp_path, "a.xml", _xml())
    assert main(["alert", "lint", name]) == 0
    assert capsys.readouterr().out == f"{name}: valid\n"


def test_json_holds_exactly_what_is_promised(tmp_path: Path, capsys: Capture) -> None:
    good = _file(tmp_path, "a.xml", _xml())
    bad = _file(tmp_path, "b.xml", _xml("T2").replace(">Extreme<", ">Red<"))
    assert main(["alert", "lint", "--json", good, bad]) == 1
    first, second = _json(capsys)
    assert set(first) == set(second) == {"file", "alerts"}
    assert [entry["file"] for entry in (first, second)] == [good, bad]
    (alert,) = first["alerts"]
    assert set(alert) == ALERT_KEYS
    assert (alert["identifier"], alert["sender"], alert["valid"]) == ("T1", "office@example.org", True)
    assert alert["schema_valid"] is True
    assert alert["findings"] == []
    (alert,) = second["alerts"]
    assert (alert["identifier"], alert["valid"], alert["schema_valid"]) == ("T2", False, False)
    (finding,) = alert["findings"]
    assert set(finding) == FINDING_KEYS
    assert (finding["rule"], finding["severity"], finding["value"]) == ("cap.severity.value", "error", "Red")
    assert finding["place"] == "/alert/info[1]/severity"
    assert "<severity>" in Path(bad).read_text(encoding="utf-8").splitlines()[finding["line"] - 1]
    assert finding["clause"] == "3.2.2"


def test_people_are_told_where_what_and_which_rule(tmp_path: Path, capsys: Capture) -> None:
    name = _file(tmp_path, "b.xml", _xml().replace(">Extreme<", ">Red<"))
    assert main(["alert", "lint", name]) == 1
    line = 1 + Path(name).read_text(encoding="utf-8").splitlines().index("    <severity>Red</severity>")
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"{name}: NOT valid, 1 error"
    assert rest[0].startswith("  error: severity must be one of Extreme, Severe")
    assert rest[1].strip() == f"line {line} /alert/info[1]/severity: Red"
    assert rest[2].strip() == "rule cap.severity.value (CAP 1.2, 3.2.2)"


def test_every_alert_of_a_feed_is_looked_at_with_its_line_in_the_feed(tmp_path: Path, capsys: Capture) -> None:
    feed = _feed(
        _content(_xml("F1")),
        _content(_xml("F2").replace(">Likely<", ">Sure<")),
        '<link href="https://a.example/3"/>',
    )
    name = _file(tmp_path, "feed.atom", feed)
    assert main(["alert", "lint", "--json", name]) == 1
    (file,) = _json(capsys)
    assert [(alert["identifier"], alert["valid"]) for alert in file["alerts"]] == [("F1", True), ("F2", False)]
    (finding,) = file["alerts"][1]["findings"]
    assert "<certainty>" in feed.splitlines()[finding["line"] - 1]
    assert file["wrapping"]["form"] == "atom"
    assert file["wrapping"]["findings"] == []
    assert [link["href"] for link in file["wrapping"]["links"]] == ["https://a.example/3"]

    assert main(["alert", "lint", name]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{name}: Atom feed with 2 alerts, 1 link to alerts that are not looked at"
    assert f"{name}, alert 2 on line" in "\n".join(said)
    assert said[-1] == "2 alerts: 1 valid, 1 not valid"


def test_a_wrapping_that_is_wrong_is_not_good_even_when_its_alerts_are(tmp_path: Path, capsys: Capture) -> None:
    name = _file(tmp_path, "feed.atom", _feed(_content(_xml())).replace("<id>urn:f</id>", ""))
    assert main(["alert", "lint", "--json", name]) == 1
    (file,) = _json(capsys)
    assert [alert["valid"] for alert in file["alerts"]] == [True]
    assert [finding["rule"] for finding in file["wrapping"]["findings"]] == ["wrap.atom.id"]
    assert main(["alert", "lint", "--lenient", name]) == 0
    assert "warning: the feed has no id" in capsys.readouterr().out


def test_standard_input_is_read_for_a_dash(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(_xml().encode())))
    assert main(["alert", "lint", "-"]) == 0
    assert capsys.readouterr().out == "standard input: valid\n"


def test_a_file_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path, capsys: Capture) -> None:
    good = _file(tmp_path, "a.xml", _xml())
    missing = str(tmp_path / "none.xml")
    assert main(["alert", "lint", "--json", missing, str(tmp_path), good]) == 2
    out, err = capsys.readouterr()
    first, second, third = json.loads(out)
    assert first == {"file": missing, "alerts": [], "error": "No such file or directory"}
    assert second["error"] == "Is a directory"
    assert third["alerts"][0]["valid"] is True
    assert f"{missing}: No such file or directory" in err


def test_a_file_of_other_things_is_one_alert_that_is_not_valid(tmp_path: Path, capsys: Capture) -> None:
    names = [
        _file(tmp_path, name, text) for name, text in (("a", ""), ("b", "<html/>"), ("c", "<alert"), ("d", "[]"))
    ]
    assert main(["alert", "lint", "--json", *names]) == 1
    for file in _json(capsys):
        (alert,) = file["alerts"]
        assert alert["valid"] is False
        assert alert["identifier"] is None
        rules = [finding["rule"] for finding in alert["findings"]]
        assert rules[-1] == "cap.check.skipped"
        assert len(rules) > 1


def test_an_alert_that_cannot_be_built_is_still_called_by_its_name(tmp_path: Path, capsys: Capture) -> None:
    name = _file(tmp_path, "a.xml", _xml("K7").replace("<sender>office@example.org</sender>", ""))
    assert main(["alert", "lint", "--json", name]) == 1
    (alert,) = _json(capsys)[0]["alerts"]
    assert (alert["identifier"], alert["sender"], alert["valid"]) == ("K7", None, False)


def test_json_alerts_are_read_by_their_looks_and_by_their_name(tmp_path: Path, capsys: Capture) -> None:
    looks = _file(tmp_path, "a.txt", '\n {"identifier": "1"}')
    named = _file(tmp_path, "b.json", "nothing")
    assert main(["alert", "lint", "--json", looks, named]) == 1
    first, second = _json(capsys)
    assert first["alerts"][0]["identifier"] == "1"
    assert second["alerts"][0]["findings"][0]["rule"] == "cap.json.syntax"


def test_the_same_message_twice_is_a_note_and_another_under_its_name_an_error(
    tmp_path: Path, capsys: Capture
) -> None:
    text = _xml()
    one, same = _file(tmp_path, "a.xml", text), _file(tmp_path, "b.xml", text)
    other = _file(tmp_path, "c.xml", text.replace("请转移。", "请留守。"))
    assert main(["alert", "lint", one, same]) == 0
    assert f"note: {one} is the same message" in capsys.readouterr().out
    assert main(["alert", "lint", "--json", one, same, other]) == 1
    found = [[finding["rule"] for finding in file["alerts"][0]["findings"]] for file in _json(capsys)]
    assert found == [[], ["cap.identity.repeated"], ["cap.identity.conflict"]]


def test_the_lenient_posture_takes_what_our_departments_may_not_send(tmp_path: Path, capsys: Capture) -> None:
    old = _xml().replace("emergency:cap:1.2", "emergency:cap:1.1")
    name = _file(tmp_path, "old.xml", old)
    assert main(["alert", "lint", name]) == 1
    assert "this is CAP 1.1; send CAP 1.2" in capsys.readouterr().out
    assert main(["alert", "lint", "--lenient", name]) == 0


@pytest.mark.parametrize("profile", ["wmo", "ipaws", "cap-cp"])
def test_a_profile_adds_its_own_rules_to_those_of_cap(profile: str, tmp_path: Path, capsys: Capture) -> None:
    name = _file(tmp_path, "a.xml", _xml().replace(">Extreme<", ">Red<"))
    assert main(["alert", "lint", "--json", "--profile", profile, name]) == 1
    (alert,) = _json(capsys)[0]["alerts"]
    rules = {finding["rule"] for finding in alert["findings"]}
    assert "cap.severity.value" in rules
    assert any(not rule.startswith("cap.") or rule.startswith("cap-cp.") for rule in rules)


def test_the_national_profile_reads_the_national_format(tmp_path: Path, capsys: Capture) -> None:
    name = _file(tmp_path, "a.xml", "<nothing/>")
    assert main(["alert", "lint", "--json", "--profile", "national", name]) == 1
    (alert,) = _json(capsys)[0]["alerts"]
    assert any(finding["rule"].startswith("national.") for finding in alert["findings"])


def test_a_profile_that_there_is_none_of_is_misuse_and_the_others_are_named(
    tmp_path: Path, capsys: Capture
) -> None:
    assert main(["alert", "lint", "--profile", "nix", _file(tmp_path, "a.xml", _xml())]) == 2
    assert "there is no profile nix; there are cap-cp, ipaws, national, wmo" in capsys.readouterr().err


def test_a_signature_is_checked_with_certificates_and_without_them_that_is_said(
    tmp_path: Path, capsys: Capture
) -> None:
    certificate, key = _pair(tmp_path, "office")
    stranger, _ = _pair(tmp_path, "stranger")
    signed = Signer.load(certificate, key).sign(_xml().encode()).decode()
    for name in (_file(tmp_path, "a.xml", signed), _file(tmp_path, "f.atom", _feed(_content(signed)))):
        assert main(["alert", "lint", "--json", name]) == 0
        assert _rules(capsys) == ["cap.check.skipped"]
        assert main(["alert", "lint", "--json", "--certificate", str(certificate), name]) == 0
        assert _rules(capsys) == []
        assert main(["alert", "lint", "--json", "--certificate", str(stranger), name]) == 1
        assert {rule.partition(".")[0] for rule in _rules(capsys)} == {"signature"}
    forged = _file(tmp_path, "b.xml", signed.replace("请转移。", "请留守。"))
    assert main(["alert", "lint", "--json", "--certificate", str(certificate), forged]) == 1
    assert {rule.partition(".")[0] for rule in _rules(capsys)} == {"signature"}


def _rules(capsys: Capture) -> list[str]:
    (file,) = _json(capsys)
    (alert,) = file["alerts"]
    return [finding["rule"] for finding in alert["findings"]]


def _pair(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    public, private = new_pair(name)
    certificate.write_text(public)
    key.touch(mode=0o600)
    key.write_text(private)
    return certificate, key


def test_a_certificate_that_is_none_is_misuse(tmp_path: Path, capsys: Capture) -> None:
    alert = _file(tmp_path, "a.xml", _xml())
    assert main(["alert", "lint", "--certificate", alert, alert]) == 2
    assert alert in capsys.readouterr().err


def test_a_file_over_the_limit_is_refused_without_being_read_whole(tmp_path: Path, capsys: Capture) -> None:
    huge = tmp_path / "huge.xml"
    with huge.open("wb") as file:
        file.truncate(5 * 1024**3)  # a hole: it takes no room
    assert main(["alert", "lint", "--json", str(huge)]) == 1
    assert _rules(capsys)[0] == "cap.size"


def test_geocodes_alone_are_worth_a_note(tmp_path: Path, capsys: Capture) -> None:
    now = datetime.now(UTC)
    alert = compose(
        "G1",
        "o@e",
        now,
        "11B03",
        "雨",
        Level.BLUE,
        "h",
        "d",
        "i",
        areas=[geocode_area("a", ["500117"])],
        expires=now + timedelta(hours=1),
    )
    assert main(["alert", "lint", "--json", _file(tmp_path, "g.xml", to_xml(alert).decode())]) == 0
    assert _rules(capsys) == ["cap.geocode.alone"]
