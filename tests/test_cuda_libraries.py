"""What is asked of PyTorch, JAX, CuPy and Numba for their arrays on a CUDA device.

Arrays of PyTorch and JAX are real ones on the CPU, whose memory is registered as the simulated
device's. CuPy and Numba make no array without a GPU, so the few functions that are called are
replaced.
"""

import contextlib
import re
import subprocess
import sys
from ctypes import c_int64, c_void_p
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from children import environment
from cuda_device import Array, Device, Stream, libraries

from batchpinv import lstsq, pinv
from batchpinv._options import Options
from batchpinv.cuda import __main__ as report
from batchpinv.cuda import _compute

DTYPES = ["float32", "float64", "complex64", "complex128"]


pytestmark = pytest.mark.usefixtures("device")


def random_stack(*shape, dtype):
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (a if np.dtype(dtype).kind == "c" else a.real).astype(dtype)


def check_close(x, y):
    assert x.dtype == y.dtype
    np.testing.assert_allclose(x, y, rtol=0, atol=1e4 * np.finfo(y.dtype).eps * np.abs(y).max())


if find_spec("torch"):
    import torch

    @pytest.fixture
    def on_device(monkeypatch):
        """A function that registers a tensor's memory as the device's, as is done for new ones."""
        kept, empty = [], torch.empty

        def register(tensor):
            storage = tensor.untyped_storage()
            if storage.nbytes():
                start = c_void_p(storage.data_ptr())
                libraries().standin_register(start, c_int64(storage.nbytes()), 0)
                kept.append((start, storage))
            return tensor

        monkeypatch.setattr(torch, "empty", lambda *a, **k: register(empty(*a, **k)))
        packed = torch.Tensor.contiguous

        def contiguous(tensor):  # earlier work on the stream must be done
            libraries().cudaDeviceSynchronize()
            return register(packed(tensor))

        monkeypatch.setattr(torch.Tensor, "contiguous", contiguous)
        convert = torch.Tensor.to

        def to(tensor, target):
            if not isinstance(target, torch.dtype):
                return convert(tensor, target)
            libraries().cudaDeviceSynchronize()
            return register(convert(tensor, target))

        monkeypatch.setattr(torch.Tensor, "to", to)
        stream = SimpleNamespace(cuda_stream=0)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
        yield register
        libraries().cudaDeviceSynchronize()
        for start, _ in kept:
            libraries().standin_unregister(start)

    def wait():
        libraries().cudaDeviceSynchronize()

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_tensors_on_a_device(on_device, dtype):
        a = random_stack(4, 5, 3, dtype=dtype)
        for given in (torch.tensor(a), torch.tensor(a).mT.contiguous().mT, torch.tensor(a).mT):
            x, rank, *_ = _compute.pinv(on_device(given), Options(wants_rank=True))
            wait()
            assert isinstance(x, torch.Tensor)
            check_close(x.numpy(), pinv(given.numpy()))
            assert rank.dtype == torch.int64
            assert rank.tolist() == [3, 3, 3, 3]

    def test_one_tensor_has_a_tensor_as_its_rank(on_device):
        _, rank, *_ = _compute.pinv(on_device(torch.eye(3)), Options(wants_rank=True))
        wait()
        assert rank.shape == ()
        assert rank.item() == 3

    def test_results_are_contiguous_whichever_triangle_is_read(on_device):
        a = random_stack(3, 4, 4, dtype="complex128")
        for lower in (True, False):
            x, *_ = _compute.pinv(on_device(torch.tensor(a)), Options(hermitian=True, lower=lower))
            wait()
            assert x.is_contiguous()
            check_close(x.numpy(), pinv(a, hermitian=True, lower=lower))

    def test_tolerances_that_are_lazy_negatives_are_resolved(on_device, monkeypatch):
        monkeypatch.setattr(_compute, "is_on_cuda", torch.is_tensor)
        resolve = torch.Tensor.resolve_neg
        monkeypatch.setattr(torch.Tensor, "resolve_neg", lambda a: on_device(resolve(a)))
        atol = torch.tensor([0, -0.5j]).conj().imag  # 0 and 0.5
        assert atol.is_neg()
        a = on_device(torch.eye(3, dtype=torch.float64).mul(0.3).repeat(2, 1, 1))
        _, rank, *_ = _compute.pinv(a, Options(atol=atol, wants_rank=True))
        assert rank.tolist() == [3, 0]

    def test_tensors_of_other_dtypes_are_refused(on_device):
        for dtype in (torch.bfloat16, torch.float16):
            with pytest.raises(TypeError, match=r"a has dtype .*float16; accepted are float32"):
                _compute.pinv(on_device(torch.ones(2, 2, dtype=dtype)), Options())

    def test_tensors_of_integers_are_computed_in_double(on_device):
        x, *_ = _compute.pinv(on_device(torch.tensor([[1, 2], [3, 5]])), Options())
        wait()
        check_close(x.numpy(), np.array([[-5.0, 2], [3, -1]]))

    def test_out_may_be_a_tensor(on_device, monkeypatch):
        monkeypatch.setattr(_compute, "is_on_cuda", torch.is_tensor)
        a = random_stack(4, 5, 3, dtype="float64")
        out = on_device(torch.zeros(4, 5, 3, dtype=torch.float64)).mT
        x, *_ = _compute.pinv(on_device(torch.tensor(a)), Options(out=out))
        wait()
        assert x is out
        check_close(out.numpy(), pinv(a))

    @pytest.fixture
    def cuda_tensors(on_device, monkeypatch):
        """The same, and every tensor says that it is on a device: `_torch` reads `is_cuda`."""
        monkeypatch.setattr(_compute, "is_on_cuda", torch.is_tensor)
        monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
        return on_device

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_systems_of_tensors(cuda_tensors, dtype):
        a, b = random_stack(4, 5, 3, dtype=dtype), random_stack(4, 5, 2, dtype=dtype)
        a[1, :, 1] = a[1, :, 0]
        y, expected, other = lstsq(a, b, return_info=True, return_residuals=True)
        given = [cuda_tensors(torch.tensor(each)) for each in (a, b)]
        x, info, rest = lstsq(*given, return_info=True, return_residuals=True)
        wait()
        check_close(x.numpy(), y)
        check_close(rest.numpy(), other)
        assert torch.equal(info.rank, torch.tensor(expected.rank))
        assert info.rung.tolist() == [4, 6, 4, 4]
        assert info.certain[[0, 2, 3]].all()
        out = cuda_tensors(torch.zeros(4, 3, 2, dtype=x.dtype))
        assert lstsq(*given, out=out) is out
        wait()
        check_close(out.numpy(), y)

    @pytest.mark.parametrize("hermitian", [False, True])
    def test_gradients_of_systems(cuda_tensors, monkeypatch, hermitian):
        a, b = random_stack(3, 4, 4, dtype="complex128"), random_stack(4, 2, dtype="complex128")
        a = a @ a.conj().swapaxes(1, 2) if hermitian else a[..., :3]

        def gradients(cuda):
            monkeypatch.setattr(torch.Tensor, "is_cuda", cuda, raising=False)
            given = [torch.tensor(each, requires_grad=True) for each in (a, b)]
            if cuda:
                for each in given:
                    cuda_tensors(each)
            x, rest = lstsq(*given, hermitian=hermitian, return_residuals=True)
            (x.real.square().sum() + x.imag.sum() + rest.sum()).backward()
            return [each.grad.numpy() for each in given]

        for found, expected in zip(gradients(True), gradients(False), strict=True):
            check_close(found, expected)

    def test_tensors_on_two_devices_are_refused():
        with pytest.raises(ValueError, match="b is on the device meta, but a is on cpu"):
            lstsq(torch.ones(3, 2), torch.ones(3, device="meta"))


