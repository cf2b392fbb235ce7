"""PyTorch's tensors: in place, and with PyTorch's own checks of derivatives and operators."""

from functools import partial

import numpy as np
import pytest
import torch
from children import run_python
from tensors import DTYPES, EXACT, SHAPES, SYSTEMS, equal, low_rank, normal, solve
from torch import library
from torch._subclasses import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jacfwd, jacrev, vmap
from torch.fx.experimental.proxy_tensor import make_fx

import batchpinv
from batchpinv import Rung, lstsq, pinv
from batchpinv._libraries import _torch_operators

pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.qr is deprecated", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_answers_are_those_of_the_same_memory(shape, dtype):
    a = normal(*shape, dtype=dtype)
    expected, expected_rank = pinv(a.numpy(), return_rank=True)
    x, rank = pinv(a, return_rank=True)
    assert (x.dtype, rank.dtype) == (dtype, torch.int64)
    equal(x, expected)
    equal(rank, expected_rank)
    assert x.shape == torch.linalg.pinv(a).shape


def test_input_is_read_in_place_whatever_its_strides():
    a = normal(3, 8, 6)
    for view in (a.mT, a[:, ::2], a[::2, 1:, 2:5], a[:1].expand(4, 8, 6)):
        equal(pinv(view), pinv(view.numpy()))


def test_lazy_conjugates_and_negatives_are_resolved():
    a = normal(4, 3, dtype=torch.complex128)
    for view in (a.conj(), a.mH, torch._neg_view(a), a.conj().imag):
        torch.testing.assert_close(pinv(view), torch.linalg.pinv(view.resolve_neg()))


def test_out_is_filled_whatever_its_strides():
    a = normal(5, 4, 3)
    for out in (torch.empty(5, 3, 4, dtype=a.dtype), torch.empty(5, 4, 3, dtype=a.dtype).mT):
        x, rank = pinv(a, out=out, return_rank=True)
        assert x is out
        equal(out, pinv(a.numpy()))
        assert rank.tolist() == [3] * 5


def test_tolerances_may_be_tensors_and_broadcast():
    a, rtol = normal(3, 4, 4), torch.tensor([[0.0], [0.5]])
    equal(pinv(a, rtol=rtol), pinv(a.numpy(), rtol=rtol.numpy()))
    equal(pinv(a, atol=rtol), pinv(a.numpy(), atol=rtol.numpy()))
    equal(pinv(a, rtol[1]), pinv(a.numpy(), 0.5))


def test_info_tells_rank_and_rung():
    _, info = pinv(torch.eye(3).expand(2, 3, 3), return_info=True)
    assert info.rank.tolist() == [3, 3]
    assert info.counts() == {Rung.QR_LANES: 2}
    assert info.certain.tolist() == [True, True]
    for a in torch.eye(3), torch.eye(3, requires_grad=True):
        for _, info in pinv(a, return_info=True), lstsq(a, a[0], return_info=True):
            assert [(t.shape, t.dtype, t.item()) for t in info] == [
                ((), torch.int64, 3),
                ((), torch.uint8, Rung.QR_LANES),
                ((), torch.bool, True),
            ]
            assert info.rung == Rung.QR_LANES
            assert info.counts() == {Rung.QR_LANES: 1}
    for a in normal(2, 4, 3), normal(2, 4, 3).requires_grad_():
        _, info = lstsq(a, torch.ones(2, 4), return_info=True)
        assert info.rank.tolist() == [3, 3]
        assert info.counts() == {Rung.QR_LANES: 2}
        assert [type(t) for t in info] == [torch.Tensor] * 3


def test_tolerances_of_ndarrays_may_be_tensors():
    a = np.eye(3)
    np.testing.assert_array_equal(pinv(a, rtol=torch.tensor(0.1)), a)


def test_integers_are_computed_in_double():
    assert pinv(torch.ones(2, 2, dtype=torch.int32)).dtype == torch.float64


