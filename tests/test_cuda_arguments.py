"""The stand-in sees every wrong argument of the routines that take arrays of pointers: faults are
planted one at a time. Without a fault it complains of nothing, and computes what LAPACK does.
"""

from contextlib import suppress
from ctypes import byref, c_double, c_void_p

import numpy as np
import pytest
from cuda_device import Array, libraries

from batchpinv import pinv
from batchpinv.cuda import CudaError, _direct, _layout

N, BATCH = 3, 2
ONE = c_double(1)

pytestmark = pytest.mark.usefixtures("device")


class Stage:
    """Handles, and stacks of matrices on the device with pointers to them."""

    def __init__(self):
        self.library = libraries()
        self.blas, self.solver = c_void_p(), c_void_p()
        assert self.library.cublasCreate_v2(byref(self.blas)) == 0
        assert self.library.cublasSetMathMode(self.blas, 2) == 0
        assert self.library.cusolverDnCreate(byref(self.solver)) == 0
        rng = np.random.default_rng(0)
        root = rng.standard_normal((BATCH, N, N))
        self.a = root @ root.swapaxes(1, 2) + np.eye(N)
        self.arrays = {name: Array.of(self.a) for name in "abc"}
        self.arrays |= {name: Array.of(np.zeros(BATCH * N, np.intc)) for name in ("pivots", "info")}
        self.pointers = {name: self.point(self.addresses(name)) for name in "abc"}

    def addresses(self, name):
        return [self.arrays[name].pointer + i * 8 * N * N for i in range(BATCH)]

    def point(self, addresses):
        return Array.of(np.array(addresses, np.uint64))

    def at(self, name):
        return c_void_p((self.pointers.get(name) or self.arrays[name]).pointer)

    def arguments(self, routine):
        a, b, c, pivots, info = map(self.at, ("a", "b", "c", "pivots", "info"))
        return {
            "cublasDgemmBatched": [
                self.blas, 0, 0, N, N, N, byref(ONE), a, N, b, N, byref(ONE), c, N, BATCH
            ],
            "cublasDtrsmBatched": [self.blas, 0, 1, 0, 0, N, N, byref(ONE), a, N, b, N, BATCH],
            "cublasDgetrfBatched": [self.blas, N, a, N, pivots, info, BATCH],
            "cublasDgetriBatched": [self.blas, N, a, N, pivots, c, N, info, BATCH],
            "cusolverDnDpotrfBatched": [self.solver, 1, N, a, N, info, BATCH],
        }[routine]  # fmt: skip

    def call(self, routine, arguments):
        status = getattr(self.library, routine)(*arguments)
        self.library.cudaDeviceSynchronize()
        return status

    def close(self):
        self.library.cublasDestroy_v2(self.blas)
        self.library.cusolverDnDestroy(self.solver)


@pytest.fixture
def stage(device):
    stage = Stage()
    stage.call("cublasDgetrfBatched", stage.arguments("cublasDgetrfBatched"))
    stage.arrays["a"] = Array.of(stage.a)  # the pivots are those of getrf, and a is as it was
    stage.pointers["a"] = stage.point(stage.addresses("a"))
    yield stage
    stage.close()


HOST = "no live device memory"
# By routine: the position of an argument, a wrong value, and words of the complaint.
SIZES = {
    "cublasDgemmBatched": {
        (1, 3): "transa is", (2, -1): "transb is", (3, 0): "empty", (4, 0): "empty",
        (5, 0): "empty", (8, N - 1): "lda < max", (10, N - 1): "ldb < max",
        (13, N - 1): "ldc < max", (14, 0): "empty",
    },
    "cublasDtrsmBatched": {
        (1, 2): "side is", (2, 2): "uplo is", (3, 3): "trans is", (4, 2): "diag is",
        (5, 0): "empty", (6, 0): "empty", (9, N - 1): "lda>=max", (11, N - 1): "ldb>=max",
        (12, 0): "empty",
    },
    "cublasDgetrfBatched": {(1, 0): "empty", (3, N - 1): "lda<max", (6, 0): "empty"},
    "cublasDgetriBatched": {
        (1, 0): "empty", (3, N - 1): "lda<max", (6, N - 1): "ldc<max", (8, 0): "empty"
    },
    "cusolverDnDpotrfBatched": {
        (1, 2): "uplo is", (2, 0): "zero", (4, N - 1): "lda<max", (6, 0): "zero"
    },
}  # fmt: skip
# The positions of arrays of pointers; which is written; the positions of other arrays on the
# device, and of scalars on the host.
POINTERS = {
    "cublasDgemmBatched": {"a": 7, "b": 9, "c": 12},
    "cublasDtrsmBatched": {"a": 8, "b": 10},
    "cublasDgetrfBatched": {"a": 2},
    "cublasDgetriBatched": {"a": 2, "c": 5},
    "cusolverDnDpotrfBatched": {"a": 3},
}
WRITTEN = {
    "cublasDgemmBatched": "c",
    "cublasDtrsmBatched": "b",
    "cublasDgetrfBatched": "a",
    "cublasDgetriBatched": "c",
    "cusolverDnDpotrfBatched": "a",
}
NUMBERS = {
    "cublasDgetrfBatched": {"pivots": 4, "info": 5},
    "cublasDgetriBatched": {"pivots": 4, "info": 7},
    "cusolverDnDpotrfBatched": {"info": 5},
}
SCALARS = {"cublasDgemmBatched": (6, 11), "cublasDtrsmBatched": (7,)}


