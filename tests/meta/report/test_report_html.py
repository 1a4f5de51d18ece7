"""The HTML page: every outcome shown, hostile text harmless, absent values no error."""

import base64
import gzip
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.report import html, pages
from onnx_conformance.report.columns import MARKS
from onnx_conformance.report.view import view
from tests.meta.sample_document import (
    ISSUE,
    fail,
    full_run,
    make_case,
    make_check,
    make_document,
    skip,
)


class Page(HTMLParser):
    """What a browser would make of the page: elements, their attributes, and visible text."""

    VOID = {"meta", "br", "link", "img", "input", "hr"}
    INLINE = {"a", "code", "span", "sup", "b"}

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts, self.scripts = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = re.sub(r"\s+", " ", "".join(self.texts))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.texts.append("" if tag in self.INLINE else " ")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.texts.append(data)

    def having(self, word):
        return [tag for tag, attrs in self.elements if word in (attrs.get("class") or "").split()]


SCRIPT = f"\n{(pages.TEMPLATES / 'report.js').read_text().rstrip()}"


def page_of(*cases, **fields):
    return Page(html.render(make_document(list(cases), **fields)))


@pytest.fixture(scope="module")
def red():
    return html.render(full_run(failing=True))


def test_the_verdict_comes_first(red):
    page = Page(red)
    assert re.search(r"✗ Red: 3 cases 3 of 38 cases failed\.", page.text)
    proved = page_of(make_case("m", "torch_dynamo", 18))
    assert "✓ Passed All cases passed every check." in proved.text
    nothing = page_of(verdict="proved nothing", sentence="Nothing was judged.")
    assert "– Proved nothing Nothing was judged." in nothing.text
    assert "No case reached a verdict." in nothing.text


def test_a_red_run_without_a_red_case_is_red():
    page = page_of(make_case("m", "torch_dynamo", 18), verdict="red", sentence="cuda is required")
    assert "✗ Red cuda is required" in page.text


def test_a_failure_says_what_to_do(red):
    page = Page(red)
    assert "worst at [2, 417]: expected 0.1249, got 0.1311" in page.text
    node = "tests/test_function.py::test_pinned_inputs[image-resnet50-torch_dynamo-opset25-cpu]"
    assert f"reproduce pytest '{node}' --model resnet50" in page.text
    assert "reproduce pytest tests/test_function.py::test_checker" in page.text  # by its id alone
    assert "bundle .conformance/repro/resnet50-torch_dynamo-opset25-cpu-error_budget-0f3a" in (
        page.text
    )
    # beside the failure and in its case; the message's own line is not repeated
    assert page.text.count(f"pytest '{node}'") == 2
    assert page.text.index("worst at [2, 417]") < page.text.index("Verdict and worst score:")


def test_every_outcome_has_a_colour_and_a_symbol():
    checks = [make_check(outcome, outcome, reason=f"as {outcome}") for outcome in MARKS]
    page = page_of(make_case("m", "torch_dynamo", 18, verdict="failed", checks=checks))
    for outcome, look in MARKS.items():
        assert page.having(outcome), outcome
        assert f"{look.symbol} {look.word} {outcome}" in page.text
        assert f"as {outcome}" in page.text


def test_every_verdict_has_a_cell():
    cases = [
        make_case("m", "torch_dynamo", opset, verdict=verdict)
        for opset, verdict in enumerate(("passed", "failed", "known_failure", "skipped"))
    ]
    cases.append(make_case("m", "torch_dynamo", 99, complete=False))
    page = page_of(*cases)
    cells = [attrs["class"] for tag, attrs in page.elements if "cell" in attrs.get("class", "")]
    assert cells == [
        "cell passed",
        "cell failed",
        "cell known_failure",
        "cell skipped",
        "cell incomplete",
    ]


def test_a_pass_of_some_checks_is_not_called_a_proof():
    case = make_case("m", "torch_dynamo", 18, complete=False)
    page = page_of(case, sentence="0 of 1 cases passed every check.", verdict="incomplete")
    assert "◐ Incomplete 0 of 1 cases passed every check." in page.text
    assert "✓ Passed" not in page.text
    assert "✓ Passed" in page_of(case, make_case("m", "torch_dynamo", 19)).text


def test_an_absent_provider_is_named_once(red):
    page = Page(red)
    assert "cuda is absent here (38 cases not run): libonnxruntime_providers_cuda.so" in page.text
    assert page.text.count("libcurand.so.10") == 2  # there, and in the environment
    assert "-cuda" not in page.text


