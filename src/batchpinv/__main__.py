"""The command line: pseudo-inverses of a stack in a .npy file, both files memory-mapped."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from . import __version__, pinv, show_config
from ._arrays import read_input, result_dtype
from ._truncation import end_where_truncated


class _Stopped(BaseException):
    """A signal that ends the run; its exit status is what a shell expects."""

    def __init__(self, number: int) -> None:
        super().__init__("interrupted" if number == signal.SIGINT else "terminated")
        self.status = 128 + number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.config:
        show_config()
        return 0
    if options.input is None or options.output is None:
        _parser().error("IN.npy and OUT.npy are required")
    if options.rank is not None and options.rank.resolve() == options.output.resolve():
        _parser().error("OUT.npy and RANK.npy are the same file")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        print(_run(options))
    except (OSError, ValueError, TypeError, MemoryError) as error:
        message = str(error) or type(error).__name__
        print(f"batchpinv: {' '.join(message.split())}", file=sys.stderr)
        return 1
    except _Stopped as stopped:
        # The interpreter would wait for the matrices that LAPACK is busy with.
        print(f"batchpinv: {stopped}", file=sys.stderr, flush=True)
        os._exit(stopped.status)
    return 0


def _run(options: argparse.Namespace) -> str:
    """Compute OUT (and RANK) from IN; returns the summary."""
    stack = read_input(_open_stack(options.input))
    batch_shape, (m, n) = stack.shape[:-2], stack.shape[-2:]
    with _new_file(options.output) as path:
        message = f"batchpinv: {options.input} became shorter while it was read\n"
        end_where_truncated(os.fsencode(message), os.fsencode(path))
        out = np.lib.format.open_memmap(
            path, mode="w+", dtype=result_dtype(stack.dtype), shape=(*batch_shape, n, m)
        )
        start = time.perf_counter()
        _, rank = pinv(
            stack,
            rtol=options.rtol,
            atol=options.atol,
            hermitian=options.hermitian,
            lower=not options.upper,
            driver=options.driver,
            workers=options.workers,
            on_failure=options.on_failure,
            progress=_progress(),
            out=out,
            return_rank=True,
        )
        seconds = time.perf_counter() - start
        if isinstance(out, np.memmap):
            out.flush()
        if options.rank is not None:
            with _new_file(options.rank) as rank_path, open(rank_path, "wb") as file:
                np.save(file, rank)
    return _summary(out, np.asarray(rank), seconds)


def _open_stack(path: Path) -> NDArray[Any]:
    try:
        with warnings.catch_warnings(action="error"):
            warnings.filterwarnings("ignore", category=UserWarning)  # of Python 2's headers
            return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # a header that lies may fail anywhere
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} is not a .npy file of numbers: {reason}") from error


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A path beside `path`, moved there when the context ends well and removed when it does not."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    part.open("xb").close()  # by no link that another has put there
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _progress() -> Any:
    if not sys.stderr.isatty():
        return None
    return True if find_spec("tqdm") else _print_progress


def _print_progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{done} of {total} matrices", end=end, file=sys.stderr, flush=True)


def _summary(out: NDArray[Any], rank: NDArray[np.int64], seconds: float) -> str:
    n, m = out.shape[-2:]
    found, counts = np.unique(rank, return_counts=True)
    ranks = ", ".join(
        f"{'failed' if value < 0 else value}: {count}"
        for value, count in zip(found.tolist(), counts.tolist(), strict=True)
    )
    speed = f"{rank.size / seconds:,.0f} matrices/s" if seconds > 0 else ""
    return (
        f"{rank.size} matrices of {m}x{n}, {out.dtype}\n"
        f"ranks (rank: how many): {ranks or 'none'}\n"
        f"{seconds:.3f} s, {speed}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="batchpinv",
        description="Pseudo-inverses of a stack of matrices, shape (*, m, n), from one .npy file "
        "to another. Both are memory-mapped, so the stack may be larger than memory.",
    )
    add = parser.add_argument
    add("input", metavar="IN.npy", type=Path, nargs="?")
    add("output", metavar="OUT.npy", type=Path, nargs="?")
    add("--atol", type=float, help="absolute tolerance (default 0)")
    add("--rtol", type=float, help="relative tolerance (default max(m, n) * eps)")
    add("--hermitian", action="store_true", help="the matrices are Hermitian; read one triangle")
    add("--upper", action="store_true", help="with --hermitian: read the upper triangle")
    add("--driver", choices=["auto", "svd"], default="auto")
    add("--workers", type=int, help="threads (default: all usable CPUs)")
    add("--rank", metavar="RANK.npy", type=Path, help="also write the ranks")
    add(
        "--on-failure",
        choices=["raise", "nan"],
        default="raise",
        help="matrices with NaN or Inf: fail without OUT, or write NaN for them",
    )
    add("--config", action="store_true", help="print versions, libraries and threads, and exit")
    add("--version", action="version", version=f"batchpinv {__version__}")
    return parser


def _stop(number: int, _: object) -> NoReturn:
    raise _Stopped(number)


if __name__ == "__main__":
    sys.exit(main())
