"""Checks `pinv` and `lstsq` on this machine's CUDA device, and times `pinv`.

    python -m batchpinv.cuda

It takes a minute or two and prints a report to paste into an issue. Arrays on the device need CuPy
or PyTorch, or better both. The exit status is 1 if something is wrong or CUDA cannot be used.
"""

from __future__ import annotations

import itertools
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import LinAlgError, lstsq, pinv, show_config
from ._errors import CudaUnavailable
from ._find import open_cuda

Array = NDArray[Any]
DTYPES = ("float32", "float64", "complex64", "complex128")
SHAPES = ((3, 3), (8, 6), (32, 32), (33, 33), (100, 64), (64, 100), (500, 16), (16, 500), (300, 60))
HERMITIAN = (4, 32, 33, 100)
TIMED = ((100_000, 3, 3), (100_000, 6, 7), (10_000, 16, 16), (4000, 32, 32), (500, 64, 64),
         (100, 128, 128), (10, 512, 512), (1, 2000, 2000), (1000, 500, 16))  # fmt: skip
STREAMED, HELD = (2000, 8, 8), (500, 40, 33)


class Bench(NamedTuple):
    """A library that has arrays on a device."""

    name: str
    device: str
    put: Callable[[Array], Any]
    get: Callable[[Any], Array]
    side_stream: Callable[[], AbstractContextManager[Any]]
    wait: Callable[[], None]
    bytes_in_use: Callable[[], int]
    pinv: Callable[[Any], Any]  # the library's own


def find_benches() -> list[Bench]:
    """PyTorch and CuPy, if they have a device."""
    return [bench for bench in (_torch_bench(), _cupy_bench()) if bench]


def _torch_bench() -> Bench | None:
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    return Bench(
        f"torch {torch.__version__}",
        torch.cuda.get_device_name(),
        lambda a: torch.from_numpy(a).cuda(),
        lambda x: x.cpu().numpy() if torch.is_tensor(x) else np.asarray(x),
        lambda: torch.cuda.stream(torch.cuda.Stream()),
        torch.cuda.synchronize,
        torch.cuda.memory_allocated,
        torch.linalg.pinv,
    )


def _cupy_bench() -> Bench | None:
    try:
        import cupy  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    if not cupy.cuda.is_available():
        return None
    return Bench(
        f"cupy {cupy.__version__}",
        cupy.cuda.runtime.getDeviceProperties(0)["name"].decode(),
        cupy.asarray,
        cupy.asnumpy,
        lambda: cupy.cuda.Stream(non_blocking=True),
        cupy.cuda.runtime.deviceSynchronize,
        cupy.get_default_memory_pool().used_bytes,
        cupy.linalg.pinv,
    )


# The gallery.