@pytest.mark.parametrize("routine", SIZES)
def test_right_arguments_raise_no_complaint(routine, stage, device):
    if routine == "cublasDgetriBatched":
        stage.call("cublasDgetrfBatched", stage.arguments("cublasDgetrfBatched"))
    assert stage.call(routine, stage.arguments(routine)) == 0
    assert not device.complaints()
    a, found = stage.a.swapaxes(1, 2), stage.arrays[WRITTEN[routine]].numpy().swapaxes(1, 2)
    expected = {
        "cublasDgemmBatched": lambda: a @ a + a,
        "cublasDtrsmBatched": lambda: np.linalg.solve(np.triu(a), a),
        "cublasDgetriBatched": lambda: np.linalg.inv(a),
    }
    if routine in expected:
        assert np.allclose(found, expected[routine](), rtol=1e-12)
    if routine == "cusolverDnDpotrfBatched":
        assert np.allclose(np.triu(found), np.linalg.cholesky(a).swapaxes(1, 2))
        assert np.isnan(found[:, 2, 0]).all()  # the other triangle is a workspace


@pytest.mark.parametrize(
    ("routine", "place", "value", "words"),
    [(name, *fault, words) for name, faults in SIZES.items() for fault, words in faults.items()],
)
def test_wrong_sizes_and_enumerations_are_refused(routine, place, value, words, stage, device):
    arguments = stage.arguments(routine)
    arguments[place] = value
    assert stage.call(routine, arguments) != 0
    assert words in device.complaints()


@pytest.mark.parametrize(
    ("routine", "name"), [(name, array) for name in POINTERS for array in POINTERS[name]]
)
def test_wrong_arrays_of_pointers_are_seen(routine, name, stage, device):
    place, arguments = POINTERS[routine][name], stage.arguments(routine)
    addresses = stage.addresses(name)
    host = np.array(addresses, np.uint64)
    aside = np.zeros((BATCH, N, N))
    kept = [
        stage.point([addresses[0], aside.ctypes.data]),
        stage.point([addresses[0], addresses[1] + 8]),
        stage.point([addresses[0]]),
        stage.point([addresses[0], addresses[0] + 8 * (N * N - 1)]),
    ]
    for given, words in (
        (None, "array of pointers"),
        (c_void_p(host.ctypes.data), HOST),  # the array itself on the host
        (c_void_p(kept[0].pointer), HOST),  # a matrix on the host
        (c_void_p(kept[1].pointer), "block has"),  # past the end
        (c_void_p(kept[2].pointer), "block has"),  # too few
        (c_void_p(arguments[place].value + 4), "block has"),
    ):
        arguments[place] = given
        stage.call(routine, arguments)
        assert words in device.complaints()
        arguments = stage.arguments(routine)
    if name == WRITTEN[routine]:
        arguments[place] = c_void_p(kept[3].pointer)
        stage.call(routine, arguments)
        assert "two members of the batch overlap" in device.complaints()


@pytest.mark.parametrize(
    "routine", ["cublasDgemmBatched", "cublasDtrsmBatched", "cublasDgetriBatched"]
)
def test_what_is_read_must_not_be_what_is_written(routine, stage, device):
    arguments = stage.arguments(routine)
    arguments[POINTERS[routine][WRITTEN[routine]]] = arguments[POINTERS[routine]["a"]]
    stage.call(routine, arguments)
    assert "overlap" in device.complaints()


