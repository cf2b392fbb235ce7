"""No kernel reads or writes past its arrays: each array ends, or begins, at a page that must not be
touched.
"""

import pytest
from children import run_python

GUARDED = """
    import ctypes, faulthandler, mmap, sys
    import numpy as np
    from batchpinv import lstsq, pinv

    faulthandler.enable()
    PAGE = mmap.PAGESIZE
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

    class Region:
        '''Memory between two pages that no one may touch.'''

        def __init__(self, pages):
            self.memory = mmap.mmap(-1, (pages + 2) * PAGE)
            address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
            for page in (address, address + (pages + 1) * PAGE):
                assert protect(page, PAGE, 0) == 0
            self.inside = np.frombuffer(self.memory, np.uint8)[PAGE:-PAGE]

        def place(self, shape, dtype, layout, at_end):
            '''An array that begins or ends with the memory.'''
            size = int(np.prod(shape))
            taken = size if layout != "every second" else max(2 * size - 1, 0)
            skipped = self.inside.size - taken * np.dtype(dtype).itemsize
            memory = self.inside[skipped:] if at_end else self.inside[: self.inside.size - skipped]
            flat = memory.view(dtype)
            if layout == "transposed":
                return flat.reshape(shape[:-2] + shape[:-3:-1]).swapaxes(-1, -2)
            if layout == "stack innermost":
                return np.moveaxis(flat.reshape(shape[1:] + shape[:1]), -1, 0)
            step = {"C": 1, "backwards": -1, "every second": 2}[layout]
            placed = flat[::step].reshape(shape)
            assert np.shares_memory(placed, self.inside) or not size
            return placed

    regions = {name: Region(1500) for name in ("a", "b", "out", "tolerance")}
    rng = np.random.default_rng(0)
    calls = 0

    def check(shape, dtype, layout, at_end, hermitian, sides, deficient):
        global calls
        calls += 1
        count, m, n = shape
        a = regions["a"].place(shape, dtype, layout, at_end)
        a[...] = rng.standard_normal(shape)
        if hermitian:
            a += a.conj().swapaxes(-1, -2).copy()
        if deficient:
            a[..., -1] = 0
            a[..., -1, :] = 0
        out_shape = (count, n, m) if sides is None else (count, n, sides)
        out = regions["out"].place(out_shape, dtype, layout, at_end)
        atol = regions["tolerance"].place((count, 1, 1), float, "C", at_end)[:, 0, 0]
        atol[...] = 1e-3 if np.dtype(dtype).char in "fF" else 1e-9
        options = dict(hermitian=hermitian, atol=atol, workers=1, return_rank=True, out=out)
        if sides is None:
            x, rank = pinv(a, **options)
            expected = pinv(a.copy(), **{**options, "out": None})
        else:
            b = regions["b"].place((count, m, sides), dtype, layout, at_end)
            b[...] = rng.standard_normal(b.shape)
            x, rank, residuals = lstsq(a, b, return_residuals=True, **options)
            expected = lstsq(a.copy(), b.copy(), **{**options, "out": None})
        assert x is out and x.tobytes() == expected[0].tobytes()
        assert rank.tolist() == expected[1].tolist()
"""
LAYOUTS = ["C", "transposed", "backwards", "every second", "stack innermost"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_small_matrices_stay_within_their_arrays_for_any_number_in_lanes(dtype, layout):
    run_python(f"""{GUARDED}
    squares = [(n, n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 13)]
    for m, n in squares + [(5, 3), (3, 5), (9, 1), (1, 9), (17, 4), (4, 17), (7, 6)]:
        for count in (1, 2, 3, 4, 5, 7, 8, 9, 17):
            for at_end in (False, True):
                for hermitian in (False, True)[: 1 + (m == n)]:
                    for deficient in (False, True):
                        for sides in (None, 1, 3):
                            check(
                                (count, m, n), "{dtype}", "{layout}", at_end, hermitian, sides,
                                deficient,
                            )
    assert calls >= 9 * 17 * 12
    """)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_larger_matrices_and_many_right_hand_sides_stay_within_their_arrays(dtype, layout):
    run_python(f"""{GUARDED}
    for m, n in [(16, 16), (31, 31), (33, 33), (49, 49), (64, 64), (65, 7), (7, 65), (90, 30),
                 (30, 90), (300, 2), (2, 300), (60, 59)]:
        for count in (1, 2):
            for at_end in (False, True):
                for hermitian in (False, True)[: 1 + (m == n)]:
                    for deficient in (False, True):
                        for sides in (None, 1, 5, 70, 300)[: 5 if m * n < 1500 else 3]:
                            check(
                                (count, m, n), "{dtype}", "{layout}", at_end, hermitian, sides,
                                deficient,
                            )
    assert calls >= 2 * 12 * 12
    """)