def gallery(shape: tuple[int, int], dtype: str, hermitian: bool) -> Iterator[tuple[str, Array]]:
    """Stacks of five matrices, with the names of their spectra."""
    k, rng = min(shape), np.random.default_rng(shape)
    eps = np.finfo(dtype).eps
    spectra = {
        "random": None,
        "equal": np.ones(k),
        "graded": np.geomspace(1, 1e3 * eps, k),
        "half the rank": np.where(np.arange(k) < (k + 1) // 2, 1.0, 0.0),
        "pairs": np.repeat(np.geomspace(1, 1e-2, (k + 1) // 2), 2)[:k],
        "zero": np.zeros(k),
    }
    for name, s in spectra.items():
        stack = []
        for _ in range(5):
            u, v = (_unitary(rng, side) for side in shape)
            values = np.abs(rng.standard_normal(k)) + 0.1 if s is None else s
            if hermitian:
                stack.append((u * (values * rng.choice([-1, 1], k))) @ u.conj().T)
            else:
                stack.append((u[:, :k] * values) @ v[:, :k].conj().T)
        a = np.stack(stack)
        yield name, (a if np.dtype(dtype).kind == "c" else np.real(a)).astype(dtype)


def _unitary(rng: np.random.Generator, side: int) -> Array:
    return np.linalg.qr(rng.standard_normal((side, side)))[0]


def check_answers(bench: Bench) -> Iterator[tuple[str, float, int]]:
    """(what, worst error in eps * condition, wrong ranks) against the CPU's answers."""
    for dtype in DTYPES:
        cases = [(shape, False) for shape in SHAPES] + [((n, n), True) for n in HERMITIAN]
        for shape, hermitian in cases:
            worst, wrong = 0.0, 0
            for _, a in gallery(shape, dtype, hermitian):
                x, rank = pinv(bench.put(a), hermitian=hermitian, return_rank=True)
                y, expected = pinv(a, hermitian=hermitian, return_rank=True)
                wrong += int((bench.get(rank) != expected).sum())
                worst = max(worst, _error(a, bench.get(x), y, _norm(y), _norm(y)))
            kind = " hermitian" if hermitian else ""
            yield f"{dtype} {shape[0]}x{shape[1]}{kind}", worst, wrong


def check_systems(bench: Bench) -> Iterator[tuple[str, float, int]]:
    """The same for solutions, with errors relative to |X| |b|."""
    for dtype in DTYPES:
        for shape in SHAPES:
            worst, wrong = 0.0, 0
            for _, a in gallery(shape, dtype, False):
                b = np.ones((*a.shape[:-1], 2), dtype)
                found: Any = lstsq(bench.put(a), bench.put(b), return_rank=True)
                x, rank = found
                y, expected = pinv(a, return_rank=True)
                wrong += int((bench.get(rank) != expected).sum())
                sides = np.linalg.norm(b, axis=(-2, -1))
                worst = max(worst, _error(a, bench.get(x), y @ b, _norm(y) * sides, _norm(y)))
            yield f"{dtype} {shape[0]}x{shape[1]} systems", worst, wrong


def _norm(a: Array) -> Array:
    return np.asarray(np.linalg.norm(a, 2, axis=(-2, -1)))


def _error(a: Array, x: Array, y: Array, scale: Array, inverse: Array) -> float:
    """The worst error relative to `scale`, in units of eps times the condition of each matrix.
    `inverse` are the norms of the pseudo-inverses, so dropped singular values do not count."""
    condition = np.maximum(inverse * _norm(a), 1)
    error = np.linalg.norm(x - y, axis=(-2, -1)) / np.where(scale > 0, scale, 1)
    return float((error / condition).max() / np.finfo(a.dtype).eps)


# Faults, streams, memory.


def check_failures(bench: Bench) -> Iterator[tuple[str, bool]]:
    for n in (4, 40):
        a = np.random.default_rng(n).standard_normal((50, n, n))
        expected = bench.get(pinv(bench.put(a)))
        a[7, 0, 0], a[30, -1, 0] = np.nan, np.inf
        good = np.delete(np.arange(50), [7, 30])
        x = bench.get(pinv(bench.put(a), on_failure="nan"))
        yield (
            f"{n}x{n}: NaN and Inf spoil only their own matrices",
            _is_close(x[good], expected[good]) and bool(np.isnan(x[[7, 30]]).all()),
        )
        try:
            pinv(bench.put(a))
        except LinAlgError as error:
            yield f"{n}x{n}: the error names them", error.indices[0].tolist() == [7, 30]
        for scale in (1e-200, 1e200):
            x = bench.get(pinv(bench.put(a[:7] * scale))) * scale
            yield f"{n}x{n}: scale {scale:g}", _is_close(x, expected[:7])


def _is_close(x: Array, y: Array) -> bool:
    """Whether float64 results agree; NVIDIA promises no equal bits."""
    return bool(np.abs(x - y).max() <= 1e-9 * np.abs(y).max())


def check_streams(bench: Bench) -> Iterator[tuple[str, bool]]:
    a = np.random.default_rng(0).standard_normal(STREAMED)
    expected = bench.get(pinv(bench.put(a)))
    with bench.side_stream():
        right = True
        for _ in range(20):
            given = bench.put(a)
            given *= 2  # may still be running when pinv is called
            right &= _is_close(bench.get(pinv(given)) * 2, expected)
    yield "work follows the current stream", right


def check_memory(bench: Bench) -> Iterator[tuple[str, bool]]:
    given = bench.put(np.random.default_rng(0).standard_normal(HELD))
    pinv(given)
    bench.wait()
    before = bench.bytes_in_use()
    for _ in range(50):
        pinv(given)
    bench.wait()
    yield "50 calls hold no memory", bench.bytes_in_use() <= before


def time_calls(bench: Bench, repeats: int = 7) -> Iterator[tuple[str, float, float]]:
    """(what, seconds here, seconds of the library's own pinv): medians of alternating calls."""
    for dtype in ("float32", "float64"):
        for shape in TIMED:
            given = bench.put(np.random.default_rng(0).standard_normal(shape).astype(dtype))
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(repeats):
                times[0].append(_seconds(bench, pinv, given))
                times[1].append(_seconds(bench, bench.pinv, given))
            name = f"{dtype} {'x'.join(map(str, shape))}"
            yield name, statistics.median(times[0][1:]), statistics.median(times[1][1:])


def _seconds(bench: Bench, function: Callable[[Any], Any], given: Any) -> float:
    bench.wait()
    start = time.perf_counter()
    function(given)
    bench.wait()
    return time.perf_counter() - start


def report(benches: list[Bench]) -> bool:
    """Print the report. Whether all is right."""
    print(f"{benches[0].device}, Python {platform.python_version()}")
    for name, fact in show_config("dicts")["cuda"].items():
        print(f"  {name}: {fact}")
    right = True
    for bench in benches:
        right &= _report_library(bench)
    print("\nall right" if right else "\nSOMETHING IS WRONG")
    return right


def _report_library(bench: Bench) -> bool:
    right = True
    print(f"\narrays of {bench.name}: worst error in eps * condition, wrong ranks (by the CPU)")
    for what, error, wrong in itertools.chain(check_answers(bench), check_systems(bench)):
        fine = error < 500 and not wrong
        right &= fine
        print(f"  {what:30} {error:10.1f} {wrong:4}{'' if fine else '  WRONG'}")
    print("faults, streams, memory")
    for check in (check_failures, check_streams, check_memory):
        for what, fine in check(bench):
            right &= fine
            print(f"  {what:45} {'right' if fine else 'WRONG'}")
    print(f"milliseconds: here, {bench.name}'s own pinv, ratio")
    for what, here, there in time_calls(bench):
        print(f"  {what:30} {1e3 * here:10.3f} {1e3 * there:10.3f} {there / here:8.1f}x")
    return right


def main() -> int:
    try:
        open_cuda()
    except CudaUnavailable as error:
        print(error)
        return 1
    benches = find_benches()
    if not benches:
        print("neither PyTorch nor CuPy has arrays on a CUDA device here; install one")
        return 1
    return 0 if report(benches) else 1


if __name__ == "__main__":
    sys.exit(main())
