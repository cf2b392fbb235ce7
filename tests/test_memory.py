"""Memory beyond input and output: that of the first such call of a process."""

import sys

import numpy as np
import pytest
from children import run_python

# Shape, dtype, singular values, and what else the call asks for. "adjacent": half of the values
# are next to the tolerance, so that all rungs are tried, and only the last can be certain.
CASES = [
    *(((n, n), "float32", "adjacent", "") for n in (400, 500, 720)),
    ((500, 500), "float64", "adjacent", ""),
    ((720, 720), "float64", "gapless", ""),
    ((400, 400), "complex64", "adjacent", ""),
    ((300, 250), "float64", "adjacent", ""),
    ((400, 700), "float64", "adjacent", ""),
    ((900, 460), "complex128", "gapless", ""),
    ((1000, 990), "float64", "gapless", ""),
    ((2000, 300), "float32", "adjacent", ""),
    ((4000, 100), "float64", "random", ""),
    ((80, 80), "complex64", "adjacent", ""),
    ((500, 500), "float64", "random", "damping"),
    ((700, 400), "float64", "random", "damping"),
    ((400, 400), "complex64", "random", "damping, covariance"),
    ((100, 1200), "float64", "random", "damping, covariance"),
    ((700, 500), "float64", "random", "covariance"),
]


def matrix(shape, dtype, kind):
    rng = np.random.default_rng(0)
    shorter, longer = min(shape), max(shape)
    left, right = (np.linalg.qr(rng.standard_normal((n, shorter)))[0] for n in shape)
    tolerance = longer * np.finfo(dtype).eps
    values = {
        "adjacent": np.r_[
            np.ones(shorter - shorter // 2),
            tolerance * (1 + 1e-6 * rng.standard_normal(shorter // 2)),
        ],
        "gapless": tolerance ** np.linspace(0, 2, shorter),
        "random": np.linspace(1, 2, shorter),
    }[kind]
    return (left * values @ right.T).astype(dtype)


def promised(shape, dtype, asked, workers):
    """The bytes that README.md names."""
    shorter, longer = min(shape), max(shape)
    if "damping" in asked:
        longer += shorter
    elements = 4 * (shorter * longer + (shorter + longer) * shorter)
    if "covariance" in asked:
        elements = 2 * elements + shape[1] ** 2
    return 20 * 2**20 + workers * elements * (16 if np.dtype(dtype).kind == "c" else 8)


def measured(function, shape, dtype, kind, asked, workers):
    return int(
        run_python(f"""
            import warnings
            from pathlib import Path

            import numpy as np

            import batchpinv
            from test_memory import matrix

            def status(name):
                lines = Path("/proc/self/status").read_text().splitlines()
                return next(int(l.split()[1]) * 1024 for l in lines if l.startswith(name + ":"))

            warnings.simplefilter("ignore", batchpinv.RankWarning)
            count, (m, n) = 2 * {workers}, {shape}
            options = {{"workers": {workers}, "damping": 0.1 if "damping" in "{asked}" else None}}
            batchpinv.pinv(np.ones((4, 70, 70), "{dtype}"), workers={workers})  # loads LAPACK
            a = np.stack([matrix((m, n), "{dtype}", "{kind}")] * count)
            b = np.ones((count, m), a.dtype)
            room = np.ones((count, n) if "{function}" == "lstsq" else (count, n, m), a.dtype)
            before, returned = status("VmRSS"), 0
            Path("/proc/self/clear_refs").write_text("5")  # forgets the peak until now
            if "{function}" == "pinv":
                batchpinv.pinv(a, out=room, **options)
            elif "covariance" in "{asked}":
                *_, new = batchpinv.lstsq(a, b, out=room, return_covariance=True, **options)
                returned = new.nbytes
            else:
                batchpinv.lstsq(a, b, out=room, **options)
            print(status("VmHWM") - before - returned)
        """)
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no peak that can be reset")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("function", "shape", "dtype", "kind", "asked"),
    [
        (function, *case)
        for case in CASES
        for function in ("pinv", "lstsq")
        if function == "lstsq" or "covariance" not in case[-1]
    ],
)
def test_no_call_needs_more_than_the_documents_say(function, shape, dtype, kind, asked, workers):
    found = measured(function, shape, dtype, kind, asked, workers)
    assert found <= promised(shape, dtype, asked, workers)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no count of pages")
def test_what_a_process_keeps_is_at_most_what_the_documents_say():
    kept = run_python("""
        import ctypes
        import time
        from pathlib import Path

        import numpy as np

        import batchpinv

        def resident():
            ctypes.CDLL(None).malloc_trim(0)
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

        rng = np.random.default_rng(0)
        other = rng.standard_normal((2, 1000, 20))
        kept = []
        for m, n in [(1000, 100), (4000, 100), (300, 300), (2000, 500), (1500, 1500)]:
            for _ in range(3):
                batchpinv.pinv(rng.standard_normal((2, m, n)), workers=2)
            time.sleep(0.5)  # helpers leave
            before = resident()
            batchpinv.pinv(other, workers=2)  # needs pieces of other sizes, and less than a MiB
            kept.append((before - resident()) >> 20)
        print(max(kept))
    """)
    assert 8 <= int(kept) <= 32


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no count of page faults")
@pytest.mark.parametrize("shape", [(1000, 100), (100, 4000), (300, 300), (700, 700)])
def test_a_repeated_call_finds_its_workspace(shape):
    faults = run_python(f"""
        import resource

        import numpy as np

        import batchpinv

        a = np.random.default_rng(0).standard_normal({shape})
        out = np.empty({shape[::-1]})
        counts = []
        for _ in range(6):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            batchpinv.pinv(a, out=out, workers=1)
            counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        print(min(counts[1:]))
    """)
    assert int(faults) <= 10