@pytest.mark.parametrize(
    ("routine", "name"), [(name, array) for name in NUMBERS for array in NUMBERS[name]]
)
def test_wrong_pivots_and_infos_are_refused(routine, name, stage, device):
    place = NUMBERS[routine][name]
    host, short = np.zeros(99, np.intc), Array.of(np.zeros(1, np.intc))
    for given in (None, c_void_p(host.ctypes.data), c_void_p(short.pointer)):
        arguments = stage.arguments(routine)
        arguments[place] = given
        assert stage.call(routine, arguments) != 0
        complaints = device.complaints()
        assert any(words in complaints for words in ("NULL", HOST, "block has"))


def test_pivots_of_no_decomposition_are_seen(stage, device):
    stage.arrays["pivots"] = Array.of(np.zeros(BATCH * N, np.intc))
    stage.call("cublasDgetriBatched", stage.arguments("cublasDgetriBatched"))
    assert "no pivots of getrfBatched" in device.complaints()


@pytest.mark.parametrize(
    ("routine", "place"), [(name, i) for name in SCALARS for i in SCALARS[name]]
)
def test_scalars_on_the_device_are_refused(routine, place, stage, device):
    arguments = stage.arguments(routine)
    arguments[place] = c_void_p(stage.arrays["c"].pointer)
    assert stage.call(routine, arguments) != 0
    assert "device memory where host memory is wanted" in device.complaints()


@pytest.mark.parametrize("routine", [name for name in SIZES if "blas" in name])
def test_handles_that_compute_with_fewer_digits_are_seen(routine, stage, device):
    for mode in (0, 1, 3, 4):
        assert stage.library.cublasSetMathMode(stage.blas, mode) == 0
        stage.call(routine, stage.arguments(routine))
        assert "may compute with fewer digits" in device.complaints()
    assert stage.library.cublasSetMathMode(stage.blas, 99) != 0
    assert "mode 99" in device.complaints()


@pytest.mark.parametrize("routine", SIZES)
def test_handles_of_the_other_library_are_refused(routine, stage, device):
    arguments = stage.arguments(routine)
    arguments[0] = stage.solver if "blas" in routine else stage.blas
    assert stage.call(routine, arguments) != 0
    assert "is no live handle" in device.complaints()


# Faults in the code that calls.

STACKS = [((4, 5, 5), False), ((4, 5, 5), True), ((4, 9, 4), False), ((4, 4, 9), False)]


def stack(shape, hermitian):
    a = np.random.default_rng(0).standard_normal(shape)
    return a @ a.swapaxes(1, 2) if hermitian else a


@pytest.mark.parametrize(("shape", "hermitian"), STACKS)
def test_a_workspace_that_is_too_short_is_seen(shape, hermitian, device, monkeypatch):
    needed = _direct.Direct.work_bytes
    monkeypatch.setattr(_direct.Direct, "work_bytes", lambda self, batch: needed(self, batch) - 256)
    with pytest.raises(CudaError):
        pinv(Array.of(stack(shape, hermitian)), hermitian=hermitian)
    complaints = device.complaints()
    assert "block has" in complaints or HOST in complaints


@pytest.mark.parametrize(("shape", "hermitian"), STACKS)
def test_pieces_of_a_workspace_that_overlap_are_seen(shape, hermitian, device, monkeypatch):
    def take(self, size):
        at, self.end = self.end, self.end + (size // 2 + 7) // 8 * 8
        return at

    monkeypatch.setattr(_layout.Room, "take", take)
    with suppress(CudaError):
        pinv(Array.of(stack(shape, hermitian)), hermitian=hermitian, on_failure="nan")
    assert "overlap" in (complaints := device.complaints()) or "block has" in complaints


@pytest.mark.parametrize(("shape", "hermitian"), STACKS)
def test_pointers_that_stay_on_the_host_are_seen(shape, hermitian, device, monkeypatch):
    kept = []

    def point(self, *matrices):
        steps = np.arange(self.batch, dtype=np.uintp) * self.dtype.itemsize
        kept.extend(a.at + steps * a.stride for a in matrices)
        return [each.ctypes.data for each in kept[-len(matrices) :]]

    monkeypatch.setattr(_direct.Direct, "_point", point)
    with pytest.raises(CudaError):
        pinv(Array.of(stack(shape, hermitian)), hermitian=hermitian)
    assert HOST in device.complaints()
