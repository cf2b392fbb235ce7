"""If CUDA cannot be used, the error says why. An old CUDA does without what it lacks. Without
arrays on a device nothing is loaded.
"""

import re

import pytest
from children import run_python
from cuda_device import build

UNUSABLE = [
    ({"driver": 0}, (), r"no NVIDIA driver \(libcuda.so.1\) on this machine"),
    (
        {"driver": 12020},
        (),
        "the NVIDIA driver, for CUDA 12.2, is too old for the CUDA 13.5 libraries",
    ),
    ({"devices": 0}, (), "the NVIDIA driver sees no device"),
    (
        {"cusolver_version": 11705},
        (),
        "mixed versions: cudart of CUDA 13, cuBLAS 13, and cuSOLVER 11",
    ),
    ({"cublas_version": 120901}, (), "mixed versions: cudart of CUDA 13, cuBLAS 12"),
    ({}, ("-DSTANDIN_WITHOUT_DGMM",), "cublasSdgmm is missing"),
]


@pytest.mark.parametrize(("knobs", "defines", "words"), UNUSABLE)
def test_the_error_says_why_cuda_cannot_be_used(knobs, defines, words, tmp_path):
    path = build(str(tmp_path), *defines)
    found = run_python(
        f"""
        import ctypes
        library = ctypes.CDLL({path!r})
        for name, value in {knobs!r}.items():
            assert library.standin_set(name.encode(), ctypes.c_int64(value)) == 0
        import batchpinv
        config = batchpinv.show_config("dicts")["cuda"]
        assert config["loaded"] == "not yet"
        assert config["libraries"] == ":".join([{path!r}] * 3)
        assert library.standin_count(b"cudaGetDeviceCount") == 0
        class OnDevice:
            shape = (3, 3)
            __cuda_array_interface__ = {{}}
        try:
            batchpinv.pinv(OnDevice())
        except RuntimeError as error:
            reason = str(error).removeprefix("CUDA cannot be used: ")
            assert batchpinv.show_config("dicts")["cuda"]["loaded"] == "no: " + reason
            assert type(error).__name__ == "CudaUnavailable"
            print(error)
        """,
        BATCHPINV_CUDA_LIBRARIES=":".join([path] * 3),
    )
    assert re.search(words, found), found


def test_wrong_paths_of_libraries_are_named(tmp_path):
    nowhere = ":".join([str(tmp_path / "nothing.so")] * 3)
    for given, words in [(nowhere, "nothing.so"), ("one:two", "must hold three paths")]:
        reason = run_python(
            """
            from batchpinv.cuda import CudaUnavailable
            from batchpinv.cuda._find import open_cuda
            try:
                open_cuda()
            except CudaUnavailable as error:
                print(error)
            """,
            BATCHPINV_CUDA_LIBRARIES=given,
        )
        assert words in reason


@pytest.mark.parametrize(
    ("version", "defines"), [(11702, ()), (11602, ("-DSTANDIN_WITHOUT_XSYEVBATCHED",))]
)
def test_versions_without_batched_eigenvalues_decompose_one_by_one(version, defines, tmp_path):
    run_python(f"""
        import numpy as np
        import cuda_device
        from cuda_device import Array, Device
        knobs = {{
            "cusolver_version": {version}, "runtime_version": 12040, "cublas_version": 120400
        }}
        library = cuda_device.libraries(*{defines!r}, **knobs)
        from batchpinv import pinv, show_config
        from batchpinv.cuda import _stack
        _stack._LARGEST_DIRECT = 0
        assert show_config("dicts")["cuda"]["batched eigenvalues"] is False
        a = np.random.default_rng(0).standard_normal((3, 40, 40))
        for hermitian in (False, True):
            b = a + a.swapaxes(1, 2) if hermitian else a
            x = pinv(Array.of(b), hermitian=hermitian).numpy()
            assert np.allclose(x, pinv(b, hermitian=hermitian))
        assert Device().count("cusolverDnXgesvdp") == Device().count("cusolverDnXsyevd") == 3
        assert not Device().complaints()
    """)


def test_nothing_is_loaded_before_the_first_array_on_a_device():
    run_python("""
        import sys
        import numpy as np, batchpinv
        batchpinv.pinv(np.eye(3))
        assert not [name for name in sys.modules if "batchpinv.cuda" in name]
    """)
