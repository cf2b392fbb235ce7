"""Chooses the instruction set of the kernels for small matrices, at import: the processor's best.

The environment variable BATCHPINV_SIMD may name another: baseline, avx2, avx512, or none for LAPACK
alone.
"""

from __future__ import annotations

import os

from ._batch import choose_lanes

_VARIABLE = "BATCHPINV_SIMD"


def _choose() -> str:
    given = os.environ.get(_VARIABLE) or None
    chosen = choose_lanes(given)
    if chosen is None:
        had = [name for name in ("avx512", "avx2", "baseline", "none") if choose_lanes(name)]
        raise ImportError(
            f"{_VARIABLE} is {given!r}; this processor and build have {', '.join(had)}"
        )
    return chosen


instruction_set = _choose()