def test_operands_and_options_that_are_not_supported_are_refused():
    a = torch.eye(3)
    with pytest.raises(TypeError, match=r"layout torch.sparse_coo; give a.to_dense\(\)"):
        pinv(a.to_sparse())
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(TypeError, match=f"{str(dtype).partition('.')[2]}; accepted are"):
            pinv(a.to(dtype))
    with pytest.raises(TypeError, match=r"out must be a torch.Tensor, as a is; got ndarray"):
        pinv(a, out=np.empty((3, 3), np.float32))
    with pytest.raises(ValueError, match=r"out must have shape \(3, 3\)"):
        pinv(a, out=torch.empty(2, 2))
    with pytest.raises(TypeError, match=r"nested tensor: give a.to_padded_tensor\(0\)"):
        pinv(torch.nested.nested_tensor([a, a], layout=torch.jagged))
    with pytest.raises(ValueError, match="lazy conjugate"):
        pinv(a.cfloat(), out=torch.empty(3, 3, dtype=torch.complex64).conj())
    with pytest.raises(ValueError, match="supports no automatic differentiation"):
        pinv(a.requires_grad_(), out=torch.empty(3, 3))
    tolerance = torch.tensor(0.1, requires_grad=True)
    with pytest.raises(ValueError, match=r"no derivative with respect to rtol; give rtol.det"):
        pinv(a, rtol=tolerance)
    with pytest.raises(ValueError, match="progress cannot be reported under a gradient"):
        pinv(a, progress=True)
    with pytest.raises(ValueError, match="rcond is the old name of rtol"):
        pinv(a, 0.1, rtol=0.1)
    with pytest.raises(batchpinv.LinAlgError):
        pinv(a * torch.nan)


def test_out_tells_autograd_that_it_has_changed():
    def fill(function, *operands, **options):
        out = torch.ones(3, 3, dtype=torch.float64)
        kept = torch.ones(3, 3, dtype=torch.float64, requires_grad=True) * out
        try:
            function(*operands, out=out, **options)
        except batchpinv.LinAlgError:
            assert out.isnan().any() or (out != 1).any()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            kept.sum().backward()

    a = normal(3, 3)
    fill(torch.linalg.pinv, a)
    fill(pinv, a)
    fill(pinv, a, rtol=1e-3, return_rank=True)
    fill(lstsq, a, normal(3, 3, seed=1))
    fill(pinv, a * torch.nan)
    fill(lstsq, a * torch.nan, a)
    with torch.inference_mode():
        out = torch.empty(3, 3, dtype=a.dtype)
        assert pinv(a, out=out) is out


def test_operands_on_different_devices_are_refused():
    a, b = normal(3, 3), normal(3, 2)
    there = {"a": a.to("meta"), "b": b.to("meta"), "tolerance": torch.tensor(0.1, device="meta")}
    names = r"b is on the device {}, but a is on {}"
    for given in a, a.clone().requires_grad_():
        with pytest.raises(ValueError, match=names.format("meta", "cpu")):
            lstsq(given, there["b"])
        with pytest.raises(ValueError, match="atol is on the device meta, but a is on cpu"):
            lstsq(given, b, atol=there["tolerance"])
        with pytest.raises(ValueError, match="rtol is on the device meta, but a is on cpu"):
            pinv(given, rtol=there["tolerance"])
    with pytest.raises(ValueError, match=names.format("cpu", "meta")):
        lstsq(there["a"], b)
    with pytest.raises(ValueError, match="out is on the device meta, but a is on cpu"):
        pinv(a, out=there["a"])
    with pytest.raises(ValueError, match="b is on the device meta, but a is on cpu"):
        lstsq(a, there["b"], out=b.clone())
    assert pinv(there["a"], rtol=torch.tensor(0.1)).is_meta
    assert pinv(there["a"], rtol=there["tolerance"]).is_meta


