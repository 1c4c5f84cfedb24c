"""A wrong argument is refused in words that say what a right one looks like."""

import pytest

from sharegate.cli.main import main

REPLAY = ("policy", "replay", "policies", "--config", "none.toml")
AUDIT = ("--config", "none.toml", "--as", "zhou-min", "--key", "none.pem", "--matter", "JC-1")
SEARCH = ("audit", "search", *AUDIT)
RELIED = ("audit", "relied", *AUDIT, "--member-key", "tax-2026")


@pytest.mark.parametrize(
    "arguments",
    [
        (*REPLAY, "--since"),
        (*RELIED, "--since"),
        (*SEARCH, "--since"),
        (*SEARCH, "--until"),
    ],
    ids=lambda given: f"{given[1]} {given[-1]}",
)
@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "1772294400000"])
def test_a_wrong_moment_is_told_what_a_moment_looks_like(arguments, text, capsys):
    with pytest.raises(SystemExit) as left:
        main([*arguments, text])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {arguments[-1]}: a " in said
    assert " moment" in said
    assert "as 2026-" in said
    assert "invalid" not in said
    assert "yesterday" not in said


@pytest.mark.parametrize("text", ["2026-11-01", "2026-11-01T08:00+08:00", "2026-11-01T00:00Z"])
def test_a_replay_takes_a_day_or_a_moment(text, capsys):
    assert main([*REPLAY, "--since", text]) == 1  # the settings are asked for next
    assert "none.toml" in capsys.readouterr().err


def test_it_is_said_where_a_mirror_keeps_the_copy(capsys):
    with pytest.raises(SystemExit):
        main(["mirror", "--help"])
    assert "DIR/log" in capsys.readouterr().out