def test_an_absent_provider_that_made_a_case_red_is_shown():
    case = make_case("m", "torch_dynamo", 18, "cuda", verdict="failed")
    assert "m-torch_dynamo-opset18-cuda" in page_of(case).text


def test_a_known_failure_has_its_reason_and_link(red):
    page = Page(red)
    assert page.text.count("from_keras looks a Keras 3 symbolic name up") >= 1
    assert ("a", {"href": ISSUE, "rel": "noreferrer"}) in page.elements
    notes = page.text[page.text.index("was selected") :]
    assert "△ known failure (2 cases; checker, interface, batch_axis, opset and" in notes


def test_a_skipped_case_has_its_reason():
    page = page_of(skip(make_case("m", "tf2onnx_keras", 18), "tensorflow is not installed"))
    notes = page.text[page.text.index("was selected") :]
    assert "– skipped (1 case) tensorflow is not installed" in notes


def rows_of(*cases):
    found = view(make_document(list(cases))).matrix
    return [*found.columns, *found.headings], [
        (row.span, *row.texts, [c is not None for c in row.cells]) for row in found.rows
    ]


def test_the_matrix_has_a_row_a_route_and_a_column_an_opset():
    one, two = make_case("b", "one", 18), make_case("b", "one", 9)
    assert rows_of(one, two, make_case("a", "one", 18), make_case("b", "two", 18)) == (
        ["model", "exporter", "opset 9", "opset 18"],
        [
            (2, "b", "one", [True, True]),
            (0, "b", "two", [False, True]),
            (1, "a", "one", [False, True]),
        ],
    )


def test_several_providers_are_the_columns():
    one, two = make_case("b", "one", 18), make_case("b", "one", 9, "openvino")
    assert rows_of(one, two, make_case("b", "one", 9)) == (
        ["model", "exporter", "opset", "cpu", "openvino"],
        [(2, "b", "one", "18", [True, False]), (0, "b", "one", "9", [True, True])],
    )


HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}&amp;$x^$"


def test_hostile_text_stays_text():
    def poison(value):
        if isinstance(value, dict):
            return {poison(key) if key not in KEYS else key: poison(v) for key, v in value.items()}
        if isinstance(value, list):
            return [poison(item) for item in value]
        return HOSTILE if isinstance(value, str) and value not in KEYS else value

    KEYS = {*MARKS, "red"}  # what the schema fixes; all other text is non-finite
    case = fail(make_case("m", "torch_dynamo", 18), "error_budget", 9.0)
    clean = make_document([case], verdict="red")
    KEYS |= {*keys_of(clean)} - {"CPUExecutionProvider", "Conv", "cpu", "cuda", "import", "torch"}
    page = Page(html.render(poison(clean)))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "iframe", "object"}
    assert page.scripts == [SCRIPT]
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text  # as words
    assert "{{7*7}}" in page.text
    assert "&amp;$x^$" in page.text


def keys_of(value):
    if isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from keys_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys_of(item)


def test_links_are_web_addresses_only():
    text = pages.prose("see javascript:alert(1) and https://a.b/c?d=1&e=<x> (http://f.g/h).")
    assert re.findall(r'href="([^"]*)"', text) == ["https://a.b/c?d=1&amp;e=", "http://f.g/h"]
    assert "&lt;x&gt;" in text


def test_control_characters_do_not_reach_the_page():
    message = "\x1b[31mred\x1b[0m \x00\x08 lone \ud800 surrogate"
    check = make_check("it", "error", reason="", message=f"first\n{message}")
    page = html.render(make_document([make_case("m", "e", 18, verdict="failed", checks=[check])]))
    assert "red  lone  surrogate" in page
    page.encode()


def test_absent_values_are_no_error():
    empty = {
        "opset": None, "worst_score": None, "budget": None, "placement": None, "artifact": None,
        "artifact_bytes": None, "artifact_sha256": None, "nodes": {}, "inputs": [], "outputs": [],
        "dynamic_axes": {}, "initializers": {}, "checks": [],
    }  # fmt: skip
    bare = make_check("bare", reason="", nodeid=None, compared=0)
    del bare["bundle"]
    cases = [
        make_case("m", "e", 18) | empty,
        make_case("m", "e", 19, worst_score="inf", budget=4.0),  # as the JSON file has it
        make_case("m", "e", 20, worst_score=math.nan, budget=None),
        make_case("m", "e", 21, worst_score=0.0, checks=[bare]),
        make_case("m", "e", 22, inputs=[{"name": "x", "dtype": "?", "shape": None}]),
        make_case("m", "e", 23, checks=[bare | {"outcome": "failed"}]),
    ]
    page = page_of(*cases)
    assert "no session was opened" in page.text
    assert "∞×" in page.text
    assert "x ? [?]" in page.text
    assert "None" not in page.text
    assert "Undefined" not in page.text
    nothing = make_document([])
    nothing["environment"] = {"versions": {}}
    nothing["time"] = {"wall": None}
    assert "No case reached a verdict." in Page(html.render(nothing)).text