def test_other_devices_are_refused_not_moved():
    class Elsewhere(torch.Tensor):
        device = torch.device("cuda:1")

    with pytest.raises(TypeError, match=r"a is on the device cuda:1; .* give a.cpu\(\)"):
        pinv(torch.eye(2).as_subclass(Elsewhere))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # theirs
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_operator_passes_the_checks_of_pytorch(dtype, requires_grad):
    a = normal(2, 4, 3, dtype=dtype).requires_grad_(requires_grad)
    b = normal(2, 4, 2, dtype=dtype, seed=1).requires_grad_(requires_grad)
    settings = (None, torch.tensor(1e-3), False, True, "auto", None, "raise")
    library.opcheck(_torch_operators._pinv, (a, *settings))
    for residuals in (False, True):
        library.opcheck(_torch_operators._lstsq, (a, b, *settings, residuals))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_code_has_no_graph_break(dynamic):
    def function(a):
        x, rank = pinv(a, rtol=1e-3, return_rank=True)
        return 2 * x, rank

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for shape in ((3, 5, 4), (2, 5, 4), (6, 3)):
        a, b = (normal(*shape).requires_grad_() for _ in range(2))
        (x, rank), (y, _) = compiled(a), function(b)
        torch.testing.assert_close(x, y)
        assert (rank == min(shape[-2:])).all()
        x.sum().backward()
        y.sum().backward()
        torch.testing.assert_close(a.grad, b.grad)


def test_shapes_are_known_without_data():
    a = torch.empty(7, 5, 3, device="meta")
    x, rank = pinv(a, return_rank=True)
    assert (x.shape, x.dtype, rank.shape) == ((7, 3, 5), torch.float32, (7,))
    x, rank, residuals = lstsq(a, a[..., 0].cdouble(), return_rank=True, return_residuals=True)
    assert (x.shape, x.dtype, rank.shape) == ((7, 3), torch.complex128, (7,))
    assert (residuals.shape, residuals.dtype) == ((7,), torch.float64)


WRONG = [
    (lambda a: pinv(a[0, 0]), ValueError, r"two or more dimensions, .* shape \(4,\)"),
    (lambda a: pinv(a.bfloat16()), TypeError, "^a has dtype bfloat16; accepted are"),
    (lambda a: pinv(a.half()), TypeError, "dtype (torch.)?float16; accepted are"),
    (lambda a: pinv(a, hermitian=True), ValueError, "hermitian=True needs square matrices"),
    (lambda a: pinv(a, driver="x"), ValueError, "driver must be one of"),
    (lambda a: pinv(a, on_failure="x"), ValueError, "on_failure must be one of"),
    (lambda a: pinv(a, workers=0), ValueError, "workers must be positive"),
    (lambda a: pinv(a, rtol=-1.0), ValueError, "rtol must be at least 0 and not NaN"),
    (lambda a: pinv(a, atol=[0.1] * 7), ValueError, "tolerances must broadcast"),
    (lambda a: lstsq(a, a[:, :2, 0]), ValueError, r"b has shape \(2, 2\), a has \(2, 3, 4\)"),
    (lambda a: lstsq(a[0, 0], a), ValueError, r"two or more dimensions, .* shape \(4,\)"),
    (lambda a: lstsq(a, a[:1].expand(7, 3, 4)), ValueError, "batch shapes of a and b"),
    (lambda a: lstsq(a, a.half()), TypeError, "b has dtype float16; accepted are"),
    (lambda a: lstsq(a, a.bfloat16()), TypeError, "^b has dtype bfloat16; accepted are"),
]


