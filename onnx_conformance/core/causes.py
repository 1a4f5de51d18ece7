"""What a framework's error says, in one line: its own cause first, without its boilerplate."""

from __future__ import annotations

import re

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
LONGEST = 600  # characters of a reason; the whole text stands in the worker's traceback
# torch.onnx: "Failed to export …. This is step 1/3 … Next steps: … ## Exception summary", then the
# exceptions from the first cause on, with an arrow between them.
SUMMARY, ARROW = "## Exception summary", "⬆️"
CLASS = re.compile(r"<class '(?:[\w.]*\.)?(\w+)'>: *")
RAISED_AT = re.compile(
    r"The following call raised this error:\s*File \"(?P<file>[^\"]+)\", line (?P<line>\d+), "
    r"in (?P<function>\S+)\s*\n?\s*(?P<code>[^\n]*)"
)
# What torch.export adds to every error.
ADVICE_OF_TORCH = re.compile(
    r"(?:For more information, run with|For extended logs when|If you suspect the guard|"
    r"For more debugging help|For C\+\+ stack trace|The error above occurred when calling|"
    r"\(Refer to the full stack trace|See the stack trace for more information|User Stack|"
    r"If this was caused by Python `not`|consider using data-dependent friendly)"
)
# Keras: "Exception encountered when calling Layer.call().", the cause, the arguments.
KERAS = re.compile(
    r"Exception encountered when calling (?P<where>[^\n]+?)\.\s*\n(?P<cause>.*?)"
    r"(?:\n\s*Arguments received by|\Z)",
    re.DOTALL,
)
# TensorFlow: "in user code:", the lines of a traceback, and the error in the last of them.
TRACEBACK = re.compile(r"in user code:|Traceback \(most recent call last\):")
ERROR_LINE = re.compile(r"^\s*(?:[\w.]*\.)?(?P<kind>\w*(?:Error|Exception)): (?P<words>.*)", re.M)
# Advice that is worth its room wherever it stands.
ADVICE = re.compile(
    r"[^.\n]*\b(?:(?:was |were )?added in (?:opset |version |opset version )\d+|"
    r"(?:at least|from|requires?) opset (?:version )?\d+|opset_version *(?:>=|to) *\d+)[^.\n]*"
)


def plain(text: str) -> str:
    """The text without terminal escapes."""
    return ESCAPES.sub("", text)


def cause_of(message: str) -> str:
    """One line with the cause of an error: the framework's own words, its boilerplate left out.

    A text that is none of the known kinds stays as it is, in one line. Advice on opsets is kept.
    """
    text = plain(message)
    found = _torch(text) or _keras(text) or _traceback(text) or text
    cause = _line(found)
    if len(cause) > LONGEST:
        cause = f"{cause[:LONGEST].rstrip()} …"
    advice = [_line(one[0]) for one in ADVICE.finditer(text) if _line(one[0]) not in cause]
    return "; ".join([cause, *dict.fromkeys(advice)])


def informative_lines(details: str, most: int) -> list[str]:
    """The last lines of a worker's traceback or log that are neither empty nor boilerplate."""
    lines = [line for line in plain(details).splitlines() if line.strip()]
    return [line for line in lines if not ADVICE_OF_TORCH.match(line.strip())][-most:]


def _line(text: str) -> str:
    return " ".join(text.split())


def _torch(text: str) -> str | None:
    """The first cause of an error of torch's exporters, and where the model's code raised it."""
    headline, found, summary = text.partition(SUMMARY)
    if not found:
        return None
    at = RAISED_AT.search(summary)
    first = summary.partition(ARROW)[0].partition("The following call raised this error")[0]
    first = ADVICE_OF_TORCH.split(first, maxsplit=1)[0]
    cause = CLASS.sub(r"\1: ", _line(first))
    place = f" (raised by {at['code'].strip()}, {at['file']}:{at['line']})" if at else ""
    doing = _line(headline).partition(". ")[0]
    return f"{cause}{place} [{doing}]" if doing else f"{cause}{place}"


def _keras(text: str) -> str | None:
    found = KERAS.search(text)
    if found is None or not found["cause"].strip():
        return None
    kind = text[: found.start()].strip()
    inner = _keras(found["cause"]) or _traceback(found["cause"]) or found["cause"]
    return f"{kind} {_line(inner)} (in {found['where'].strip()})".strip()


def _traceback(text: str) -> str | None:
    if not TRACEBACK.search(text):
        return None
    found = list(ERROR_LINE.finditer(text))
    return f"{found[-1]['kind']}: {found[-1]['words']}" if found else None
