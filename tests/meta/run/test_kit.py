"""Answers of another machine: judged as in place, and refused where they are none to this kit."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.cli import kit as command
from onnx_conformance.cli import versions
from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.project import Project
from onnx_conformance.core.registry import registering
from onnx_conformance.run.answers_client import AnswersClient
from onnx_conformance.run.kit import SessionKey
from onnx_conformance.run.provider_sources import adopt_answers
from onnx_conformance.run.recorded_answers import AnswersRefusedError, RecordedAnswers
from tests.meta.run.test_against import perceptron
from tests.meta.running import CACHE, ORDINARY, run_suite

pytestmark = pytest.mark.slow

LIMIT = 60.0


class Answered:
    """The folder that run.py wrote, and what judges it."""

    def __init__(self, folder):
        self.models = folder
        self.words = [f"--against={folder / 'native.onnx'}", f"--artifact={folder / 'file.onnx'}"]
        self.kit, self.answers = folder / "kit", folder / "answers"

    def make(self):
        perceptron(self.models / "native.onnx")
        perceptron(self.models / "file.onnx", producer="an exporter")
        out, cache = self.models / "kit.zip", os.environ[CACHE]
        assert command.main([*self.words, f"--out={out}", f"--cache-dir={cache}", "-q"]) == 0
        with zipfile.ZipFile(out) as kit:
            kit.extractall(self.kit)
        self.run()
        return self

    def run(self):
        run = [
            sys.executable,
            str(self.kit / "run.py"),
            f"--out={self.answers}",
            "--device=a phone",
        ]
        subprocess.run([*run, "--driver=7.1"], check=True, timeout=100)

    def judge(self, folder, answers, *options):
        given = f"--answers=phone={answers}"
        return run_suite(folder, *ORDINARY, *self.words, given, "--bundles=0", *options)


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    return Answered(tmp_path_factory.mktemp("kit")).make()


@pytest.fixture(scope="module")
def judged(answered, tmp_path_factory):
    """Answers and the same file in place, in one matrix."""
    return answered.judge(tmp_path_factory.mktemp("judged"), answered.answers, "--provider=cpu")


def rows(case):
    return {(row["test"], row["name"], row["outcome"], row["score"]) for row in case["checks"]}


def test_verdicts_and_scores_are_those_of_the_same_session_in_place(judged):
    assert judged.status == 0, judged.text
    cases = {case["provider"]: case for case in judged.document["cases"]}
    assert {case["verdict"] for case in cases.values()} == {"passed"}
    assert cases["phone"]["worst_score"] == cases["cpu"]["worst_score"]
    here = {row["name"] for row in cases["cpu"]["checks"]} - {"unoptimised"}  # of the CPU provider
    assert {row["name"] for row in cases["phone"]["checks"]} == here


def test_the_run_tells_what_answered(judged):
    told = judged.document["environment"]["providers"]["phone"]["reason"]
    assert "a phone, 7.1" in told


def test_the_kit_holds_neither_answers_nor_native(answered):
    names = {path.name for path in answered.kit.iterdir()}
    assert names == {"kit.json", "run.py", "arrays.bin", "files", "sessions"}
    kept = {path.name for path in (answered.kit / "files").iterdir()}
    digest = hashlib.sha256((answered.models / "native.onnx").read_bytes()).hexdigest()
    assert digest not in kept


def test_run_goes_on_where_it_was_stopped(answered, tmp_path):
    whole = (answered.answers / "outputs.bin").read_bytes()
    lines = (answered.answers / "answers.txt").read_text().splitlines(keepends=True)
    again = Answered(answered.models)
    again.answers = tmp_path
    (tmp_path / "answers.txt").write_text("".join(lines[:20]) + lines[20][:30])
    (tmp_path / "outputs.bin").write_bytes(whole[: len(whole) // 2])
    again.run()
    assert (tmp_path / "outputs.bin").read_bytes() == whole
    AnswersClient(tmp_path, seed=0).start(LIMIT)


# -- sabotage --------------------------------------------------------------------------------


class Copy:
    """A copy of the answers to be spoiled; ``write`` makes a chain that holds, as a liar would."""

    def __init__(self, source, folder):
        self.folder = shutil.copytree(source, folder / "answers")
        lines = (self.folder / "answers.txt").read_text().splitlines()
        self.records = [json.loads(line.partition(" ")[2]) for line in lines]
        whole, at = (self.folder / "outputs.bin").read_bytes(), 0
        self.data = []
        for record in self.records:
            size = sum(output["bytes"] for output in record.get("outputs", ()))
            self.data.append(whole[at : at + size])
            at += size

    @property
    def answers(self):
        """Places of the answers of the session that answers most."""
        sessions = [record["session"] for record in self.records if record.get("outputs")]
        most = max(set(sessions), key=sessions.count)
        places = enumerate(self.records)
        return [n for n, one in places if one.get("outputs") and one["session"] == most]

    def write(self):
        chain, lines = self.records[0]["kit"], []
        for record, data in zip(self.records, self.data, strict=True):
            text = json.dumps(record)
            chain = hashlib.sha256(chain.encode() + text.encode() + data).hexdigest()
            lines.append(f"{chain} {text}\n")
        (self.folder / "answers.txt").write_text("".join(lines))
        (self.folder / "outputs.bin").write_bytes(b"".join(self.data))

    def raw(self, change):
        path = self.folder / "answers.txt"
        path.write_text("".join(change(path.read_text().splitlines(keepends=True))))

    def swap(self, one, other):
        for parts in (self.records, self.data):
            parts[one], parts[other] = parts[other], parts[one]

    def answer_all(self, data):
        for place in self.answers:
            size = len(self.data[place])
            self.data[place] = (data * size)[:size]
        self.write()


SABOTAGE = {}


def sabotage(sentence):
    def decorate(function):
        SABOTAGE[function.__name__] = function, sentence
        return function

    return decorate


@sabotage("given to another kit")
def another_kit(copy):
    kit = json.loads((copy.folder / "kit.json").read_text())
    (copy.folder / "kit.json").write_text(json.dumps({**kit, "threads": 8}))


@sabotage("another file was loaded there")
def another_file(copy):
    copy.records[copy.answers[0] - 1]["sha256"] = ["0" * 64]
    copy.write()


@sabotage("line 5 of answers.txt does not follow")
def reordered_lines(copy):
    copy.raw(lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]])


@sabotage("answers other inputs than stand there in the kit")
def reordered_answers_of_a_new_chain(copy):
    copy.swap(copy.answers[3], copy.answers[4])
    copy.write()


@sabotage("line 6 of answers.txt does not follow")
def repeated_line(copy):
    copy.raw(lambda lines: [*lines[:5], *lines[4:]])


@sabotage("ends before the kit does")
def truncated(copy):
    copy.raw(lambda lines: lines[:-3])


@sabotage("it was cut")
def truncated_outputs(copy):
    path = copy.folder / "outputs.bin"
    path.write_bytes(path.read_bytes()[:-4])


@sabotage("does not follow from what stands before it and its outputs")
def changed_number(copy):
    path = copy.folder / "outputs.bin"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)


@sabotage("goes on behind the kit's last inputs")
def more_than_was_asked(copy):
    copy.records.insert(-1, {"session": 0, "fed": "0"})
    copy.data.insert(-1, b"")
    copy.write()


@sabotage("zeros are all that was answered to")
def zeros(copy):
    copy.answer_all(b"\0")


@sabotage("one and the same answer was given to")
def one_answer(copy):
    copy.answer_all(np.float32(0.5).tobytes())


@sabotage("NVIDIA_TF32_OVERRIDE=1 overrides the precision of cuda")
def another_precision(copy):
    copy.records[0] |= {"provider": "cuda", "environment": {"NVIDIA_TF32_OVERRIDE": "1"}}
    copy.write()


@sabotage("cannot be read")
def no_json(copy):
    copy.raw(lambda lines: [*lines[:3], "nonsense\n", *lines[4:]])


@pytest.mark.parametrize("name", SABOTAGE)
def test_sabotage_is_told_by_its_sentence(answered, tmp_path, name):
    spoil, sentence = SABOTAGE[name]
    copy = Copy(answered.answers, tmp_path)
    spoil(copy)
    client = AnswersClient(copy.folder, seed=0)
    kit = json.loads((copy.folder / "kit.json").read_text())
    wanted = kit["sessions"][copy.records[copy.answers[0]]["session"]]
    with pytest.raises(AnswersRefusedError, match=sentence):
        client.call("open", LIMIT, session=request(wanted))


def request(wanted):
    return {
        "files": [file["name"] for file in wanted["files"]],
        "sha256": [file["sha256"] for file in wanted["files"]],
        "graph_level": wanted["graph_level"],
        "allow_cpu_fallback": wanted["allow_cpu_fallback"],
    }


def test_copy_that_nobody_spoiled_is_accepted(answered, tmp_path):
    copy = Copy(answered.answers, tmp_path)
    copy.write()
    AnswersClient(copy.folder, seed=0).start(LIMIT)


def test_another_seed_is_refused(answered):
    with pytest.raises(AnswersRefusedError, match="made with --seed 0 and this run has --seed 1"):
        AnswersClient(answered.answers, seed=1).start(LIMIT)


def test_a_file_that_is_not_in_the_kit_is_refused(answered):
    client = AnswersClient(answered.answers, seed=0)
    wanted = {**request(RecordedAnswers(answered.answers).kit["sessions"][1]), "sha256": ["0" * 64]}
    with pytest.raises(AnswersRefusedError, match=r"the kit has no file\.onnx of digest 0000"):
        client.call("open", LIMIT, session=wanted)


def test_inputs_that_nobody_asked_for_are_no_verdict(answered):
    client = AnswersClient(answered.answers, seed=0)
    wanted = request(RecordedAnswers(answered.answers).kit["sessions"][1])
    inputs = {"x": np.zeros((7, 10), np.float32)}
    (found,) = client.call("run", LIMIT, session=wanted, input_sets=[inputs])
    assert "the kit does not have these inputs" in found["missing"]


def test_a_check_of_inputs_that_nobody_asked_for_is_incomplete_by_name(answered, tmp_path):
    more = "--hypothesis-profile=ci"  # draws more inputs than the kit has
    run = answered.judge(tmp_path, answered.answers, more, "-k", "drawn or pinned or determinism")
    assert run.status == 5, run.text
    (case,) = run.document["cases"]
    assert case["verdict"] != "failed"
    outcomes = {row["name"]: row["outcome"] for row in case["checks"]}
    assert outcomes["determinism"] == "passed"
    assert "the kit does not have these inputs" in run.results.read_text()


def test_an_edited_copy_that_is_not_in_the_kit_is_no_verdict(answered):
    client = AnswersClient(answered.answers, seed=0)
    session = request(RecordedAnswers(answered.answers).kit["sessions"][1])
    wanted = {
        **session,
        "files": ["moved.onnx", *session["files"]],
        "sha256": ["0" * 64, *session["sha256"]],
    }
    with pytest.raises(CapabilityMissing, match="does not have this edited copy"):
        client.call("open", LIMIT, session=wanted)


def test_an_answer_is_replayed_as_often_as_it_was_asked(answered):
    replayed = RecordedAnswers(answered.answers).sessions
    counts = {len(each) for session in replayed.values() for each in session.answers.values()}
    assert counts == {1, 2}  # two of what determinism runs twice
    assert all(isinstance(key, SessionKey) for key in replayed)


def test_zeros_are_red_in_a_whole_run(answered, tmp_path):
    copy = Copy(answered.answers, tmp_path)
    zeros(copy)
    run = answered.judge(tmp_path, copy.folder)
    assert run.status == 1, run.text
    assert "zeros are all that was answered to" in run.text


def test_answers_copied_from_other_inputs_are_red_by_their_score(answered, tmp_path):
    copy = Copy(answered.answers, tmp_path)
    before, *others = copy.answers
    for place in others[::2]:
        if len(copy.data[place]) == len(copy.data[before]):
            copy.data[place] = copy.data[before]
        before = place
    copy.write()
    run = answered.judge(tmp_path, copy.folder, "-k", "pinned")
    assert run.status == 1, run.text
    messages = [row["message"] for case in run.document["cases"] for row in case["checks"]]
    assert any("noise floor" in message for message in messages)
    assert f"--answers=phone={copy.folder}" in run.text  # the command that judges them again


def test_of_two_drivers_the_one_that_answers_otherwise_is_told(answered, tmp_path, monkeypatch):
    monkeypatch.setattr(versions, "project", lambda: Project(tmp_path))
    copy = Copy(answered.answers, tmp_path)
    for place in copy.answers:  # of edge cases too, whose findings alone are no verdict
        wrong = np.frombuffer(copy.data[place], np.float32) * np.float32(1.01)
        copy.data[place] = wrong.tobytes()
    copy.write()
    words = [f"--answers=old={answered.answers}", f"--answers=new={copy.folder}", *answered.words]
    cache = f"--cache-dir={os.environ[CACHE]}"
    assert versions.main([*words, cache, "--no-localize", "--bundles=0"]) == 1
    told = json.loads((tmp_path / ".conformance" / "versions.json").read_text())
    old, new = told["answers"]
    assert "a phone, 7.1" in old
    assert "1 of 1 cases passed" in old
    assert "1 verdict differs" in new
    assert (tmp_path / ".conformance" / "versions.html").is_file()


def test_recorded_answers_are_not_timed(answered, tmp_path):
    words = [*answered.words, f"--answers=phone={answered.answers}", "--benchmark-only"]
    run = run_suite(tmp_path, "tests/test_latency.py", *words)
    assert run.status == 4, run.text
    assert "'phone' answers on another machine" in run.text


def test_a_folder_without_answers_is_bad_input(tmp_path):
    with pytest.raises(UsageError, match=r"no kit\.json is there"):
        adopt_answers([f"phone={tmp_path}"])
    with pytest.raises(UsageError, match="'cpu' cannot be its name"):
        adopt_answers([f"cpu={Path(tmp_path)}"])


def test_two_answers_of_one_name_are_bad_input(answered, tmp_path):
    shutil.copytree(answered.answers, tmp_path / "answers")
    given = [str(answered.answers), str(tmp_path / "answers")]
    with pytest.raises(UsageError, match="are called 'answers', too"):
        registering(lambda: adopt_answers(given), PROVIDERS)
