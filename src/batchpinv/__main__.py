"""The command line: computes pseudo-inverses, or solutions, from .npy files into another one.

All files but that of the ranks are memory-mapped.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import stat
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from . import RankWarning, __version__, lstsq, pinv, show_config
from ._arrays import read_input, read_sides, result_dtype
from ._lapack import load_lapack
from ._tolerance import broadcast_batch
from ._truncation import end_where_truncated
from ._weights import read_weights
from ._workers import MOST_WORKERS, resolve_workers

# Words in the messages of `pinv` and `lstsq`, and what this program says instead.
_REWORDED = {
    "on_failure='nan' returns them": "--on-failure nan writes them",
    "hermitian=True": "--hermitian",
}
_REMEDY = {
    b"PK": "it is a .npz file: save one of its arrays by numpy.save",
    b"\x89HDF": "it is an HDF5 file: save one of its arrays by numpy.save",
}


class _Stopped(BaseException):
    """A signal that ends the run; its exit status is what a shell expects."""

    def __init__(self, number: int) -> None:
        super().__init__("interrupted" if number == signal.SIGINT else "terminated")
        self.status = 128 + number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    solves = given[:1] == ["lstsq"]
    options = _read_options(_parser(solves), given[solves:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        with warnings.catch_warnings(record=True, action="always", category=RankWarning) as found:
            print(_run(options))
        for warning in found:
            message = str(warning.message).replace("rtol=", "--rtol ")
            print(f"batchpinv: warning: {message}", file=sys.stderr)
    except (OSError, ValueError, TypeError, MemoryError) as error:
        message = str(error) or type(error).__name__
        for words, option in _REWORDED.items():
            message = message.replace(words, option)
        print(f"batchpinv: {' '.join(message.split())}", file=sys.stderr)
        return 1
    except _Stopped as stopped:
        # The interpreter would wait for the matrices that LAPACK is busy with.
        print(f"batchpinv: {stopped}", file=sys.stderr, flush=True)
        os._exit(stopped.status)
    return 0


def _read_options(parser: argparse.ArgumentParser, given: list[str]) -> argparse.Namespace:
    """The options; if they do not fit together, the program ends with its usage."""
    if given == ["--config"]:
        with suppress(ImportError):
            load_lapack()  # so that the config names it
        show_config()
        parser.exit()
    options = parser.parse_args(given)
    if options.config:
        parser.error("--config takes no files and no other options")
    options.operands = [options.a, *options.b]
    options.inputs = options.operands + [path for path in [options.weights] if path is not None]
    if options.upper and not options.hermitian:
        parser.error("--upper needs --hermitian: it says which triangle is read")
    if options.rcond is not None and options.rtol is not None:
        parser.error("--rcond is the old name of --rtol: give one of them")
    if options.workers is not None:
        _check_workers(parser, options.workers)
    written = [path for path in (options.output, options.rank) if path is not None]
    read = set(map(os.path.realpath, options.inputs))
    for path in written:
        if path.suffix != ".npy":
            parser.error(f"{path} does not end in .npy, as an output must")
        if not options.overwrite and os.path.realpath(path) in read:
            parser.error(f"{path} is an input; --overwrite replaces it")
    if len(written) == 2 and len(set(map(os.path.realpath, written))) == 1:
        parser.error("OUT and RANK are the same file")
    return options


def _check_workers(parser: argparse.ArgumentParser, workers: int) -> None:
    if workers > MOST_WORKERS:
        parser.error(f"--workers: at most {MOST_WORKERS}; got {workers}")
    try:
        resolve_workers(workers)
    except ValueError as error:
        parser.error(f"--{error}")


def _run(options: argparse.Namespace) -> str:
    """Compute OUT (and RANK) from the inputs; returns the summary."""
    if options.rank is not None:
        _check_replaceable(options.rank)  # now, not after hours of computing
    stack = read_input(_open_stack(options.inputs[0]))
    operands, batch_shape, dtype = [stack], stack.shape[:-2], result_dtype(stack.dtype)
    m, n = stack.shape[-2:]
    core: tuple[int, ...] = (n, m)
    weights = None if options.weights is None else read_weights(_open_stack(options.weights), m)
    if weights is not None:
        batch_shape = broadcast_batch(batch_shape, (), (), weights=weights.shape[:-1])
    if solves := len(options.operands) == 2:
        b = _open_stack(options.operands[1])
        sides, is_vector = read_sides(b, stack, None if weights is None else weights.shape)
        operands.append(b)
        dtype = np.result_type(dtype, result_dtype(sides.dtype, "b"))
        batch_shape = broadcast_batch(batch_shape, (), (), sides.shape[:-2])
        core = (n,) if is_vector else (n, sides.shape[-1])
    with _new_file(options.output) as path:
        names = " or ".join(map(str, options.inputs))
        message = f"batchpinv: {names} became shorter while it was read\n"
        end_where_truncated(os.fsencode(message), os.fsencode(path))
        out = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(*batch_shape, *core))
        start = time.perf_counter()
        function: Any = lstsq if solves else pinv
        _, rank = function(
            *operands,
            rcond=options.rcond,
            rtol=options.rtol,
            atol=options.atol,
            weights=weights,
            damping=options.damping,
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
    return _summary(m, n, dtype, np.asarray(rank), seconds)


def _open_stack(path: Path) -> NDArray[Any]:
    try:
        with warnings.catch_warnings(action="error"):
            warnings.filterwarnings("ignore", category=UserWarning)  # headers of Python 2
            stack = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # a corrupt header may raise anything
        reason = _find_remedy(path) or str(error) or type(error).__name__
        raise ValueError(f"{path} is not a .npy file of numbers: {reason}") from error
    if stack.dtype.char in "egG":
        wider = "float32" if stack.dtype.char == "e" else "float64 or complex128"
        raise TypeError(
            f"{path} has dtype {stack.dtype}, which is not supported: save it as {wider}"
        )
    return stack


def _find_remedy(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(200)
    for magic, remedy in _REMEDY.items():
        if start.startswith(magic):
            return remedy
    if start and start.isascii() and not start.startswith(b"\x93NUMPY"):
        return "it is text: read it by numpy.loadtxt, and save it by numpy.save"
    return ""


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; moved to `path` if the context succeeds, else removed.

    If `path` is a link, the file that it points to is replaced.
    """
    _check_replaceable(path)
    path = Path(os.path.realpath(path))
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    part.open("xb").close()  # fails if a file or a link of that name exists
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _check_replaceable(path: Path) -> None:
    """OSError if anything but a regular file would be replaced, such as a folder or a pipe."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder")
    if not stat.S_ISREG(mode):
        raise FileExistsError(f"{path} is not a regular file, and is not replaced")


def _progress() -> Any:
    if not sys.stderr.isatty():
        return None
    return True if find_spec("tqdm") else _print_progress


def _print_progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{done} of {total} matrices", end=end, file=sys.stderr, flush=True)


def _summary(m: int, n: int, dtype: np.dtype[Any], rank: NDArray[np.int64], seconds: float) -> str:
    found, counts = np.unique(rank, return_counts=True)
    ranks = ", ".join(
        f"{'failed' if value < 0 else value}: {count}"
        for value, count in zip(found.tolist(), counts.tolist(), strict=True)
    )
    speed = f"{rank.size / seconds:,.0f} matrices/s" if seconds > 0 else ""
    return (
        f"{rank.size} matrices of {m}x{n}, {dtype}\n"
        f"ranks (rank: how many): {ranks or 'none'}\n"
        f"{seconds:.3f} s, {speed}"
    )


def _path(given: str) -> Path:
    if not given:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(given)


def _parser(solves: bool) -> argparse.ArgumentParser:
    if solves:
        parser = argparse.ArgumentParser(
            prog="batchpinv lstsq",
            allow_abbrev=False,
            description="Least-squares solutions of minimum norm of linear systems, from .npy "
            "files to another. Files are memory-mapped, so they may be larger than memory.",
        )
    else:
        parser = argparse.ArgumentParser(
            prog="batchpinv",
            allow_abbrev=False,
            usage="batchpinv [options] IN OUT\n       batchpinv lstsq [options] A B OUT",
            description="Pseudo-inverses of a matrix or a stack of them, from one .npy file to "
            "another; for solutions of systems see batchpinv lstsq --help. Files are "
            "memory-mapped, so they may be larger than memory.",
        )
    parser.set_defaults(b=[])
    add = parser.add_argument
    add("a", metavar="A" if solves else "IN", type=_path, help="matrices, shape (*, m, n)")
    if solves:
        add(
            "b",
            metavar="B",
            type=_path,
            nargs=1,
            help="right-hand sides, shape (*, m, k), or (*, m)",
        )
    add(
        "output",
        metavar="OUT",
        type=_path,
        help=f"the result, shape {'(*, n, k), or (*, n)' if solves else '(*, n, m)'}; an existing "
        "file is replaced, or the file that a link points to",
    )
    add("--atol", type=float, help="absolute tolerance (default 0)")
    add(
        "--rtol",
        type=float,
        help="relative tolerance (default max(m, n) * eps; 0 with an --atol above 0)",
    )
    add("--rcond", type=float, help="the old name of --rtol")
    add(
        "--weights",
        metavar="WEIGHTS",
        type=_path,
        help="a .npy file of shape (*, m): a weight for each row, 0 for one that is absent",
    )
    add("--damping", type=float, help="a number to add to the diagonal of A^H W A")
    add(
        "--hermitian",
        action="store_true",
        help="the matrices are Hermitian; only the lower triangle is read",
    )
    add("--upper", action="store_true", help="with --hermitian: read the upper triangle")
    add(
        "--driver",
        choices=["auto", "svd"],
        default="auto",
        help="svd: LAPACK's SVD for every matrix (default auto: a faster method if it is safe)",
    )
    add(
        "--workers",
        type=int,
        help="number of threads (default: BATCHPINV_NUM_THREADS, else all usable CPUs)",
    )
    add("--rank", metavar="RANK", type=_path, help="also write the ranks, to a .npy file")
    add("--overwrite", action="store_true", help="OUT and RANK may replace an input")
    add(
        "--on-failure",
        choices=["raise", "nan"],
        default="raise",
        help="if a matrix holds NaN or Inf: fail without writing OUT, or write NaN for it",
    )
    add("--config", action="store_true", help="print versions, libraries and threads, and exit")
    add("--version", action="version", version=f"batchpinv {__version__}")
    return parser


def _stop(number: int, _: object) -> NoReturn:
    raise _Stopped(number)


if __name__ == "__main__":
    sys.exit(main())