def test_a_case_shows_what_was_delivered():
    page = page_of(make_case("m", "torch_dynamo", 14) | {"opset": 18})
    for texts in (
        "requested 14, delivered 18",
        "→ opset 18",
        "102 MB (102,161,234 bytes); 108 initializers of 25,530,472 elements",
        "input float32 [batch_size, 3, 224, 224] axis 0 dynamic: batch_size",
        "nodes 121: Conv 53 Relu 49",
        "CPUExecutionProvider: Conv 53",
        "83213450ed3f186bece68f9b953e9eba1e193d610a6fadcc05a6943e07407112",
    ):
        assert texts in page.text, texts


def test_the_page_is_self_contained(red):
    page = Page(red)
    assert not {"link", "img", "iframe"} & {tag for tag, _ in page.elements}
    assert page.scripts == [SCRIPT]
    assert not any("src" in attrs for tag, attrs in page.elements if tag == "script")
    assert "@import" not in red
    links = [attrs["href"] for tag, attrs in page.elements if tag == "a"]
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    inside = set(re.findall(r"url\(#([^)]*)\)", red))
    assert inside <= set(ids)
    assert "prefers-color-scheme: dark" in red
    assert not re.findall(r"#01010\d", red)  # every stand-in became a variable


def test_plots_show_the_scores_and_the_stages(red):
    figures = re.findall(r"<figure>(.*?)</figure>", red, flags=re.DOTALL)
    assert len(figures) == 2
    scores, stages = (Page(figure).text for figure in figures)
    assert "budget 4×" in scores
    assert "∞×" in scores
    assert "resnet50-torch_dynamo-opset25-cpu" in scores
    assert "oracle" in stages
    assert "104.8 s" in stages


def test_budgets_may_differ():
    cases = [make_case("m", "e", 18), make_case("m", "e", 19, budget=8.0, worst_score=6.0)]
    assert "budget 4×" not in page_of(*cases).text


def test_the_same_results_make_the_same_page(red):
    assert html.render(full_run(failing=True)) == red


def test_a_document_read_from_json_renders_the_same():
    document = make_document([make_case("m", "torch_dynamo", 18)])
    assert html.render(json.loads(json.dumps(document))) == html.render(document)


def write(document, path):
    return pages.write_page("onnx_conformance.report.html", path, "--report-html", document)


def test_write_makes_the_folder_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "report.html"
    write(make_document([]), path)
    assert write(make_document([make_case("m", "e", 18)]), path) == f"page: {path}"
    assert "m-e-opset18-cpu" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_details_of_many_cases_are_packed_and_escaped():
    cases = [make_case("m", f"route{place}", 18, verdict="passed") for place in range(120)]
    cases[70]["artifact"] = HOSTILE
    text = html.render(make_document(cases))
    page = Page(text)
    *packed, script = page.scripts
    assert script == SCRIPT
    assert [len(bodies) for bodies in map(unpacked, packed)] == [50, 50, 20]
    body = Page(unpacked(packed[1])[20])
    assert HOSTILE in body.text
    assert not {"script", "img"} & {tag for tag, _ in body.elements}
    assert HOSTILE not in page.text
    places = [attrs["data-packed"] for _, attrs in page.elements if "data-packed" in attrs]
    assert places[70] == "1:20"


def unpacked(text):
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_a_write_that_fails_leaves_no_file_and_says_which_option(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("the page of the last run")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UsageError, match="^--report-html: cannot write .*No space left on device"):
        write(make_document([]), path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "the page of the last run"


def test_a_folder_in_the_way_is_one_clear_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--report-html: cannot write .*File exists"):
        write(make_document([]), tmp_path / "file" / "report.html")
    with pytest.raises(UsageError, match="--report-html: cannot write .*Is a directory"):
        write(make_document([]), tmp_path)
