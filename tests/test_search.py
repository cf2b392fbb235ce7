"""The search for wrong answers finds and shrinks injected errors, and finds nothing else."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import search
import truth
from search import Call, Wrong, check

import batchpinv

pytestmark = pytest.mark.skipif(
    not truth.find_compiler(), reason="needs a C++ compiler that has binary128"
)


def wrong_by(change):
    """`pinv` with its first answer changed, if that is finite and not zero."""
    original = batchpinv.pinv

    def pinv(a, **options):
        x, info = original(a, **options)
        if len(x) and np.isfinite(x[0]).all() and np.any(x[0]):
            x, rank = change(a, x, info.rank)
            info = info._replace(rank=rank)
        return x, info

    return pinv


def off_by_a_little(a, x, rank):
    x[0] *= 1 + 200 * np.finfo(x.dtype).eps
    return x, rank


def off_in_rank(a, x, rank):
    rank[0] -= 1
    return x, rank


def input_changed(a, x, rank):
    a[0, 0, 0] += 1
    return x, rank


def last_bit_by_place(a, x, rank):
    if len(x) > 1:
        x[0] = np.nextafter(x[0].real, 9).astype(x.dtype)
    return x, rank


def a_failure_unmarked(a, x, rank):
    rank[:] = np.maximum(rank, 0)
    return x, rank


CHANGES = off_by_a_little, off_in_rank, input_changed, last_bit_by_place, a_failure_unmarked


@pytest.mark.parametrize("change", CHANGES)
def test_finds_a_wrong_answer_and_shrinks_it(monkeypatch, capsys, change):
    monkeypatch.setattr(batchpinv, "pinv", wrong_by(change))
    counts, wrong = search.search(seed=1, first=0, minutes=1, most=60)
    assert counts["calls"] == 60
    assert wrong > 0
    said = capsys.readouterr().out
    assert "--seed 1 --first" in said
    assert "\npinv, {" in said


@pytest.mark.parametrize("near", [1 - 1e-9, 1 + 1e-9])
@pytest.mark.parametrize("claims", [True, False])
def test_finds_a_certain_rank_that_is_wrong(monkeypatch, near, claims):
    """So near the tolerance a rank may be off by one, unless it is called certain."""
    original = batchpinv.pinv

    def pinv(a, **options):
        x, info = original(a, **{**options, "rtol": 0.9999e-15 if near < 1 else 1.0001e-15})
        return x, info._replace(certain=np.full_like(info.certain, claims))

    rtol = 1e-15
    a = np.diag([1, rtol * near])[None]
    check(Call(a, rtol=rtol))
    monkeypatch.setattr(batchpinv, "pinv", pinv)
    rank = pinv(a, return_info=True)[1].rank
    assert rank != truth.find_ranks(a, rtol=rtol)[0]
    if claims:
        with pytest.raises(Wrong, match="is called certain"):
            check(Call(a, rtol=rtol))
    else:
        check(Call(a, rtol=rtol))


def test_a_seed_and_an_index_give_one_call():
    calls = [search.Maker(7, index).call() for index in (3, 3, 4)]
    assert str(calls[0]) == str(calls[1]) != str(calls[2])


def test_a_call_without_fault_passes_from_the_command_line():
    said = subprocess.run(
        [sys.executable, "-m", "tests.search", "--seed", "5", "--calls", "60", "--minutes", "2"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout
    assert "seed 5: 60 calls, " in said.stdout
    assert said.stdout.endswith("0 wrong\n")
