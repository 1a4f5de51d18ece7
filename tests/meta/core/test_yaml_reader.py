"""The reader of the project's YAML files: values of a kind, and mistakes by file, line and key."""

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.yaml_reader import YamlNode, read_yaml


@pytest.fixture
def node(tmp_path):
    def from_value(text):
        path = tmp_path / "it.yaml"
        path.write_text(f"# a comment\nkey: {text}\n")
        return read_yaml(path).keys(("key",))["key"]

    return from_value


def number(node):
    return node.number(0, 10)


def whole(node):
    return node.whole(1, 9)


def choice(node):
    return node.choice(("one", "two"))


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (YamlNode.text, "' some words '", "some words"),
        (YamlNode.texts, "[a, b]", ("a", "b")),
        (YamlNode.flag, "yes", True),
        (number, "1e-5", 1e-5),  # which YAML 1.1 takes for a text
        (number, "3", 3.0),
        (YamlNode.positive, "0.5", 0.5),
        (whole, "9", 9),
        (choice, "two", "two"),
        (YamlNode.specifiers, "{torch: '>=2.9,<3'}", {"torch": ">=2.9,<3"}),
    ],
)
def test_a_value_is_read_as_its_kind(node, read, text, value):
    assert read(node(text)) == value


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (YamlNode.text, "7", "'key' must be a text, not 7"),
        (
            lambda node: node.text(9),
            "little",
            "'key' must have 9 characters or more; it is 'little",
        ),
        (YamlNode.texts, "[1]", r"'key' must be a list of texts, such as \[one, two\], not \[1\]"),
        (YamlNode.flag, "often", "'key' must be true or false, not 'often'"),
        (number, "11", "'key' must be a number from 0 to 10, not 11"),
        (number, "'3'", "'key' must be a number from 0 to 10, not '3'"),
        (number, "true", "'key' must be a number from 0 to 10, not True"),
        (number, ".nan", "'key' must be a number from 0 to 10, not nan"),
        (number, ".inf", "'key' must be a number from 0 to 10, not inf"),
        (number, "many", "'key' must be a number from 0 to 10, not 'many'"),
        (number, "", "'key' must be a number from 0 to 10, not None"),
        (number, "[1.0]", r"'key' must be a number from 0 to 10, not \[1.0\]"),
        (number, "2025-99-99", "'key' must be a number from 0 to 10, not '2025-99-99'"),
        (number, "!!python/name:os.system", "'key' must be a number from 0 to 10"),
        (YamlNode.positive, ".inf", "'key' must be a number above 0, not inf"),
        (whole, "3.0", "'key' must be a whole number from 1 to 9, not 3.0"),
        (whole, "true", "'key' must be a whole number from 1 to 9, not True"),
        (choice, "three", "unknown key 'three'; known: one, two"),
        (YamlNode.link, "here", "'key' must be the address of an issue"),
        (YamlNode.reason, "because", "the file needs a 'reason' of several words"),
        (
            YamlNode.specifiers,
            "{torch: 2.9}",
            "'key' must map packages to specifiers, .* 'torch' is 2.9",
        ),
        (YamlNode.mapping, "[]", "'key' must be a mapping of keys to values"),
        (YamlNode.mapping, "{a: 1, a: 2}", "'a' occurs twice in 'key'"),
        (YamlNode.entries, "text", "'key' must be a list of entries"),
        (lambda node: node.keys(("a",)), "{}", "'a' is missing in 'key'; required: a"),
        (lambda node: node.keys(("a",)), "{b: 1}", "unknown key 'b' in 'key'; known: a"),
        (lambda node: node.schema(1), "true", "'key' must be 1, not True"),
    ],
)
def test_a_mistake_is_reported_with_its_line(node, read, text, message):
    with pytest.raises(UsageError, match=f"it.yaml, line 2: {message}"):
        read(node(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"key: [1", "is not YAML: .*line 1"),
        (b"key: 1\n\tother: 2", "is not YAML: .*line 2"),
        (b"key: 1\n---\nkey: 1", "is not YAML: .*single document"),
        (b"key: \xff\xfe", "is not YAML"),
        (b"key: \x01", "is not YAML"),
    ],
)
def test_what_is_no_yaml_is_reported_in_one_line(tmp_path, text, message):
    path = tmp_path / "it.yaml"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=f"{path} {message}") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "message"), [("none", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, message):
    with pytest.raises(UsageError, match=f"cannot read {tmp_path / name}: {message}"):
        read_yaml(tmp_path / name)


def test_an_empty_file_has_no_entries(tmp_path):
    path = tmp_path / "it.yaml"
    path.write_text("# nothing yet\n")
    assert read_yaml(path).entries() == []
    with pytest.raises(UsageError, match="it.yaml: the file must be a mapping"):
        read_yaml(path).mapping()
