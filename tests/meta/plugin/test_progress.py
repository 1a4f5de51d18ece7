"""Progress: how far the run is and how long it takes, on a terminal; a line a case anywhere."""

from types import SimpleNamespace
from typing import Any

import pytest

from onnx_conformance.core.case import Case
from onnx_conformance.plugin.progress import Progress

CASES = [Case("m", "torch_dynamo", opset, "cpu") for opset in (18, 19, 20, 21)]
ABSENT = Case("m", "torch_dynamo", 18, "cuda")


class Reporter:
    """What pytest's reporter was asked to write; ``live`` is the line that is overwritten."""

    def __init__(self, *, isatty: bool) -> None:
        self.isatty = isatty
        self._screen_width = 100
        self.text = ""
        self.live: list[str] = []
        self.config = SimpleNamespace(pluginmanager=SimpleNamespace(getplugin=lambda name: None))

    def write(self, text: str, **_: Any) -> None:
        self.text += text

    def write_line(self, text: str, **_: Any) -> None:
        self.text += f"{text}\n"

    def rewrite(self, text: str, **_: Any) -> None:
        self.live.append(text)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.seconds)
    return clock


def begun(reporter: Reporter) -> Progress:
    shown = Progress(reporter, set())
    shown.expect(dict.fromkeys([*CASES, ABSENT], 1))
    shown.leave_out(["cuda"])
    return shown


def row(outcome: str = "passed", score: float | None = 0.86) -> dict[str, Any]:
    return {"outcome": outcome, "score": score, "reason": ""}


def test_the_live_line_says_how_far_and_how_long(now: SimpleNamespace) -> None:
    reporter = Reporter(isatty=True)
    shown = begun(reporter)
    shown.tick({"torch": "export m"})
    assert reporter.live[-1] == "  … 0 of 4 cases · export m"
    now.seconds = 40.0
    shown.add(CASES[0], row())
    shown.add(CASES[1], row("failed"))
    shown.tick({"torch": "export m", "cpu": "runtime m"})
    assert reporter.live[-1] == "  … 2 of 4 cases, 1 red, about 40 s left · export m · runtime m"


def test_elsewhere_there_are_plain_lines_alone(now: SimpleNamespace) -> None:
    reporter = Reporter(isatty=False)
    shown = begun(reporter)
    shown.tick({"torch": "export m"})
    shown.add(CASES[0], row())
    assert reporter.live == []
    assert reporter.text.startswith("[  1/4] passed  m-torch_dynamo-opset18-cpu")
    assert reporter.text.endswith("1 check, worst score 0.86x\n")


def test_cases_of_an_absent_provider_are_not_counted(now: SimpleNamespace) -> None:
    reporter = Reporter(isatty=False)
    shown = begun(reporter)
    shown.add(ABSENT, row("skipped", None))
    assert reporter.text == ""
