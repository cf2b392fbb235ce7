"""Derivatives of PyTorch's tensors, by PyTorch's own checks: all modes and orders, transforms, and
compiled code."""

import pytest
import torch
from tensors import EXACT, SHAPES, equal, low_rank, normal
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing._internal.opinfo.definitions.linalg import op_db
from torch.utils._python_dispatch import TorchDispatchMode

from batchpinv import lstsq, pinv

pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.qr is deprecated", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("shape", SHAPES[:5])
def test_derivatives_of_full_rank(shape, dtype):
    a = normal(*shape, dtype=dtype).requires_grad_()
    assert gradcheck(
        pinv, a, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert gradgradcheck(pinv, a, check_fwd_over_rev=True)


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize(("m", "n"), [(4, 4), (5, 3), (3, 5)])
def test_derivatives_of_constant_lower_rank(m, n, dtype):
    factors = [f.requires_grad_() for f in low_rank(m, n, 2, dtype)]
    assert gradcheck(lambda b, c: pinv(b @ c), factors, check_forward_ad=True)
    assert gradgradcheck(lambda b, c: pinv(b @ c), factors)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("dtype", EXACT)
def test_derivatives_of_hermitian_matrices_read_one_triangle(dtype, lower):
    def function(a):
        a = a + a.mH
        unread = a.triu(1) if lower else a.tril(-1)
        return pinv(a + unread.detach(), hermitian=True, lower=lower)

    a = normal(2, 4, 4, dtype=dtype).requires_grad_()
    assert gradcheck(function, a, check_forward_ad=True)
    assert gradgradcheck(function, a)


def test_gradient_is_that_of_pytorch():
    for shape in ((6, 4), (4, 6), (3, 5, 5)):
        a = normal(*shape, dtype=torch.complex128).requires_grad_()
        weights = normal(*pinv(a).shape, dtype=torch.complex128, seed=2)
        [ours] = torch.autograd.grad(pinv(a), a, weights)
        [theirs] = torch.autograd.grad(torch.linalg.pinv(a), a, weights)
        torch.testing.assert_close(ours, theirs)


def test_gradient_of_a_batch_that_tolerances_widen_adds_up():
    a = normal(4, 3).requires_grad_()
    [twice] = torch.autograd.grad(pinv(a, rtol=torch.zeros(2)).sum(), a)
    [once] = torch.autograd.grad(pinv(a).sum(), a)
    torch.testing.assert_close(twice, 2 * once)


def test_nothing_is_kept_if_no_gradient_is_wanted():
    a = normal(3, 3).requires_grad_()
    with torch.no_grad():
        assert not pinv(a).requires_grad
    assert pinv(a).grad_fn is not None
    x, rank = pinv(a, return_rank=True)
    assert x.requires_grad
    assert not rank.requires_grad


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("variant", ["", "singular", "hermitian"])
def test_derivatives_pass_on_the_samples_of_pytorch(variant, dtype):
    torch.manual_seed(0)
    [operator] = [o for o in op_db if (o.name, o.variant_test_name) == ("linalg.pinv", variant)]
    samples = list(operator.sample_inputs("cpu", dtype, requires_grad=True))
    assert len(samples) >= 8
    for sample in samples:

        def function(a, *more, options=sample.kwargs):
            if variant == "hermitian":
                a = a + a.mH
            return pinv(a @ more[0].mT if variant == "singular" else a, **options)

        inputs = (sample.input, *(arg for arg in sample.args if isinstance(arg, torch.Tensor)))
        assert gradcheck(function, inputs, fast_mode=True, check_forward_ad=True)
        assert gradgradcheck(function, inputs, fast_mode=True)


def test_transforms_of_transforms():
    a = normal(4, 3)
    forward, reverse = jacfwd(pinv)(a), jacrev(pinv)(a)
    torch.testing.assert_close(forward, reverse)
    assert hessian(lambda a: pinv(a).sum())(a).shape == (4, 3, 4, 3)


@pytest.mark.parametrize("in_dims", [(0, 0), (2, 0), (1, None), (None, 0)])
def test_vmap_is_a_loop(in_dims):
    a = normal(3, 3, 3, 4) if in_dims[0] is not None else normal(3, 3, 4)
    rtol = torch.tensor([0.1, 0.3, 0.5]) if in_dims[1] is not None else torch.tensor(0.3)
    found = vmap(lambda a, rtol: pinv(a, rtol=rtol), in_dims)(a, rtol)
    for i in range(3):
        one = a if in_dims[0] is None else a.select(in_dims[0], i)
        tolerance = rtol if in_dims[1] is None else rtol[i]
        equal(found[i], pinv(one.numpy(), rtol=tolerance.numpy()))


def inverse(a):
    return pinv(a)


def solution(a):
    return lstsq(a, a[:, :1].square() + 1, rtol=1e-6)


def along(function):
    return lambda a: jvp(function, (a,), (a.cos(),))[1]


def gradient(function):
    return grad(lambda a: function(a).square().sum())


def pulled_back(function):
    return lambda a: vjp(function, a)[1](function(a).cos())[0]


def mapped_gradients(function):
    return lambda a: vmap(gradient(function))(torch.stack([a, 2 * a]))


DERIVED = [along, gradient, pulled_back, jacfwd, jacrev, hessian, mapped_gradients]


@pytest.mark.parametrize("function", [inverse, solution])
def test_forward_mode_over_forward_mode(function):
    a, da = normal(3, 2), normal(3, 2, seed=1)
    second = hessian(function)(a)
    torch.testing.assert_close(jacfwd(jacfwd(function))(a), second)
    torch.testing.assert_close(jacrev(jacfwd(function))(a), second)
    torch.testing.assert_close(jacrev(jacrev(function))(a), second)
    third = jacrev(hessian(function))(a)
    torch.testing.assert_close(jacfwd(jacfwd(jacfwd(function)))(a), third)
    torch.testing.assert_close(jacfwd(jacrev(jacfwd(function)))(a), third)

    def tangent(a):
        return jvp(function, (a,), (da,))[1]

    step = 1e-5 * da
    expected = (tangent(a + step) - tangent(a - step)) / 2e-5
    torch.testing.assert_close(jvp(tangent, (a,), (da,))[1], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("hermitian", [False, True])
def test_forward_mode_over_forward_mode_of_hermitian_and_complex_matrices(hermitian):
    def function(a):
        a = torch.complex(a, a.mT.sin())
        x = pinv(a + a.mH if hermitian else a, hermitian=hermitian)
        return torch.view_as_real(x)

    a = normal(3, 3)
    torch.testing.assert_close(jacfwd(jacfwd(function))(a), jacrev(jacrev(function))(a))


def test_derivatives_of_hermitian_systems_are_those_of_whole_matrices():
    a, b = normal(4, 4), normal(4, 2)

    def solve(a, **options):
        return lstsq(a + a.mT, b, **options)

    for derived in jacfwd, jacrev:
        found = derived(lambda a: solve(a, hermitian=True))(a)
        torch.testing.assert_close(found, derived(solve)(a))


@pytest.mark.parametrize("function", [inverse, solution])
@pytest.mark.parametrize("derived", DERIVED)
def test_derivatives_in_recorded_and_watched_code(derived, function):
    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.append(func.name())
            return func(*args, **(kwargs or {}))

    names = []
    a, other = normal(3, 2), normal(3, 2, seed=1)
    derivative = derived(function)
    expected = derivative(a)
    with Watching():
        torch.testing.assert_close(derivative(a), expected)
    graph = make_fx(derivative)(other)
    torch.testing.assert_close(graph(a), expected)
    operator = f"batchpinv::{'pinv' if function is inverse else 'lstsq'}"
    assert operator in names
    assert operator.replace("::", ".") in graph.code


@pytest.mark.parametrize(
    ("derived", "function"),
    [
        (along, inverse),
        (along, solution),
        (gradient, inverse),
        (mapped_gradients, solution),
        (jacrev, inverse),
        (hessian, solution),
        (lambda function: jacfwd(jacfwd(function)), inverse),
    ],
)
def test_derivatives_in_compiled_code_without_a_graph_break(derived, function):
    a = normal(3, 2)
    derivative = derived(function)
    torch._dynamo.reset()
    compiled = torch.compile(derivative, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(a), derivative(a))


def test_derivatives_of_compiled_derivatives():
    a = normal(3, 2).requires_grad_()
    for derived in along, gradient:
        compiled = torch.compile(derived(inverse), backend="aot_eager", fullgraph=True)
        [found] = torch.autograd.grad(compiled(a).sum(), a)
        [expected] = torch.autograd.grad(derived(inverse)(a).sum(), a)
        torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings(
    "ignore:Attempted to insert a get_attr Node", "ignore::torch.jit.TracerWarning"
)
@pytest.mark.parametrize("function", [inverse, solution])
def test_derivatives_of_linearized_and_traced_functions(function):
    a, da = normal(3, 2), normal(3, 2, seed=1)
    expected = jvp(function, (a,), (da,))[1]
    torch.testing.assert_close(linearize(function, a)[1](da), expected)
    traced = torch.jit.trace(function, normal(3, 2, seed=2))
    torch.testing.assert_close(jvp(traced, (a,), (da,))[1], expected)
    torch.testing.assert_close(hessian(traced)(a), hessian(function)(a))


def test_derivatives_of_subclasses_of_tensors():
    class Labelled(torch.Tensor):
        pass

    a, da = normal(3, 2), normal(3, 2, seed=1)
    expected = jvp(pinv, (a,), (da,))[1]
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(a.as_subclass(Labelled), da)
        found = torch.autograd.forward_ad.unpack_dual(pinv(dual)).tangent
        torch.testing.assert_close(found.as_subclass(torch.Tensor), expected)


def test_vmap_of_gradients():
    a = normal(5, 4, 3)
    found = vmap(torch.func.grad(lambda a: pinv(a).square().sum()))(a)
    [expected] = torch.autograd.grad(pinv(a.requires_grad_()).square().sum(), a)
    torch.testing.assert_close(found, expected)
