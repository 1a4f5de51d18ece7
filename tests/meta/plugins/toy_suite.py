"""The thin test of the check that ``toys`` adds; a run of these is given this file."""

import pytest

from tests.meta.plugins.toys import check_toy_producer


@pytest.mark.check("toy_producer")
def test_toy_producer(subject, evidence):
    evidence(subject, check_toy_producer(subject))
