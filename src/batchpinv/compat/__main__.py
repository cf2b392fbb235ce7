"""``python -m batchpinv.compat [--library NAME] PROGRAM ...``: a program, patched."""

from __future__ import annotations

import argparse
import os
import runpy
import sys

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
        "--count", action="store_true", help="print at the end who answered how many calls"
    )
    parser.add_argument("-m", action="store_true", dest="is_module", help="PROGRAM is a module")
    parser.add_argument("program", metavar="PROGRAM", help="a file, or a module after -m")
    parser.add_argument("rest", metavar="...", nargs=argparse.REMAINDER, help="its own arguments")
    given = parser.parse_args(arguments)
    patch(*given.libraries or ("numpy", "scipy"))
    try:
        _run(given.program, given.rest, given.is_module)
    finally:
        if given.count:
            for name, count in calls().items():
                print(f"{name}: {count.ours} ours, {count.peers} the peer's", file=sys.stderr)


def _run(program: str, arguments: list[str], is_module: bool) -> None:
    sys.argv = [program, *arguments]
    if is_module:
        sys.path.insert(0, os.getcwd())
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(program)))
        runpy.run_path(os.path.abspath(program), run_name="__main__")


if __name__ == "__main__":
    main()
