"""The study of models that nobody here chose: its entries, and how a run is read."""

import json
from collections import Counter

import pytest

from studies.wild import HERE, Entry, judged, read_entries, runs
from studies.wild_table import key_of, read_rows, write_table

PLAIN = Entry("m", models="blocks", exporter="torch_dynamo", origin="torch")


def document(*checks, complete=True, problems=(), missing=None):
    rows = [{"name": n, "outcome": o, "reason": why, "upstream": []} for n, o, why in checks]
    case = {
        "model": "m",
        "exporter": "torch_dynamo",
        "option": False,
        "checks": rows,
        "complete": complete,
        "missing": missing or {},
    }
    return {"cases": [case] if checks else [], "run": {"problems": list(problems)}}


def test_every_entry_is_told_apart_and_says_why_it_is_not_to_pass():
    entries = read_entries()
    assert max(Counter(map(key_of, entries)).values()) == 1
    for entry in entries:
        assert entry.want == "passed" or entry.why, entry.id
        assert not entry.models or (HERE / f"{entry.models}.py").is_file()
    assert sum(map(len, runs(entries))) == len(entries)


@pytest.mark.parametrize(
    ("written", "got"),
    [
        (document(("rows", "passed", "")), "passed"),
        (document(("rows", "passed", ""), complete=False, missing={"rows": "few"}), "incomplete"),
        (document(("rows", "failed", "differs")), "red"),
        (document(("rows", "error", "internal error in check rows: KeyError")), "internal error"),
        (document(problems=["model 'm' was refused: no range"]), "refused"),
        (document(problems=["model 'other' was refused"]), "nothing"),
        (None, "crashed"),
    ],
)
def test_how_a_run_is_read(written, got):
    assert judged(PLAIN, 1, "Traceback", written, 1.0).got == got


def test_a_run_of_bad_input_is_a_refusal():
    assert judged(PLAIN, 4, "ERROR: model 'm' has no range", None, 1.0).got == "refused"


def test_rows_of_what_was_not_judged_now_are_kept(tmp_path):
    other = Entry("other", want="red", why="lost", origin="torch", exporter="torch_dynamo")
    target = tmp_path / "wild.json"
    passed = judged(PLAIN, 0, "", document(("rows", "passed", "")), 2.0)
    write_table([PLAIN, other], [passed], target)
    failed = judged(other, 0, "", None, 2.0)
    write_table([PLAIN, other], [failed], target)
    assert set(read_rows(target)) == {key_of(PLAIN), key_of(other)}
    figures = json.loads(target.read_text())["figures"]
    assert (figures["passed_rightly"], figures["crashes_and_internal_errors"]) == (1, 1)
    page = target.with_suffix(".md").read_text()
    assert "| m | torch_dynamo | passed | yes |" in page
    assert "**no**: red" in page
