"""For airspeed velocity, from commit to commit: the cases of `speed` and `lstsq`, ours alone. In
`benchmarks`, `asv run --set-commit-hash $(git rev-parse HEAD)` measures the installed package, and
`asv publish` and `asv preview` show the history.
"""

from __future__ import annotations

import numpy as np

import batchpinv

from .cases import DTYPES, KINDS, cases
from .systems import SHAPES, make_system

_CASES = {
    f"{case.kind} {case.size} {case.dtype}, {case.count}": case
    for case in cases(tuple(KINDS), DTYPES, (), quick=True)
}
_SYSTEMS = {
    f"{kind} {m}x{n}, {sides} sides, {count}": (kind, m, n, sides, count)
    for kind, m, n, sides, count in SHAPES
}


class Pinv:
    params = (tuple(_CASES),)
    param_names = ("case",)

    def setup(self, name: str) -> None:
        case = _CASES[name]
        self.stack = case.make()
        self.options = {"hermitian": case.hermitian}
        self.out = np.empty((case.count, case.n, case.m), case.dtype)

    def time_pinv(self, name: str) -> None:
        batchpinv.pinv(self.stack, out=self.out, **self.options)

    def peakmem_pinv(self, name: str) -> None:
        batchpinv.pinv(self.stack, out=self.out, **self.options)


class Lstsq:
    params = (tuple(_SYSTEMS),)
    param_names = ("system",)

    def setup(self, name: str) -> None:
        self.a, self.b, self.hermitian = make_system(*_SYSTEMS[name], "float64")

    def time_lstsq(self, name: str) -> None:
        batchpinv.lstsq(self.a, self.b, hermitian=self.hermitian)


def timeraw_import() -> str:
    return "import batchpinv"