@pytest.mark.parametrize(("function", "error", "message"), WRONG)
def test_errors_are_the_same_if_only_shapes_are_known(function, error, message):
    a = torch.ones(2, 3, 4)
    for given in a, torch.ones(2, 3, 4, requires_grad=True), a.to("meta"):
        with pytest.raises(error, match=message):
            function(given)
    with pytest.raises(error, match=message):
        torch.compile(function, backend="eager")(a)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traces_hold_the_operator():
    a, c = normal(5, 4), normal(5, 4, seed=1)
    b = normal(5, seed=2)
    functions = [
        lambda a: pinv(a),
        lambda a: lstsq(a, b),
        lambda a: lstsq(a, b, return_rank=True)[0],
    ]
    for function in functions:
        for graph in make_fx(function)(a), torch.jit.trace(function, a):
            equal(graph(c), function(c))
    with FakeTensorMode():
        assert pinv(torch.empty(5, 4)).shape == (4, 5)


def test_autocast_changes_no_precision():
    a, b, da = normal(20, 6), normal(20, 2, seed=1), normal(20, 6, seed=2)
    a, b, da = (t.float() for t in (a, b, da))

    def results():
        watched = a.clone().requires_grad_()
        x, y = pinv(watched), lstsq(watched, b, return_residuals=True)
        yield from (pinv(a), lstsq(a, b), x, *y)
        yield torch.func.jvp(pinv, (a,), (da,))[1]
        yield torch.func.jvp(lambda a: lstsq(a, b), (a,), (da,))[1]
        total = x.square().sum() + y[0].square().sum()
        yield from torch.autograd.grad(total, watched, retain_graph=True)
        yield from torch.autograd.grad(total, watched, create_graph=True)
        yield torch.func.grad(lambda a: pinv(a).square().sum())(a)
        yield jacrev(pinv)(a)
        yield jacfwd(pinv)(a)

    expected = list(results())
    compiled = torch.compile(lambda a: pinv(a).square().sum(), backend="aot_eager")
    watched = a.clone().requires_grad_()
    [expected_ga] = torch.autograd.grad(pinv(watched).square().sum(), watched)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for one, other in zip(results(), expected, strict=True):
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        [ga] = torch.autograd.grad(compiled(watched), watched)
    torch.testing.assert_close(ga, expected_ga, rtol=1e-4, atol=1e-4)


def test_results_are_on_the_device_of_a_whatever_the_default():
    a, b = torch.randn(3, 5, 4), torch.randn(3, 5)
    c = a.clone().requires_grad_()
    with torch.device("meta"):
        found = [*pinv(a, return_rank=True), pinv(c, rtol=1e-3), lstsq(a, b.numpy())]
        for given in a, c:
            found += lstsq(given, b, return_rank=True, return_residuals=True)
        found += torch.autograd.grad(lstsq(c, b)[0, 0], c)
    assert {t.device.type for t in found} == {"cpu"}


def test_inference_and_deterministic_modes_change_nothing():
    a, b = normal(3, 5, 4), normal(3, 5, seed=1)
    expected = pinv(a), lstsq(a, b)
    with torch.inference_mode():
        equal(pinv(a), expected[0])
        equal(lstsq(a, b), expected[1])
        equal(pinv(normal(3, 5, 4)), expected[0])
    torch.use_deterministic_algorithms(True)
    try:
        equal(pinv(a.clone().requires_grad_()), expected[0])
        equal(lstsq(a, b), expected[1])
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("function", [pinv, lambda a: lstsq(a, a[..., :1].resolve_conj())])
def test_lazy_conjugates_are_right_in_compiled_code(function):
    def value(a):
        return function(a.mH).abs().square().sum()

    a = normal(2, 4, 3, dtype=torch.complex128).requires_grad_()
    b = a.detach().clone().requires_grad_()
    for backend in "eager", "aot_eager":
        compiled = torch.compile(value, backend=backend)
        torch.testing.assert_close(compiled(a), value(b))
        [ga], [gb] = torch.autograd.grad(compiled(a), a), torch.autograd.grad(value(b), b)
        torch.testing.assert_close(ga, gb)


