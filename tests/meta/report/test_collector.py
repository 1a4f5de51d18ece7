"""The collector of a run: what it does beside the tests does not disturb them."""

from threading import Event, Thread
from types import SimpleNamespace

from onnx_conformance.plugin.collector import Collector


def test_no_test_begins_while_the_page_s_library_is_imported():
    """Its loggers appear while pytest walks all loggers: now and then a right case was red."""
    collector, begun = Collector(SimpleNamespace(), SimpleNamespace(), SimpleNamespace()), Event()
    collector.pytest_runtest_logstart()  # nothing is imported where nothing is drawn
    collector._drawing = Thread(target=begun.wait, args=(0.2,))
    collector._drawing.start()
    collector.pytest_runtest_logstart()
    assert not collector._drawing.is_alive()