if find_spec("jax"):
    import jax
    import jax.numpy as jnp

    from batchpinv._libraries import _jax
    from batchpinv.cuda import _arrays

    @pytest.fixture
    def jax_on_device(monkeypatch):
        """A function that registers an array's memory as the device's, as is done for new ones."""
        kept, empty = [], jnp.empty

        def register(array):
            array.block_until_ready()
            if array.nbytes:
                start = c_void_p(array.unsafe_buffer_pointer())
                assert not libraries().standin_register(start, c_int64(array.nbytes), 0)
                kept.append((start, array))
            return array

        def view(name, array, stream):
            at = array.unsafe_buffer_pointer() if array.nbytes else 0
            strides = np.empty(array.shape, array.dtype).strides
            return _arrays.View(at, array.shape, strides, np.dtype(array.dtype), array)

        def is_ours(array):
            return isinstance(array, jax.Array)

        monkeypatch.setattr(jnp, "empty", lambda *a, **k: register(empty(*a, **k)))
        monkeypatch.setattr(_arrays, "_dlpack_view", view)
        monkeypatch.setattr(_compute, "is_on_cuda", is_ours)
        monkeypatch.setattr(_jax, "is_on_cuda", is_ours)
        yield register
        libraries().cudaDeviceSynchronize()
        for start, _ in kept:
            libraries().standin_unregister(start)

    @pytest.mark.parametrize("dtype", ["float32", "complex64"])
    def test_arrays_of_jax(jax_on_device, dtype):
        a, b = random_stack(4, 5, 3, dtype=dtype), random_stack(4, 5, 2, dtype=dtype)
        a[1, :, 1] = a[1, :, 0]
        given = [jax_on_device(jnp.asarray(each)) for each in (a, b)]
        x, info = pinv(given[0], return_info=True)
        assert isinstance(x, jax.Array)
        check_close(np.asarray(x), pinv(a))
        assert info.rank.tolist() == [3, 2, 3, 3]
        assert info.rank.dtype == jax.dtypes.canonicalize_dtype(np.int64)
        x, rest = lstsq(*given, return_residuals=True)
        y, other = lstsq(a, b, return_residuals=True)
        check_close(np.asarray(x), y)
        check_close(np.asarray(rest), other)
        assert np.array_equal(np.asarray(given[0]), a)

    def test_dlpack_of_jax_is_asked_to_let_the_stream_wait():
        """The part of DLPack that the fixture replaces; arrays on the CPU know no stream."""
        asked = []

        class Exporting:
            __module__ = "jaxlib._jax"
            __cuda_array_interface__ = None

            def __dlpack__(self, **options):
                asked.append(options)
                raise BufferError("enough")

        Exporting.__module__ = "jaxlib._jax"
        with pytest.raises(BufferError, match="enough"):
            _arrays.read("a", Exporting(), SimpleNamespace(pointer=1, device=0))
        assert asked == [{"stream": 1, "max_version": (1, 0)}]

    def test_traced_code_of_jax_stays_on_the_cpu(monkeypatch):
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        with pytest.raises(TypeError, match="computes traced code of JAX on the CPU"):
            jax.jit(pinv)(jnp.eye(3))


