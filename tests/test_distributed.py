"""Dask's worker processes: answers are right in several processes, after one is killed, and for
stacks larger than a worker's memory.
"""

import os
import signal
import time
from contextlib import contextmanager

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, progress

from batchpinv import LinAlgError, _pool, lstsq, pinv


@contextmanager
def connect(**options):
    with (
        LocalCluster(threads_per_worker=1, dashboard_address=":0", **options) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def pair():
    with connect(n_workers=2) as client:
        yield client


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_several_processes_give_the_bits_of_one(pair):
    a = normal(1000, 6, 3)
    a[::7] = 1
    lazy = da.from_array(a, chunks=(100, 6, 3))
    x, rank = dask.compute(*pinv(lazy, return_rank=True))
    expected, expected_rank = pinv(a, return_rank=True)
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(rank, expected_rank)
    b = normal(1000, 6, seed=1)
    np.testing.assert_array_equal(lstsq(lazy, b).compute(), lstsq(a, b))


def test_failures_come_back_with_their_indices(pair):
    a = normal(30, 4, 3)
    a[17, 0, 0] = np.nan
    with pytest.raises(LinAlgError, match="begins at 10") as caught:
        pinv(da.from_array(a, chunks=(10, 4, 3))).compute()
    assert caught.value.indices[0].tolist() == [17]
    assert caught.value.count == 1


def test_tasks_start_no_threads_unless_told_to(pair):
    def helpers():
        return len(_pool._pool._threads)

    lazy = da.from_array(normal(800, 32, 32), chunks=(200, 32, 32))
    pinv(lazy).compute()
    assert list(pair.run(helpers).values()) == [0, 0]
    pinv(lazy, workers=2).compute()
    assert sum(pair.run(helpers).values()) > 0


def test_the_progress_bar_of_distributed_sees_the_tasks(pair, capsys):
    x = pinv(da.from_array(normal(30, 4, 3), chunks=(10, 4, 3))).persist()
    progress(x, notebook=False, multi=False)
    x.compute()
    assert "Completed" in capsys.readouterr().out


def test_a_killed_worker_loses_nothing():
    def slowly(chunk):
        time.sleep(0.2)
        return chunk

    def wait_until(condition):
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < 60
            time.sleep(0.02)

    a = normal(40, 6, 3)
    with connect(n_workers=2) as client:
        pids = client.run(os.getpid)
        lazy = da.from_array(a, chunks=(2, 6, 3)).map_blocks(slowly, dtype=float)
        future = client.compute(pinv(lazy))
        wait_until(lambda: all(client.has_what().values()))  # both have finished something
        os.kill(next(iter(pids.values())), signal.SIGKILL)
        assert not future.done()
        np.testing.assert_array_equal(future.result(timeout=100), pinv(a))
        wait_until(lambda: len(client.scheduler_info()["workers"]) == 2)
        assert set(client.run(os.getpid).values()) != set(pids.values())


def test_stacks_larger_than_a_workers_memory_can_be_computed(tmp_path):
    limit = 400 << 20
    count, m, n = 1_700_000, 8, 4  # 435 MB in, and as much out
    source, target = str(tmp_path / "a.zarr"), str(tmp_path / "x.zarr")
    with connect(n_workers=1, memory_limit=limit) as client:
        pids = client.run(os.getpid)
        a = da.random.default_rng(0).standard_normal((count, m, n), chunks=(100_000, m, n))
        assert a.nbytes > limit
        a.to_zarr(source)
        pinv(da.from_zarr(source)).to_zarr(target)
        assert client.run(os.getpid) == pids  # it was never killed for what it used
    a, x = da.from_zarr(source), da.from_zarr(target)
    assert x.shape == (count, n, m)
    for part in (slice(0, 1000), slice(count // 2, count // 2 + 1000), slice(-1000, None)):
        np.testing.assert_array_equal(x[part].compute(), pinv(a[part].compute()))
