"""Hostile arguments: objects whose code misbehaves while they are read, and every wrong type. Each
ends in a documented error or in the right answer, and the next call is right.
"""

import array
import ctypes
from decimal import Decimal
from fractions import Fraction
from textwrap import dedent

import numpy as np
import pytest
from cases import random_stack, read_only, same_bits
from children import run_python
from scipy.sparse import csr_array

from batchpinv import LinAlgError, lstsq, pinv

A, B = random_stack(7, 4, 3), random_stack(7, 4, 2, seed=1)
X = np.linalg.pinv(A)
EYE = np.eye(2)
STACK = np.stack([EYE, 2 * EYE, 3 * EYE])
MEMORY = random_stack(1, 100)[0]
NUMBERS = MEMORY[:6].reshape(3, 2)
FUNCTIONS = {"pinv": pinv, "lstsq": lambda a, **options: lstsq(a, EYE, **options)}
both_functions = pytest.mark.parametrize("call", FUNCTIONS.values(), ids=FUNCTIONS)
as_stride = np.lib.stride_tricks.as_strided


@pytest.fixture(autouse=True)
def next_call_is_right():
    yield
    assert np.allclose(pinv(A), X, rtol=1e-11, atol=1e-13)
    assert np.allclose(lstsq(A, B), X @ B, rtol=1e-11, atol=1e-13)


def by_name(cases):
    return pytest.mark.parametrize("case", cases.values(), ids=cases)


class Mine(Exception):
    """Raised by the code of an argument; it must reach the caller unchanged."""


def raising(error):
    """A function of any arguments that raises the error."""

    def function(*_, **__):
        raise error

    return function


# Objects that are read as arrays.


class ArrayLike:
    def __init__(self, function):
        self.function = function

    def __array__(self, dtype=None, copy=None):
        return self.function()


class Items:
    """A sequence that lies about its length."""

    def __init__(self, length, item=lambda index: NUMBERS.tolist()[index]):
        self.length, self.item = length, item

    def __len__(self):
        return self.length() if callable(self.length) else self.length

    def __getitem__(self, index):
        return self.item(index)


def has(**attributes):
    return type("Odd", (), attributes)()


def nested(depth):
    return [nested(depth - 1)] if depth else 1.0


def endless():
    a = []
    a.append(a)
    return a


