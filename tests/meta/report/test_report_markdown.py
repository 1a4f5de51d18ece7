"""The Markdown summary, as a CommonMark parser with tables reads it."""

import copy

import pytest
from markdown_it import MarkdownIt

from onnx_conformance.report import markdown, pages
from tests.meta.report.test_report_html import Page
from tests.meta.running import run_suite
from tests.meta.sample_document import ISSUE, fail, full_run, make_case, make_document, skip

pytestmark = pytest.mark.slow

HOSTILE = [
    "a | b || c \\| d \\\\| e",
    "`one` ``two`` ```three```",
    "first\nsecond\r\n\n| third | - |\n|---|---|",
    "</details></table><script>alert(1)</script><!-- ",
    "**bold** _em_ __init__ ~~gone~~ [link](http://x) ![image](y) &amp; &#124;",
    "# heading\n- list\n    code\n> quote\n1. one\n---\n***",
    "@someone broke #12, !7, ~label and %2; thanks @torch.jit, $5 and $x$",
    "\x1b[31mred\x1b[0m \x00 \ud800 end",
]


def shown(document):
    return Page(MarkdownIt("commonmark").enable("table").render(markdown.render(document)))


def cells(page):
    return [tag for tag, _ in page.elements if tag in ("th", "td")]


def red_case(reason, **fields):
    case = copy.deepcopy(fail(make_case("m", "torch_dynamo", 18), "liveness", 9.0)) | fields
    for check in case["checks"]:
        if check["outcome"] == "failed":
            check |= {"reason": reason, "message": ""}
    return case


def test_the_verdict_comes_first():
    assert shown(full_run(failing=True)).text.startswith("✗ Red: 3 cases 3 of 38 cases failed.")
    nothing = make_document([], verdict="proved nothing", sentence="Nothing was judged.")
    page = shown(nothing)
    assert page.text.startswith("– Proved nothing Nothing was judged.")
    assert "No case reached a verdict." in page.text


def test_red_cases_come_next_each_with_its_reason_and_command():
    text = shown(full_run(failing=True)).text
    first = "resnet50-torch_dynamo-opset25-cpu error_budget output 'output' differs from native"
    assert text.index("Failed cases") < text.index(first) < text.index("Verdict, worst score")
    assert "and 11 more failed checks" in text
    node = "tests/test_function.py::test_pinned_inputs[image-resnet50-torch_dynamo-opset25-cpu]"
    assert f"pytest '{node}' --model resnet50" in text
    assert "pytest tests/test_function.py::test_checker" in text  # by its id alone


def test_a_run_without_red_cases_has_no_table_of_them():
    assert "Failed cases" not in markdown.render(full_run())


def test_the_node_that_introduces_the_error_is_reported():
    message = "first wrong at Gemm '/0/Gemm' (node 0)\n2 nodes pass it on"
    text = markdown.render(make_document([red_case("differs", divergence={"text": message})]))
    assert "| differs<br>first wrong at Gemm '/0/Gemm' (node 0) |" in text


def test_proved_rows_are_folded_and_others_are_not():
    text = markdown.render(full_run(failing=True))
    in_sight, folded = text.split("<details>")
    assert "15 of 19 rows passed every check" in folded
    matrix = in_sight.split("### Verdict, worst score")[1]
    assert "✗ failed 41× &#62; 4×" in matrix
    assert "✗ failed ∞× &#62; 4×" in matrix
    assert "△ known failure" in matrix
    assert "simple_net" not in matrix
    assert "simple_net" in folded


def test_a_pass_in_part_is_in_sight_and_not_called_proved():
    case = make_case("m", "torch_dynamo", 18, complete=False)
    text = markdown.render(make_document([case], verdict="incomplete"))
    assert "◐ incomplete 1× ≤ 4×" in text
    assert "<details>" not in text


def test_several_providers_are_the_columns():
    cases = [make_case("m", "torch_dynamo", 18, provider) for provider in ("cpu", "openvino")]
    assert "model exporter opset cpu openvino m torch_dynamo 18 ✓ 1× ≤ 4× ✓ 1× ≤ 4×" in (
        shown(make_document(cases)).text
    )


def test_known_failures_absent_providers_and_skips_have_their_reasons():
    cases = full_run()["cases"]
    cases.append(skip(make_case("m", "torch_dynamo", 18), "no | such thing"))
    page = shown(make_document(cases))
    assert "2 cases: from_keras looks a Keras 3 symbolic name up" in page.text
    assert ("a", {"href": ISSUE}) in page.elements
    assert "cuda: 38 cases not run: libonnxruntime_providers_cuda.so" in page.text
    assert "1 case: no | such thing" in page.text


def test_versions_are_reported():
    text = shown(full_run()).text
    assert "Python 3.11.7, torch 2.15.0, onnx 1.23.2, onnxruntime-gpu 1.31.1" in text
    assert "pytest tests --ignore=tests/meta" in text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_stays_text(hostile):
    plain = make_document([red_case("plain")])
    document = make_document([red_case(hostile)])
    wild = make_document([red_case("plain", id=hostile)])
    for sample in (document, wild):
        page = shown(sample)
        assert cells(page) == cells(shown(plain))
        tags = {tag for tag, _ in page.elements}
        assert tags <= {"h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code",
                        "br", "ul", "li", "span", "a", "details", "summary"}  # fmt: skip
        reported = " ".join(pages.clean(hostile).split())
        assert reported in page.text


def test_a_sign_before_a_name_calls_nobody():
    text = markdown.prose("ask @someone of #12, !7, but not a@b")
    assert text == (
        "ask <span>&#64;</span>someone of <span>&#35;</span>12, <span>&#33;</span>7, "
        "but not a&#64;b"
    )


def test_what_is_long_is_cut_and_counted():
    cases = [red_case("x" * 5000, id=f"case {place}") for place in range(300)]
    text = markdown.render(make_document(cases, verdict="red"))
    assert len(text.encode()) < 2**20  # GitHub refuses a longer summary
    assert "… and 250 more failed cases" in text


def test_a_run_writes_its_summary_whole_over_an_old_one(tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("an old summary\n")
    arguments = ("--model=simple_net", "--provider=cpu", "--exporter=torch_torchscript")
    run = run_suite(
        tmp_path,
        "tests/test_structure.py",
        *arguments,
        "--opset=14",
        f"--report-md={summary}",
    )
    text = summary.read_text()
    assert run.document["run"]["sentence"] in shown(run.document).text
    assert text == markdown.render(run.document)
    assert text.startswith("## ◐ Incomplete")


def test_a_place_that_cannot_be_written_is_reported_before_anything_starts(tmp_path):
    (tmp_path / "file").write_text("")
    summary = tmp_path / "file" / "summary.md"
    run = run_suite(
        tmp_path, "tests/test_structure.py", "--model=simple_net", f"--report-md={summary}"
    )
    assert run.status == pytest.ExitCode.USAGE_ERROR, run.text
    assert "--report-md: cannot write " in run.text
    assert run.document["cases"] == []
