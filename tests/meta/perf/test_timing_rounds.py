"""Interleaving: a turn a round for every contender, in an order drawn anew, paired by rounds."""

import numpy as np
import pytest

from onnx_conformance.perf.latency.interleave import (
    BLOCK_SECONDS,
    MOST_CALLS,
    WARM_BELOW,
    Block,
    interleave,
    plan_block,
)

LABELS = ("native-eager", "torch_dynamo", "torch_torchscript")


class FakeHost:
    """Counts up: the n-th turn of a session takes n, n + 0.1, ... seconds."""

    def __init__(self, log):
        self.log = log

    def time(self, label, discard, calls):
        self.log.append((label, discard, calls))
        return len(self.log) + np.arange(calls) / 10


@pytest.fixture
def log():
    return []


@pytest.fixture
def blocks(log):
    worker = FakeHost(log)
    return [Block(worker, label, discard=1, calls=3) for label in LABELS]


def orders(log):
    labels = [label for label, _, _ in log]
    return [tuple(labels[start : start + 3]) for start in range(0, len(labels), 3)]


def test_every_contender_has_one_block_a_round_in_an_order_drawn_anew(blocks, log):
    interleave(blocks, seconds=0, least=30, most=30, seed=0)
    found = orders(log)
    assert len(found) == 30
    assert all(set(order) == set(LABELS) for order in found)
    assert len(set(found)) == 6  # every permutation came


def test_a_seed_repeats_the_order(blocks, log):
    interleave(blocks, seconds=0, least=10, most=10, seed=3)
    interleave(blocks, seconds=0, least=10, most=10, seed=3)
    interleave(blocks, seconds=0, least=10, most=10, seed=4)
    first, second, other = (orders(log)[start : start + 10] for start in (0, 10, 20))
    assert first == second != other


def test_rounds_pair_the_contenders_by_index(blocks, log):
    found = interleave(blocks, seconds=0, least=5, most=5, seed=0)
    for label in LABELS:
        places = [place for place, (own, _, _) in enumerate(log, start=1) if own == label]
        assert found.rounds[label] == pytest.approx([place + 0.1 for place in places])
        assert found.calls[label].size == 5 * 3


@pytest.mark.parametrize(("seconds", "rounds"), [(0, 4), (60, 9)])
def test_at_least_and_at_most(blocks, seconds, rounds):
    found = interleave(blocks, seconds=seconds, least=4, most=9, seed=0)
    assert {times.size for times in found.rounds.values()} == {rounds}


def test_time_ends_it_between_least_and_most(blocks, monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(
        "onnx_conformance.perf.latency.interleave.time.monotonic", lambda: next(now)
    )
    found = interleave(blocks, seconds=5, least=2, most=50, seed=0)
    assert 2 < found.rounds[LABELS[0]].size < 10


def test_a_turn_takes_what_the_host_measured(blocks, log):
    assert blocks[0].seconds().tolist() == [1.0, 1.1, 1.2]
    assert log == [(LABELS[0], 1, 3)]


@pytest.mark.parametrize(
    ("typical", "discard", "calls"),
    [
        (0.0, 1, MOST_CALLS),
        (1e-6, 1, MOST_CALLS),
        (BLOCK_SECONDS / 10, 1, 10),
        (WARM_BELOW * 0.9, 1, 1),
        (WARM_BELOW, 0, 1),
        (5.0, 0, 1),
    ],
)
def test_a_turn_is_planned_by_what_a_call_takes(typical, discard, calls):
    block = plan_block(None, "label", typical)
    assert (block.discard, block.calls) == (discard, calls)