class Tensor(ctypes.Structure):
    """DLManagedTensor, of DLPack's first version."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64), ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )  # fmt: skip


class Capsules:
    """Has `__dlpack__` and no `__array__`; its capsules say what the arguments say."""

    def __init__(
        self, shape, strides=None, offset=0, *, code=2, bits=64, ndim=None, name=b"dltensor"
    ):
        self.name = name
        self.numbers = [(ctypes.c_int64 * len(shape))(*of) for of in (shape, strides or shape)]
        self.tensor = Tensor(
            MEMORY.ctypes.data, (1, 0), len(shape) if ndim is None else ndim, code, bits, 1,
            self.numbers[0], self.numbers[1] if strides else None, offset,
        )  # fmt: skip

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **_):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p] * 2
        return new(ctypes.addressof(self.tensor), self.name, None, None)


def from_capsule(function):
    return has(__dlpack__=lambda self, **_: function(), __dlpack_device__=lambda self: (1, 0))


def interface(**given):
    whole = {"version": 3, "shape": (2, 2), "typestr": "<f8", **given}
    return has(__array_interface__=whole)


REFUSED = [
    *[(given, ValueError) for given in (
        ArrayLike(NUMBERS.tolist), ArrayLike(lambda: None), ArrayLike(lambda: 3.0),
        ArrayLike(raising(ValueError)), has(__array_interface__=3), has(__array_interface__={}),
        interface(shape=(-2, 2)), interface(shape=(2**40, 2**40)), has(__array_struct__=3),
        from_capsule(lambda: 3), from_capsule(lambda: None), Capsules((3, 2), name=b"other"),
        Capsules((3, 2), name=b"used_dltensor"), Capsules((-3, 2)), Capsules((3, 2), ndim=-1),
        Capsules((2**62, 0, 2**62)), [[[1], [2]], [[3]]], [1.0, [1.0]], nested(100), endless(),
        True, 1j, np.float64(1))],
    *[(given, TypeError) for given in (
        ArrayLike(lambda: NUMBERS.astype(object)), ArrayLike(lambda: NUMBERS.astype("f2")),
        has(__array__=3), has(__array__=property(raising(AttributeError))),
        interface(shape=(2.0, 2)), interface(typestr="zz"), Items(-1), Items(raising(Mine)),
        Capsules((3, 2), bits=16), Capsules, ArrayLike, (row for row in NUMBERS),
        map(float, NUMBERS.ravel()), {1.0, 2.0}, b"12", ..., len, np.ma.masked,
        np.rec.array([(1.0, 2.0)] * 2, dtype="f8,f8"), np.char.array([["a"]]),
        np.zeros((2, 2), "V8"), [[Decimal(1)]], [[Fraction(1, 2)]], [[10**400]], [[1.0, None]],
        [[1.0, "2"]])],
    *[(given, Mine) for given in (
        ArrayLike(raising(Mine)), [ArrayLike(raising(Mine))], Items(2, raising(Mine)),
        has(__array__=property(raising(Mine))), has(__dlpack__=property(raising(Mine))),
        has(__getattr__=raising(Mine)), from_capsule(raising(Mine)))],
    *[(ArrayLike(raising(error)), error) for error in (RecursionError, KeyboardInterrupt)],
    (Items(2**62), MemoryError),
]  # fmt: skip
READ = [
    *[(given, NUMBERS) for given in (
        list(NUMBERS), [array.array("d", row) for row in NUMBERS], Items(10), Capsules((3, 2)),
        memoryview(NUMBERS.tobytes()).cast("B").cast("d", (3, 2)), read_only(NUMBERS),
        (ctypes.c_double * 2 * 3)(*map(tuple, NUMBERS)), has(__array__=lambda self: NUMBERS),
        interface(**NUMBERS.__array_interface__ | {"version": 99}),
        np.frombuffer(NUMBERS.tobytes()).reshape(3, 2))],
    (Capsules((3, 2), offset=24), MEMORY[3:9].reshape(3, 2)),
    (Capsules((2, 3, 2), (3, 7, 2)), as_stride(MEMORY, (2, 3, 2), (24, 56, 16))),
    (Capsules((3, 2), (-2, -1), 40), MEMORY[5::-1].reshape(3, 2)),
    (Capsules((9, 3, 2), (0, 2, 1)), np.stack([NUMBERS] * 9)),
    (Capsules((3, 2), code=5, bits=128), MEMORY[:12].view("D").reshape(3, 2)),
    (Capsules((3, 2), offset=4, bits=32), MEMORY.view("f4")[1:7].reshape(3, 2)),
    (Capsules((5, 3, 0)), np.empty((5, 3, 0))),
    *[(given, given.copy()) for given in (
        as_stride(MEMORY, (3, 4, 4), (0, 0, 0)), as_stride(MEMORY, (9, 4, 3), (8, 8, 16)),
        as_stride(MEMORY.view("f4"), (5, 4, 3), (52, 12, 20)),
        np.broadcast_to(NUMBERS, (9, 3, 2)), MEMORY.reshape(5, 5, 4)[::-1, ::-1, ::-1],
        np.frombuffer(b"x" + MEMORY.tobytes(), offset=1).reshape(5, 5, 4),
        MEMORY.reshape((1,) * 29 + (4, 5, 5)))],
]  # fmt: skip


@pytest.mark.parametrize("role", ["a", "a of lstsq", "b"])
@pytest.mark.parametrize("case", REFUSED)
def test_objects_that_cannot_be_read_raise_the_documented_error(case, role):
    given, error = case
    calls = {"a": pinv, "a of lstsq": lambda a: lstsq(a, EYE), "b": lambda b: lstsq(EYE, b)}
    with pytest.raises(error) as caught:
        calls[role](given)
    assert type(caught.value) is error
    if error is ValueError:
        assert str(caught.value)[:2] == ("b " if role == "b" else "a ")


@pytest.mark.parametrize(("given", "a"), READ)
def test_objects_that_can_be_read_give_the_answer_of_their_array(given, a):
    m = a.shape[-2]
    assert same_bits(pinv(given), pinv(a))
    assert same_bits(lstsq(given, np.ones(m)), lstsq(a, np.ones(m)))
    assert same_bits(lstsq(np.eye(m), given), lstsq(np.eye(m), a))


def test_an_argument_is_read_once():
    shapes = [(3, 2), (2, 3), (6,), (1, 6)]
    given = ArrayLike(lambda: NUMBERS.reshape(shapes.pop(0)))
    assert same_bits(pinv(given), pinv(NUMBERS))
    assert same_bits(lstsq(given, np.ones(2)), lstsq(NUMBERS.reshape(2, 3), np.ones(2)))
    assert len(shapes) == 2


def test_entries_written_while_a_later_argument_is_read_are_seen():
    a = np.ones((2, 2))

    def write():
        a[...] = 4 * EYE
        return np.array(1e-3)

    assert pinv(a, atol=ArrayLike(write)).tolist() == (EYE / 4).tolist()


def test_out_cannot_be_resized_by_progress():
    out = np.empty_like(STACK)
    with pytest.raises(ValueError, match="cannot resize"):
        pinv(STACK, out=out, progress=lambda done, total: out.resize((1, 1, 1)))


def subclass(**attributes):
    return type("Odd", (np.ndarray,), attributes)


KINDS = {
    "no ufunc": subclass(__array_ufunc__=None),
    "functions raise": subclass(__array_ufunc__=raising(Mine), __array_function__=raising(Mine)),
    "matrix": np.matrix, "records": np.recarray, "masked": np.ma.MaskedArray,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_subclasses_keep_their_class_and_get_the_right_answer(kind):
    x = pinv(NUMBERS.view(kind))
    assert type(x) is kind
    assert same_bits(np.asarray(x), pinv(NUMBERS))
    assert same_bits(lstsq(np.eye(3), NUMBERS.view(kind)), lstsq(np.eye(3), NUMBERS))


def test_subclasses_that_cannot_wrap_or_lie_about_their_shape_do_no_harm():
    no_wrap = NUMBERS.view(subclass(__array_wrap__=raising(Mine)))
    with pytest.raises(Mine):
        pinv(no_wrap)
    assert same_bits(lstsq(no_wrap, np.ones(3)), lstsq(NUMBERS, np.ones(3)))
    lying = subclass(shape=property(lambda self: (5, 6)), ndim=property(lambda self: 7))
    assert same_bits(np.asarray(pinv(NUMBERS.view(lying))), pinv(NUMBERS))


@pytest.mark.parametrize(
    "shape",
    [(0, 0), (0, 0, 0), (0, 3, 3), (3, 0, 2), (3, 2, 0), (2**40, 0, 3), (2**40, 3, 0), (2**31, 0),
     (0, 2**31), (2**20, 2**20, 0, 2), (0, 2**40, 3, 3), (2**58, 0, 1)],
)  # fmt: skip
def test_empty_shapes_of_any_size_are_quick(shape):
    *batch, m, n = shape
    x = pinv(np.empty(shape))
    assert x.shape == (*batch, n, m)
    assert lstsq(np.empty(shape), np.empty((*batch, m, 0))).shape == (*batch, n, 0)


def test_solutions_too_large_for_memory_raise_memory_error():
    with pytest.raises(MemoryError):
        lstsq(np.empty((0, 3)), np.empty((0, 2**58)))


def test_failures_in_64_dimensions_are_named():
    with pytest.raises(LinAlgError, match="3 of 3 matrices") as caught:
        pinv(np.full((1,) * 61 + (3, 1, 1), np.nan))
    assert [index.tolist() for index in caught.value.indices] == [[0] * 3] * 61 + [[0, 1, 2]]


# Other arguments.

TOLERANCES = [-0.0, 5e-324, np.float16(2.5), 2**63, np.uint64(2**64 - 1), np.inf, [2.5] * 3,
              ArrayLike(lambda: np.array(2.5)), np.array([1, np.inf, 1]), np.array(2.5, ">f4"),
              memoryview(np.full(3, 2.5)), array.array("d", [2.5] * 3)]  # fmt: skip


@both_functions
@pytest.mark.parametrize("given", TOLERANCES)
def test_unusual_tolerances_count_by_their_value(given, call):
    value = np.broadcast_to(np.asarray(given, float), 3)
    x, rank = call(STACK, atol=given, return_rank=True)
    assert rank.tolist() == np.where(np.array([1, 2, 3]) > value, 2, 0).tolist()
    assert not np.any(x[rank == 0])
    assert call(STACK, rtol=given, return_rank=True)[1].tolist() == (2 * (value < 1)).tolist()


@both_functions
@pytest.mark.parametrize("given", ["no", "", None, np.nan, [], [0], np.array([0]), 0.5])
def test_flags_mean_their_truth_value(given, call):
    a = np.array([[[1.0, 2], [3, 4]]])
    for options in ({"hermitian": given}, {"hermitian": True, "lower": given}):
        plain = {name: bool(value) for name, value in options.items()}
        assert same_bits(call(a, **options), call(a, **plain))
    assert isinstance(call(a, return_rank=given), tuple) == bool(given)


WORDS = (["svd"], b"nan", b"svd", None, {}, {1}, 1, np.nan, "SVD", "nan ", "a\0b", "\ud800",
         np.array(["svd", "nan"]))  # fmt: skip
OPTIONS_REFUSED = [
    *[(name, given, TypeError) for name in ("atol", "rtol", "rcond") for given in (
        np.datetime64("2020"), np.timedelta64(1, "s"), Decimal("0.1"), [10**30, 1.5, None],
        Fraction(1, 10), np.array([1, 2, 3], object), np.zeros(3, "f8,f8"), "0.1", b"1", {0.1},
        np.array(["0.1"]), (t for t in [0.1]), len, csr_array(EYE), False, np.True_)],
    *[(name, given, ValueError) for name in ("atol", "rtol", "rcond") for given in (
        0j, np.nan, 10**400, -(10**400), -(10**30), np.array([0.1, np.nan, 0.1]),
        -np.ones((1,) * 64), [[0.1], [0.1, 0.2]], nested(100), endless(),
        np.zeros(2), [], ArrayLike(lambda: None))],
    *[(name, ArrayLike(raising(Mine)), Mine) for name in ("atol", "rtol", "rcond")],
    *[(name, given, error) for name in ("hermitian", "lower", "return_rank") for given, error in (
        (np.array([True, False]), ValueError), (np.array([]), ValueError),
        (has(__bool__=lambda self: 3), TypeError), (has(__bool__=raising(Mine)), Mine))],
    *[("driver", given, ValueError) for given in WORDS],
    *[("on_failure", given, ValueError) for given in WORDS],
    *[(name, has(__eq__=raising(Mine)), Mine) for name in ("driver", "on_failure")],
    *[("workers", given, ValueError) for given in (0, False, -(10**30))],
    *[("workers", given, TypeError) for given in (
        1.5, "2", b"2", 2 + 0j, Fraction(2), np.float64(2), np.True_, np.array([2]),
        has(__index__=lambda self: "2"))],
    ("workers", has(__index__=raising(Mine)), Mine),
    *[("progress", given, TypeError) for given in (
        1, "yes", b"", [], {}, 3.0, np.nan, np.True_, lambda: None, lambda done: None)],
    ("progress", raising(Mine), Mine),
    ("progress", raising(SystemExit), SystemExit),
    *[("out", given, TypeError) for given in (
        STACK.tolist(), "text", memoryview(STACK), np.ndarray, ArrayLike(lambda: STACK),
        Capsules((3, 2, 2)), STACK.astype("f4"), STACK.astype(">f8"), STACK.astype(object),
        np.zeros((3, 2, 2), [("a", "f8")]))],
    *[("out", given, ValueError) for given in (
        np.zeros((3, 2)), np.matrix(EYE), read_only(STACK), np.broadcast_to(EYE, (3, 2, 2)),
        np.frombuffer(STACK.tobytes()).reshape(3, 2, 2))],
    *[(name, None, TypeError) for name in ("tol", "cond", "check_finite", "Out")],
]  # fmt: skip


@both_functions
@pytest.mark.parametrize(("name", "given", "error"), OPTIONS_REFUSED)
def test_options_of_wrong_types_are_refused(name, given, error, call):
    with pytest.raises(error) as caught:
        call(STACK, **{name: given})
    assert type(caught.value) is error


@both_functions
@pytest.mark.parametrize("workers", [True, np.int8(2), np.uint64(2), np.array(2), 2**31, 10**30])
def test_workers_may_be_any_integer(workers, call):
    assert same_bits(call(STACK, workers=workers), call(STACK))


@both_functions
def test_out_may_lie_over_the_tolerances(call):
    for name in ("atol", "rtol"):
        memory = np.full(12, 0.5)
        out = memory.reshape(3, 2, 2)
        expected = call(STACK, **{name: memory[1:4].copy()})
        assert call(STACK, out=out, **{name: memory[1:4]}) is out
        assert same_bits(out, expected)


def test_out_whose_elements_overlap_is_refused():
    memory = np.zeros(200)
    for strides in ((64, 24, 8), (8, 24, 72), (72, 16, 8), (8, 8, 8), (-64, 24, 8), (72, 24, 4)):
        place = memory[100:] if min(strides) < 0 else memory
        with pytest.raises(ValueError, match="share memory"):
            pinv(A[:4, :3, :3], out=as_stride(place, (4, 3, 3), strides))
    for strides in ((72, 24, 8), (8, 32, 96), (200, 8, 24)):
        out = as_stride(memory, (4, 3, 3), strides)
        assert pinv(A[:4, :3, :3], out=out) is out
        assert same_bits(out, pinv(A[:4, :3, :3]))


def test_masked_tolerances_are_refused():
    for given in (np.ma.array([9.0, 9.0, 9.0], mask=[1, 0, 0]), np.ma.masked):
        with pytest.raises(TypeError, match="masked"):
            pinv(STACK, atol=given)
    assert pinv(STACK, atol=np.ma.array([2.5] * 3), return_rank=True)[1].tolist() == [0, 0, 2]


def test_batches_may_have_more_dimensions_than_numpy_broadcasts():
    deep = A.reshape((1,) * 35 + A.shape)
    assert same_bits(pinv(deep, atol=np.zeros(1)).ravel(), pinv(A).ravel())
    assert lstsq(deep, B).shape == (1,) * 35 + (7, 3, 2)
    assert lstsq(A, B.reshape((1,) * 35 + B.shape)).shape == (1,) * 35 + (7, 3, 2)
    assert pinv(EYE, rtol=np.zeros((1,) * 33)).shape == (1,) * 33 + (2, 2)
    with pytest.raises(ValueError, match="broadcast"):
        pinv(deep, atol=np.zeros(2))


def test_any_nonzero_byte_of_a_boolean_is_true():
    """Booleans may come with other bytes from files, views and other libraries."""
    a = np.frombuffer(bytes([2, 3, 0, 255]), bool).reshape(2, 2)
    expected = pinv(np.array([[1.0, 1], [0, 1]]))
    assert same_bits(pinv(a), expected)
    assert same_bits(lstsq(a, EYE), lstsq(np.array([[1.0, 1], [0, 1]]), EYE))
    large = np.full((60, 60), 2, np.uint8).view(bool)
    assert same_bits(pinv(large), pinv(np.ones((60, 60))))


def test_a_namespace_without_a_device_does_not_make_an_array_of_the_standard():
    given = has(__array_namespace__=lambda self: np, __array__=lambda self, *_, **__: EYE)
    assert same_bits(pinv(given), pinv(EYE))
    assert same_bits(lstsq(EYE, given), lstsq(EYE, EYE))


def test_the_number_of_threads_is_limited():
    run_python("""
        import threading
        import numpy as np
        from batchpinv import pinv
        pinv(np.ones((3000, 30, 30)), workers=10**30, driver="svd")
        assert threading.active_count() <= 1025
    """)


# What the code of an argument does to arrays while they are read. Each once corrupted memory.
MEDDLING = {
    "a reshaped by a tolerance": """
        a = rng.standard_normal((1000, 100, 2))
        expected = pinv(a.copy())
        class Given:
            def __array__(self, dtype=None, copy=None):
                a.shape = (-1,)
                return np.array(0.0)
        assert pinv(a, atol=Given()).tobytes() == expected.tobytes()
    """,
    "dtype of a changed by a tolerance": """
        a = rng.standard_normal((1000, 100, 2))
        expected = pinv(a.copy())
        class Given:
            def __array__(self, dtype=None, copy=None):
                a.dtype = "f4"
                return np.array(0.0)
        assert pinv(a, atol=Given()).tobytes() == expected.tobytes()
    """,
    "b reshaped by a tolerance": """
        a, b = rng.standard_normal((1000, 100, 2)), rng.standard_normal((1000, 100, 3))
        expected = lstsq(a, b.copy())
        class Given:
            def __array__(self, dtype=None, copy=None):
                b.shape = (1000, 3, 100)
                return np.array(0.0)
        assert lstsq(a, b, atol=Given()).tobytes() == expected.tobytes()
    """,
    "out reshaped by the number of workers": """
        a, out = rng.standard_normal((1000, 100, 2)), np.zeros((1000, 2, 100))
        expected = pinv(a)
        class Given:
            def __index__(self):
                out.shape = (1, 200000, 1)
                return 2
        pinv(a, out=out.view(), workers=Given())
        assert out.tobytes() == expected.tobytes()
    """,
    "a flag that changes its mind": """
        class Given:
            asked = 0
            def __bool__(self):
                self.asked += 1
                return self.asked > 1
        a = rng.standard_normal((1000, 2, 100))
        assert pinv(a, hermitian=Given()).tobytes() == pinv(a).tobytes()
        square = rng.standard_normal((50, 60, 60))
        upper = pinv(square, hermitian=True, lower=False)
        assert pinv(square, hermitian=True, lower=Given()).tobytes() == upper.tobytes()
    """,
    "out that lies about its shape": """
        class Liar(np.ndarray):
            shape = property(lambda self: (100000, 3, 3))
            strides = property(lambda self: (72, 24, 8))
        try:
            pinv(np.broadcast_to(np.eye(3), (100000, 3, 3)), out=np.empty((1, 1, 1)).view(Liar))
        except ValueError as error:
            assert "out must have shape" in str(error)
        else:
            raise SystemExit("believed it")
    """,
    "out that lies about its memory": """
        class Liar(np.ndarray):
            def __array_function__(self, function, types, arguments, options):
                return False
        a = rng.standard_normal((6, 4, 4))
        expected = pinv(a[:5].copy())
        pinv(a[:5], out=a[1:].view(Liar))
        assert a[1:].tobytes() == expected.tobytes()
    """,
}


@by_name(MEDDLING)
def test_code_of_arguments_that_changes_arrays_corrupts_nothing(case):
    run_python(
        "import numpy as np\nfrom batchpinv import lstsq, pinv\nrng = np.random.default_rng(0)\n"
        + dedent(case)
    )
