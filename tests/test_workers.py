"""How many threads compute: the default, the caller's choice, and what the process may use."""

import asyncio
import contextlib
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from children import run_python

from batchpinv import _batch, _plan, _workers, get_workers, pinv, set_workers, show_config


@pytest.fixture
def cpus(monkeypatch):
    """How many CPUs this process may use, with no default set by the environment."""
    monkeypatch.delenv("BATCHPINV_NUM_THREADS", raising=False)
    return show_config("dicts")["workers"]["usable CPUs"]


def test_default_is_all_usable_cpus(cpus):
    assert get_workers() == cpus
    assert 1 <= cpus <= os.cpu_count()


@pytest.mark.parametrize("number", [int, np.int8, np.int64])
def test_negative_workers_count_from_the_end(cpus, number):
    for given, meant in [(1, 1), (5, 5), (-1, cpus), (-cpus, 1)]:
        with set_workers(number(given)):
            assert get_workers() == meant
        assert _workers.resolve_workers(number(given)) == meant
    for wrong in (0, -cpus - 1):
        with pytest.raises(ValueError, match="workers must be positive"), set_workers(wrong):
            pass
    assert get_workers() == cpus


def test_set_workers_nests_and_ends_with_an_exception_too(cpus):
    with set_workers(3):
        with contextlib.suppress(KeyError), set_workers(4):
            assert get_workers() == 4
            raise KeyError
        assert get_workers() == 3
        with set_workers(-1):
            assert get_workers() == cpus
            assert pinv(np.eye(2), workers=None).tolist() == np.eye(2).tolist()
        assert get_workers() == 3
    assert get_workers() == cpus


def test_set_workers_is_usable_as_a_decorator(cpus):
    assert set_workers(7)(get_workers)() == 7
    assert get_workers() == cpus


def test_set_workers_belongs_to_its_thread(cpus):
    both_inside = threading.Barrier(3)

    def choose(workers):
        with set_workers(workers):
            both_inside.wait(20)
            chosen = get_workers()
            both_inside.wait(20)
        return chosen, get_workers()

    with ThreadPoolExecutor(2) as threads:
        results = threads.map(choose, [11, 12])
        both_inside.wait(20)
        assert get_workers() == cpus
        both_inside.wait(20)
        assert list(results) == [(11, cpus), (12, cpus)]


def test_set_workers_belongs_to_its_asyncio_task(cpus):
    async def choose(workers):
        with set_workers(workers):
            await asyncio.sleep(0.01)
            return get_workers()

    async def choose_both():
        return await asyncio.gather(choose(21), choose(22))

    assert asyncio.run(choose_both()) == [21, 22]
    assert get_workers() == cpus


def test_environment_variable_is_the_default_below_set_workers(cpus, monkeypatch):
    for value, workers in [("5", 5), ("-1", cpus), (" 3 ", 3), ("", cpus)]:
        monkeypatch.setenv("BATCHPINV_NUM_THREADS", value)
        assert get_workers() == workers
        with set_workers(6):
            assert get_workers() == 6


def test_affinity_of_the_process_limits_workers():
    printed = run_python(
        """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import batchpinv
        print(batchpinv.get_workers(), batchpinv.show_config("dicts")["workers"]["usable CPUs"])
        """,
        BATCHPINV_NUM_THREADS="",
    )
    assert printed.split() == ["1", "1"]


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/", {}, None),
        ("0::/user/job", {"user/job/cpu.max": "50000 100000"}, 0.5),
        ("0::/user/job", {"user/cpu.max": "300000 100000", "user/job/cpu.max": "max 100000"}, 3),
        ("0::/user/job", {"user/cpu.max": "2 1", "user/job/cpu.max": "400000 100000"}, 2),
        ("0::/user/job", {"cpu.max": "1 1", "user/cpu.max": "2 1", "user/job/cpu.max": "3 1"}, 1),
        ("0::/user", {"user/job/cpu.max": "1 1", "other/cpu.max": "1 1"}, None),
        ("0::/", {"cpu.max": "lots of it"}, None),
        ("0::/", {"cpu.max": ""}, None),
        ("0::/", {"cpu.max": "100000 0"}, None),
        ("4:cpu,cpuacct:/job",
         {"cpu/job/cpu.cfs_quota_us": "250000", "cpu/job/cpu.cfs_period_us": "100000"}, 2.5),
        ("4:cpu:/job", {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000",
                        "cpu/cpu.cfs_quota_us": "4", "cpu/cpu.cfs_period_us": "2"}, 2),
        ("4:cpu:/job", {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "5"}, None),
        ("4:cpu:/job", {"cpu/job/cpu.cfs_quota_us": "100000"}, None),
        ("4:cpuset:/\n5:memory:/", {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "1"},
         None),
        ("3:memory:/job\n2:cpu:/job\n0::/job",
         {"cpu/job/cpu.cfs_quota_us": "3", "cpu/job/cpu.cfs_period_us": "1", "job/cpu.max": "2 1"},
         2),
        (None, {"cpu.max": "1 1"}, None),
    ],
)  # fmt: skip
def test_cgroup_quota_limits_workers(tmp_path, monkeypatch, groups, files, quota):
    proc, root = tmp_path / "proc", tmp_path / "root"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    if groups is not None:
        proc.write_text(groups + "\n")
    monkeypatch.setattr(_workers, "_OWN_CGROUPS", str(proc))
    monkeypatch.setattr(_workers, "_CGROUPS", str(root))
    monkeypatch.setattr(_workers, "_cgroup_cpus", _workers._cgroup_cpus.__wrapped__)
    assert _workers._cgroup_cpus() == quota
    monkeypatch.delenv("BATCHPINV_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert get_workers() == (8 if quota is None else math.ceil(quota))


@pytest.mark.parametrize("dtype", "fdFD")
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_claim_whole_groups_of_matrices_in_lanes(dtype, workers):
    dtype = np.dtype(dtype)
    if not _batch.is_in_lanes(30, 30, dtype.kind == "c"):
        pytest.skip("there are no lanes")
    lanes = _batch.lane_count(dtype.itemsize, dtype.kind == "c")
    for count in range(1, 200):
        plan = _plan.make_plan(count, 30, 30, 0, 1, dtype, False, False, workers)
        assert plan.chunk == count or plan.chunk % lanes == 0
        assert 1 <= plan.workers <= min(workers, math.ceil(count / plan.chunk))