class Foreign(Array):
    """An array of a library that does not follow the standard."""

    __array_namespace__ = property()

    def swapaxes(self, first, second):
        return self.mT

    def astype(self, dtype):
        return type(self).of(self.numpy().astype(dtype))


def make_class(module, stream):
    """The class Foreign as that module's, for arrays that are made on a stream."""
    return type("ndarray", (Foreign,), {"__module__": module, "stream": stream.pointer})


def test_arrays_of_cupy(monkeypatch):
    cupy, used = ModuleType("cupy"), []
    with Stream() as stream:
        kind = make_class("cupy._core.core", stream)
        cupy.empty = kind.empty
        cupy.ascontiguousarray = lambda a: kind.of(np.ascontiguousarray(a.numpy()))
        cupy.cuda = SimpleNamespace(
            Device=lambda number: contextlib.nullcontext(used.append(number)),
            get_current_stream=lambda: SimpleNamespace(ptr=stream.pointer),
        )
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        for dtype in DTYPES:
            a = random_stack(4, 5, 3, dtype=dtype)
            for given in (a, np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2)):
                array = kind.of(given)
                x, rank = pinv(array, return_rank=True)
                assert type(x) is type(rank) is kind
                check_close(x.numpy(), pinv(a))
        integers = np.array([[1, 2], [3, 5]])
        check_close(pinv(kind.of(integers)).numpy(), pinv(integers))
        assert set(used) == {0}


