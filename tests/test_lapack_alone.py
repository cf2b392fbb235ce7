"""Without kernels (`BATCHPINV_SIMD=none`), LAPACK alone gives the same answers: small and long
matrices, of full and of lower rank, weighted or not.
"""

import pytest
from children import run_python

DTYPES = ["float32", "float64", "complex64", "complex128"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_answers_without_kernels_are_those_of_numpy(dtype):
    run_python(
        f"""
        import numpy as np
        from batchpinv import lstsq, pinv, show_config

        assert show_config("dicts")["simd"]["own kernels"] == "none"
        dtype = np.dtype({dtype!r})
        eps, rng = np.finfo(dtype).eps, np.random.default_rng(0)
        rtol = 100 * eps**0.75

        def normal(*shape):
            a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
            return (a if dtype.kind == "c" else a.real).astype(dtype)

        def check(x, exact, a, inverse):
            condition = np.linalg.norm(a, 2) * np.linalg.norm(inverse, 2)
            assert np.linalg.norm(x - exact) <= 100 * eps * condition * np.linalg.norm(exact)

        for m, n in (3, 3), (6, 4), (4, 6), (40, 40), (3000, 3), (700, 30), (30, 700):
            b, weights = normal(m, 40), rng.choice([0.25, 1, 2, 3], m)
            root = np.sqrt(weights)[:, None]
            for a in normal(m, n), normal(m, n // 3 + 1) @ normal(n // 3 + 1, n):
                inverse = np.linalg.pinv(a.astype(complex), rtol)
                check(pinv(a, rtol=rtol), inverse, a, inverse)
                check(lstsq(a, b, rtol=rtol), inverse @ b, a, inverse)
                check(lstsq(a, b[:, 0], rtol=rtol), inverse @ b[:, 0], a, inverse)
                for given in weights, weights.astype(np.float32):
                    inverse = np.linalg.pinv(root * a.astype(complex), rtol)
                    x = lstsq(a, b, weights=given, rtol=rtol)
                    check(x, inverse @ (root * b), root * a, inverse)
        """,
        BATCHPINV_SIMD="none",
    )
