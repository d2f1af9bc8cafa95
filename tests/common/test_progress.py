"""Progress lines."""

import logging
import sys
import time

import pytest

from dit_scaling.common.progress import describe_seconds, track


def test_yields_everything_and_says_how_much_is_left(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO):
        assert list(track(iter("abcd"), 4, "letters", seconds=15)) == list("abcd")
    # The clock ticks 10 s an item, so the line of the second item is the first that is due.
    assert [record.getMessage() for record in caplog.records] == [
        "letters 2/4, 0.1/s, 20 s left",
        "letters 4/4, took 50 s",
    ]


def test_is_a_bar_on_a_terminal(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with caplog.at_level(logging.INFO):
        assert list(track([1, 2, 3], 3, "numbers")) == [1, 2, 3]
    assert "numbers" in capsys.readouterr().err
    assert not caplog.records


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"), (6000, "1 h 40 min"), (190_000, "2 d 5 h")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text
