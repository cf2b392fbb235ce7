"""The command line: `python -m benchmarks COMMAND`, from the root of the repository."""

from __future__ import annotations

import json
import sys
import warnings
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from batchpinv import RankWarning

from . import peers
from .cases import DTYPES, KINDS, cases
from .report import environment, print_environment


def run_speed(options: Namespace) -> Any:
    from .speed import speed

    wanted = cases(options.kinds, options.dtypes, options.sizes, options.quick)
    return speed(wanted, peers.installed(options.peers), options.seconds)


def run_floor(options: Namespace) -> Any:
    from .floor import floor

    return floor()


def run_scaling(options: Namespace) -> Any:
    from .scaling import scaling

    return scaling(peers.installed(options.peers), options.seconds)


def run_dask(options: Namespace) -> Any:
    from .chunks import chunks

    return chunks(options.seconds)


def run_memory(options: Namespace) -> Any:
    from .memory import memory

    return memory(options.dtypes, options.sizes, peers.installed(options.peers), options.quick)


def run_accuracy(options: Namespace) -> Any:
    from .accuracy import accuracy

    return accuracy(options.dtypes, peers.installed(options.peers), options.quick)


def run_ranks(options: Namespace) -> Any:
    from .ranks import ranks

    some = {name: getattr(options, name) for name in ("groups", "families")}
    some = {name: value for name, value in some.items() if value}
    return ranks(options.dtypes, options.matrices, options.seed, sizes=options.sizes, **some)


def run_errors(options: Namespace) -> Any:
    from .errors import errors

    count = min(options.matrices or 2000, 2000)
    return errors(options.dtypes, options.quick, count, options.methods, options.sizes)


def run_shares(options: Namespace) -> Any:
    from .shares import shares

    return shares(options.dtypes, options.sizes)


def run_gradient(options: Namespace) -> Any:
    from .gradient import gradient

    return gradient(options.dtypes, options.seconds)


def run_lstsq(options: Namespace) -> Any:
    from .systems import systems

    return systems(options.dtypes, options.sizes, options.quick, options.seconds)


def run_lone(options: Namespace) -> Any:
    from .lone import lone

    return lone(options.kinds, options.dtypes, options.sizes, options.seconds)


def run_weighted(options: Namespace) -> Any:
    from .weighted import weighted

    return weighted(options.seconds)


def run_clients(options: Namespace) -> Any:
    from .clients import clients

    return clients(options.seconds)


def run_tune(options: Namespace) -> Any:
    from .tune import tune

    return tune(options.quick)


COMMANDS = {
    "floor": run_floor,
    "speed": run_speed,
    "scaling": run_scaling,
    "dask": run_dask,
    "memory": run_memory,
    "accuracy": run_accuracy,
    "ranks": run_ranks,
    "errors": run_errors,
    "shares": run_shares,
    "gradient": run_gradient,
    "lstsq": run_lstsq,
    "lone": run_lone,
    "weighted": run_weighted,
    "clients": run_clients,
    "tune": run_tune,
}


def main() -> None:
    options = _parse()
    if options.command == "plot":
        from .plot import plot

        plot(json.loads(options.json.read_text()))
        return
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    warnings.simplefilter("ignore", RankWarning)  # values are dropped on purpose
    print_environment()
    found = _earlier(options.json)
    names = list(COMMANDS) if options.command == "all" else [options.command]
    for name in names:
        found[name] = COMMANDS[name](options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    if "ranks" in names:
        from .ranks import check_certain

        check_certain(found["ranks"])
    if "accuracy" in names:
        from .rungs import check_bounds

        check_bounds(found["accuracy"]["rungs"])


def _earlier(path: Path | None) -> dict[str, Any]:
    """The results that the file already holds, which must be of this machine and these versions."""
    here = environment()
    found: dict[str, Any] = {"environment": here}
    if path and path.exists():
        found = json.loads(path.read_text())
        if found["environment"] != here:
            sys.exit(f"{path} holds results of another machine or of other versions")
    return found


def _parse() -> Namespace:
    parser = ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS, "all", "plot"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="adds results; `plot` reads it")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=tuple(KINDS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--sizes", nargs="+", metavar="MxN", default=(), help="such as 8x8 64x8")
    parser.add_argument("--peers", nargs="*", choices=peers.NAMES, default=peers.NAMES)
    parser.add_argument("--seconds", type=float, default=1.5, help="time for one timed case")
    parser.add_argument(
        "--matrices", type=int, default=1_000_000, help="number up to 4x4 that `ranks` searches"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of `ranks`")
    parser.add_argument("--groups", nargs="+", default=(), help="groups of shapes of `ranks`")
    parser.add_argument("--families", nargs="+", default=(), help="families of `ranks`")
    parser.add_argument("--methods", nargs="+", default=(), help="rows of the table of `errors`")
    parser.add_argument("--quick", action="store_true", help="fewer sizes")
    options = parser.parse_args()
    if options.command == "plot" and not options.json:
        parser.error("plot needs --json FILE, written by the other commands")
    return options


if __name__ == "__main__":
    main()