def test_gradients_of_small_and_large_matrices_are_the_same_formula():
    for shape in (3, 20, 8), (100, 20, 8), (20, 20), (2, 90, 80):
        a, b = normal(*shape).requires_grad_(), normal(*shape[:-1], 2, seed=1).requires_grad_()
        for function in pinv(a), lstsq(a, b):
            weights = torch.ones_like(function)
            first = torch.autograd.grad(
                function, (a, b), weights, retain_graph=True, allow_unused=True
            )
            again = torch.autograd.grad(
                function, (a, b), weights, create_graph=True, allow_unused=True
            )
            for one, other in zip(first, again, strict=True):
                if one is not None:
                    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


# `lstsq`.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("a_shape", "b_shape"), SYSTEMS)
def test_solutions_are_those_of_the_same_memory(a_shape, b_shape, dtype):
    a, b = normal(*a_shape, dtype=dtype), normal(*b_shape, dtype=dtype, seed=1)
    expected = lstsq(a.numpy(), b.numpy(), return_rank=True, return_residuals=True)
    found = lstsq(a, b, return_rank=True, return_residuals=True)
    eps = torch.finfo(dtype).eps
    watched = lstsq(a.requires_grad_(), b, return_rank=True, return_residuals=True)
    for given, with_gradient, numbers in zip(found, watched, expected, strict=True):
        equal(given, numbers)
        assert with_gradient.dtype == given.dtype
        assert with_gradient.shape == given.shape
        np.testing.assert_allclose(with_gradient.detach(), numbers, rtol=1e4 * eps, atol=1e3 * eps)


def test_operands_of_systems_may_be_of_different_kinds_and_dtypes():
    a, b = normal(4, 3), normal(4, 2, dtype=torch.complex64)
    expected = lstsq(a.numpy(), b.numpy())
    equal(lstsq(a, b), expected)
    equal(lstsq(a, b.numpy()), expected)
    equal(lstsq(a.numpy(), b), expected)
    assert lstsq(a.requires_grad_(), b).dtype == torch.complex128
    assert lstsq(torch.ones(2, 2, dtype=torch.int32), torch.ones(2)).dtype == torch.float64


def test_solutions_may_overwrite_the_right_hand_sides():
    a, b = normal(5, 4, 4), normal(5, 4, 2, seed=1)
    expected = lstsq(a.numpy(), b.numpy())
    assert lstsq(a, b, out=b) is b
    equal(b, expected)


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize(("a_shape", "b_shape"), SYSTEMS[:4])
def test_derivatives_of_solutions(a_shape, b_shape, dtype):
    a, b = normal(*a_shape, dtype=dtype), normal(*b_shape, dtype=dtype, seed=1)
    operands = a.requires_grad_(), b.requires_grad_()
    assert gradcheck(
        solve, operands, check_forward_ad=True, check_batched_grad=True,
        check_batched_forward_grad=True,
    )  # fmt: skip
    assert gradgradcheck(solve, operands)
    assert gradcheck(
        lambda a, b: lstsq(a, b, return_residuals=True)[1], operands, check_forward_ad=True
    )


def test_derivatives_of_solutions_of_lower_rank_and_hermitian_systems():
    b, c = (f.requires_grad_() for f in low_rank(5, 4, 2, torch.float64))
    side = normal(5, 2, seed=3).requires_grad_()
    assert gradcheck(lambda b, c, side: lstsq(b @ c, side), (b, c, side))
    a, side = normal(4, 4, dtype=torch.complex128), normal(4, dtype=torch.complex128)
    for lower in True, False:
        assert gradcheck(
            lambda a, b, lower=lower: lstsq(a + a.mH, b, hermitian=True, lower=lower),
            (a.requires_grad_(), side.requires_grad_()),
        )


def test_solutions_under_vmap_and_compile():
    a, b = normal(6, 5, 3), normal(5, seed=1)
    torch.testing.assert_close(vmap(solve, (0, None))(a, b), lstsq(a, b))
    compiled = torch.compile(solve, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(a, b), lstsq(a, b))
    operands = a.requires_grad_(), b.requires_grad_()
    found = torch.autograd.grad(compiled(*operands).square().sum(), operands)
    expected = torch.autograd.grad(lstsq(*operands).square().sum(), operands)
    torch.testing.assert_close(found, expected)