def test_cupy_on_another_device_than_the_current_one(monkeypatch, device):
    """CuPy's arrays name the current stream of the current device, wherever they are."""
    device.set("devices", 2)
    cupy, kind = ModuleType("cupy"), type("ndarray", (Foreign,), {"__module__": "cupy"})

    @contextlib.contextmanager
    def switched(number):
        before = device.count("current_device")
        libraries().cudaSetDevice(number)
        yield
        libraries().cudaSetDevice(before)

    with Stream() as on_first, switched(1), Stream() as on_second, switched(0):
        streams = on_first.pointer, on_second.pointer
        kind.stream = property(lambda _: streams[device.count("current_device")])
        cupy.empty = lambda shape, dtype: kind.empty(shape, dtype, device.count("current_device"))
        cupy.ascontiguousarray = lambda a: kind.of(np.ascontiguousarray(a.numpy()), a.device)
        cupy.cuda = SimpleNamespace(
            Device=switched,
            get_current_stream=lambda: SimpleNamespace(ptr=streams[device.count("current_device")]),
        )
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        a = random_stack(4, 5, 3, dtype="float64")
        x = pinv(kind.of(a, 1), atol=kind.of(np.zeros(4), 1))
        assert x.device == 1
        check_close(x.numpy(), pinv(a))


def test_arrays_of_numba(monkeypatch):
    numba, used = ModuleType("numba"), []
    with Stream() as stream:
        kind = make_class("numba.cuda.cudadrv.devicearray", stream)

        class Devices:
            def __getitem__(self, number):
                return contextlib.nullcontext(used.append(number))

        numba.cuda = SimpleNamespace(gpus=Devices(), device_array=kind.empty)
        monkeypatch.setitem(sys.modules, "numba", numba)
        for dtype in DTYPES:
            a = random_stack(4, 5, 3, dtype=dtype)
            for given in (a, np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2)):
                x, rank = pinv(kind.of(given), return_rank=True)
                assert type(x) is type(rank) is kind
                check_close(x.numpy(), pinv(a))
        with pytest.raises(TypeError, match="a has dtype int64, which numba cannot convert"):
            pinv(kind.of(np.array([[1, 2], [3, 5]])))
        assert set(used) == {0}


# Python -m batchpinv.cuda.


def test_report_of_a_machine_without_a_device():
    ran = subprocess.run(
        [sys.executable, "-m", "batchpinv.cuda"],
        env=environment(CUDA_VISIBLE_DEVICES=""), capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ran.returncode == 1
    assert re.match(r"CUDA cannot be used: .+\n$", ran.stdout)


def test_report_of_a_device(monkeypatch, capsys):
    monkeypatch.setattr(report, "SHAPES", ((3, 3), (36, 33)))
    monkeypatch.setattr(report, "HERMITIAN", (4,))
    monkeypatch.setattr(report, "TIMED", ((5, 3, 3),))
    monkeypatch.setattr(report, "STREAMED", (20, 8, 8))
    monkeypatch.setattr(report, "HELD", (2, 40, 33))
    made = []

    class Doubled(Array):
        def __imul__(self, factor):
            return Doubled.of(self.numpy() * factor)

    bench = report.Bench(
        "standin",
        "no device",
        Doubled.of,
        lambda x: x.numpy(),
        contextlib.nullcontext,
        lambda: libraries().cudaDeviceSynchronize(),
        lambda: Device().count("live_blocks"),
        lambda a: made.append(a),
    )
    assert report.report([bench, bench._replace(name="again")])
    printed = capsys.readouterr().out
    assert "all right" in printed
    assert "WRONG" not in printed
    assert "again's own pinv" in printed
    broken = bench._replace(get=lambda x: x.numpy() + (x.ndim > 1))
    assert not report.report([bench, broken])
    assert "SOMETHING IS WRONG" in capsys.readouterr().out
