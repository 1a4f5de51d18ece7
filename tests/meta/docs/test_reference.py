"""The pages that are written from the code are up to date, and the schemas are true."""

import copy
import json
import re
import subprocess
import sys

import jsonschema
import pytest
import yaml

from docs import reference
from tests.meta.running import ROOT, SCHEMA

RESULTS = json.loads(SCHEMA.read_text())
TOLERANCES = reference.tolerances_schema()


@pytest.mark.parametrize(("path", "text"), reference.pages().items(), ids=lambda v: str(v)[-20:])
def test_a_written_page_is_what_the_code_says(path, text):
    assert path.read_text() == text, "python docs/reference.py writes it anew"


@pytest.mark.parametrize("schema", [RESULTS, TOLERANCES], ids=["results", "tolerances"])
def test_the_schemas_are_schemas(schema):
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_shipped_tolerances_fit_their_schema():
    jsonschema.validate(yaml.safe_load((ROOT / "tolerances.yaml").read_text()), TOLERANCES)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t["defaults"]["error_budget"].update(factor=1000),
        lambda t: t["defaults"].pop("error_budget"),
        lambda t: t["overrides"].append({"match": {"model": "m"}, "set": {"factor": 5}}),
        lambda t: t.update(more=1),
    ],
)
def test_what_the_reader_refuses_the_schema_refuses(spoil):
    found = yaml.safe_load((ROOT / "tolerances.yaml").read_text())
    spoil(found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, TOLERANCES)


def test_a_verdict_that_is_none_does_not_fit():
    case = copy.deepcopy(RESULTS["$defs"]["case"]["properties"]["verdict"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate("green", case)


@pytest.mark.slow
def test_the_site_has_strict_links(tmp_path):
    pytest.importorskip("mkdocs", reason="make docs installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "search" / "search_index.js").exists()
    fetched = re.compile(r'(?:src|<link[^>]* href)="?(?:https?:)?//')
    assert not [page for page in tmp_path.rglob("*.html") if fetched.search(page.read_text())]
