"""The page in headless Chromium: no error, the filter is quick, a link to a case opens it.

Skipped where no Chromium is on the PATH (``CHROMIUM`` names another).
"""

import json
import os
import re
import shutil
import subprocess

import pytest

from onnx_conformance.report import html
from tests.meta.sample_document import fail, full_run, make_case, make_document

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
WATCH = """<script>
window.found = {errors: []};
addEventListener("error", event => found.errors.push(event.message));
addEventListener("unhandledrejection", event => found.errors.push(String(event.reason)));
const told = console.error; console.error = (...all) => { found.errors.push(all.join(" ")); };
</script>"""
REPORT = """<script>
addEventListener("load", async () => {
  const painted = performance.getEntriesByName("first-contentful-paint")[0];
  found.painted = painted ? painted.startTime : performance.now();
  const type = text => { const search = document.querySelector("#search"); search.value = text;
    const from = performance.now(); search.dispatchEvent(new Event("input"));
    document.body.offsetHeight; return performance.now() - from; };
  const shown = () => document.querySelectorAll("details.case:not([hidden])").length;
  const wait = ms => new Promise(done => setTimeout(done, ms));
  found.all = shown();
  const quickest = text => Math.min(...[1, 2, 3].map(() => { type("x"); return type(text); }));
  found.milliseconds = Math.max(...["m", "model_7 ", "model_7 dynamo", ""].map(quickest));
  type("resnet50 dynamo"); found.resnet = shown();
  type("no such case"); found.none = shown();
  document.querySelector("input[value=failed]").checked = true;
  document.querySelector("input[value=failed]").dispatchEvent(new Event("change"));
  type(""); found.red = shown();
  const last = [...document.querySelectorAll("details.case")].at(-1);
  location.hash = last.id;
  const opened = () => last.open && last.querySelector("table");
  for (let tries = 0; tries < 40 && !opened(); tries++) await wait(25);
  found.opened = last.open && !last.hidden && last.querySelectorAll("table.checks tbody tr").length;
  found.focus = document.activeElement === last.querySelector("summary");
  const result = document.createElement("pre"); result.id = "found";
  result.textContent = JSON.stringify(found); document.body.append(result);
});
</script>"""


def in_browser(tmp_path, page):
    """What the page's own script was seen to do."""
    watched = page.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{REPORT}</body>")
    path = tmp_path / "page.html"
    path.write_text(watched)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    ran = subprocess.run(
        [BROWSER, *options, "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.*?)</pre>', ran.stdout)
    assert found, ran.stdout[-500:] + ran.stderr[-1000:]
    return json.loads(found[1])


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH")
def test_a_usual_run_in_a_browser(tmp_path):
    found = in_browser(tmp_path, html.render(full_run(failing=True)))
    assert found["errors"] == []
    assert (found["all"], found["resnet"], found["none"], found["red"]) == (38, 2, 0, 3)
    assert found["opened"] >= 30
    assert found["focus"]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH")
def test_two_thousand_cases_are_light_and_quick(tmp_path):
    routes = ("torch_torchscript", "torch_dynamo", "keras_export", "tf2onnx_function")
    cases = [
        make_case(f"model_{model}", route, opset, base=0.3 + (7 * model + opset) % 11 / 5)
        for model in range(50)
        for route in routes
        for opset in range(9, 19)
    ]
    cases[77] = fail(cases[77], "error_budget", 41.3)
    page = html.render(make_document(cases, "red", "1 of 2000 cases is red."))
    found = in_browser(tmp_path, page)
    assert found["errors"] == []
    assert (found["all"], found["red"]) == (2000, 1)
    assert found["opened"] >= 30
    assert len(page) < 3_000_000
    assert found["milliseconds"] < 100
    assert found["painted"] < 1000