def test_systems_that_are_not_supported_are_refused():
    a, b = torch.eye(3), torch.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match="supports no automatic differentiation"):
        lstsq(a, b, out=torch.empty(3))
    with pytest.raises(ValueError, match="no derivative with respect to atol"):
        lstsq(a, torch.ones(3), atol=torch.tensor(0.1, requires_grad=True))
    with pytest.raises(TypeError, match=r"b has the layout torch.sparse_coo; give b.to_dense\(\)"):
        lstsq(a, torch.ones(3, 1).to_sparse())
    with pytest.raises(batchpinv.LinAlgError):
        lstsq(a * torch.nan, b)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (10**400, ValueError, "atol must be at least 0, and no larger than"),
        ("x", TypeError, "atol must be a real number"),
        ([0.1, "x"], TypeError, "atol must be a real number"),
    ],
)
def test_wrong_tolerances_are_refused_alike_with_a_gradient(given, error, message):
    for a in (torch.eye(2), torch.eye(2, requires_grad=True)):
        with pytest.raises(error, match=message):
            pinv(a, atol=given)


# Processes.


DESIGNS = """
import torch
from batchpinv import pinv

class Designs(torch.utils.data.Dataset):
    def __init__(self):
        self.a = torch.randn(12, 50, 9, 4, dtype=torch.float64)

    def __len__(self):
        return len(self.a)

    def __getitem__(self, index):
        return pinv(self.a[index])
"""


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("rtol", [None, 0.4])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 20, 8)])
def test_derivatives_of_small_tensors_are_those_of_any_options(shape, rtol, dtype):
    """Small tensors with default options take a shorter way, forth and back."""
    a = normal(*shape, dtype=dtype).requires_grad_()
    sides = normal(*shape[:-1], 2, dtype=dtype, seed=1)
    for b in (None, sides, sides[..., 0].contiguous()):
        given = [a] if b is None else [a, b.requires_grad_()]
        function = pinv if b is None else lstsq
        short = partial(function, rtol=rtol)
        whole = partial(function, rtol=rtol, on_failure="nan")
        equal(short(*given), whole(*given).detach())
        weights = normal(*short(*given).shape, dtype=dtype, seed=2)
        once, again = (torch.autograd.grad(f(*given), given, weights) for f in (short, whole))
        for x, y in zip(once, again, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-10)
        total = sum((x * x.conj()).real.sum() for x in once)
        assert not total.requires_grad
        first = torch.autograd.grad(short(*given), given, weights, create_graph=True)
        for x, y in zip(first, once, strict=True):
            torch.testing.assert_close(x.detach(), y, rtol=1e-10, atol=1e-10)
        assert rtol or gradgradcheck(short, given, fast_mode=True)  # rtol drops values


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_data_loader(tmp_path, start):
    (tmp_path / "designs.py").write_text(DESIGNS)
    run_python(
        f"""
    import sys
    sys.path.insert(0, {str(tmp_path)!r})
    import torch
    from batchpinv import pinv
    from designs import Designs
    if __name__ == "__main__":
        designs = Designs()
        loader = torch.utils.data.DataLoader(
            designs, batch_size=3, num_workers=2, multiprocessing_context="{start}"
        )
        assert torch.equal(torch.cat(list(loader)), pinv(designs.a))
    """,
        "-W",
        "ignore:This process:DeprecationWarning",
    )


def test_arrays_of_dask_are_refused_beside_tensors():
    array = pytest.importorskip("dask.array").ones((3, 2))
    with pytest.raises(TypeError, match=r"b is an array of Dask, .*: give b.compute\(\)"):
        lstsq(torch.ones(3, 2), array)
