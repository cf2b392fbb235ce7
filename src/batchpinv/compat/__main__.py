"""``python -m batchpinv.compat [--library NAME] PROGRAM ...`` runs a program under the patch."""

from __future__ import annotations

import argparse
import atexit
import os
import runpy
import sys
from importlib.util import find_spec

from ._calls import calls
from ._patch import LIBRARIES, patch


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m batchpinv.compat",
        description="Run a Python program with pinv and lstsq of other libraries replaced.",
    )
    parser.add_argument(
        "-l", "--library", action="append", choices=LIBRARIES, dest="libraries", metavar="NAME",
        help="numpy, scipy or torch; may be given several times; default: numpy and scipy",
    )  # fmt: skip
    parser.add_argument(
        "--count",
        action="store_true",
        help="print at the end how many calls batchpinv and the library answered",
    )
    parser.add_argument("-m", action="store_true", dest="is_module", help="PROGRAM is a module")
    parser.add_argument("program", metavar="PROGRAM", help="a file, or a module after -m")
    parser.add_argument(
        "rest", metavar="...", nargs=argparse.REMAINDER, help="arguments of PROGRAM"
    )
    given = parser.parse_args(arguments)
    if given.is_module:
        sys.path.insert(0, os.getcwd())
    try:
        missing = _find_missing(given.program, given.is_module)
        patch(*given.libraries or ("numpy", "scipy"))
    except ImportError as error:
        missing = str(error)
    if missing:
        parser.exit(2, f"{parser.prog}: {missing}\n")
    if given.count:
        atexit.register(_print_counts)  # first, and so called last
    _run(given.program, given.rest, given.is_module)


def _print_counts() -> None:
    for name, count in calls().items():
        library = name.partition(".")[0]
        message = f"{name}: {count.ours} by batchpinv, {count.peers} by {library} itself"
        print(message, file=sys.stderr)


def _find_missing(program: str, is_module: bool) -> str | None:
    """Why the program cannot be started, or None."""
    if is_module:
        spec = find_spec(program)
        if spec is not None and spec.submodule_search_locations is not None:
            program += ".__main__"
            spec = find_spec(program)
        return None if spec else f"no module is named {program}"
    inside = os.path.join(program, "__main__.py")
    needed = inside if os.path.isdir(program) else program
    try:
        open(needed, "rb").close()
    except OSError as error:
        return f"cannot read {needed}: {error.strerror}"
    return None


def _run(program: str, arguments: list[str], is_module: bool) -> None:
    sys.argv = [program, *arguments]
    if is_module:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(program)))
        runpy.run_path(os.path.abspath(program), run_name="__main__")


if __name__ == "__main__":
    main()
