"""Weights, damping and covariances of other libraries' arrays: the numbers are NumPy's, and the
derivatives are right.
"""

import numpy as np
import pytest

from batchpinv import lstsq, pinv

# Other packages' warnings about themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
WANTED = {
    "return_rank": True,
    "return_residuals": True,
    "return_covariance": True,
    "return_leverage": True,
}
SHAPES = [(6, 4), (4, 6)]


def system(m, n, kind=float, batch=(2,)):
    rng = np.random.default_rng((m, n))

    def normal(*shape):
        numbers = rng.standard_normal(shape)
        return numbers + 1j * rng.standard_normal(shape) if kind is complex else numbers

    weights = rng.uniform(0.2, 1, (*batch, m))
    return normal(*batch, m, n), normal(*batch, m, 3), weights, np.full(batch, 0.3)


def pixels():
    """One design, and measurements some of which are missing."""
    rng = np.random.default_rng(0)
    design, y = rng.standard_normal((30, 3)), rng.standard_normal((50, 30))
    weights = np.where(rng.random(y.shape) < 0.3, 0, rng.random(y.shape))
    y[weights == 0] = np.nan
    return design, y, weights, lstsq(design, y, weights=weights, **WANTED)


def agree(found, expected):
    return all(
        np.array_equal(np.asarray(one), other) for one, other in zip(found, expected, strict=True)
    )


def central_difference(function, at, step=1e-6):
    """The derivative of a real function of an array or a number."""
    found = np.zeros(np.shape(at))
    for index in np.ndindex(np.shape(at)):
        along = np.zeros(np.shape(at))
        along[index] = step
        found[index] = (function(at + along) - function(at - along)) / (2 * step)
    return found


# PyTorch.


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def tensors(torch, m, n, kind, gradients=True):
    return [torch.from_numpy(part).requires_grad_(gradients) for part in system(m, n, kind)]


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_torch_gives_numpys_numbers(torch, m, n, kind):
    a, b, weights, damping = system(m, n, kind)
    expected = lstsq(a, b, weights=weights, damping=damping, **WANTED)
    for gradients in (False, True):
        given = tensors(torch, m, n, kind, gradients)
        found = lstsq(*given[:2], weights=given[2], damping=given[3], **WANTED)
        assert all(isinstance(part, torch.Tensor) for part in found)
        assert agree([part.detach() for part in found], expected)
        x = pinv(given[0], weights=given[2], damping=given[3]).detach()
        assert agree([x], [pinv(a, weights=weights, damping=damping)])


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize("of", ["a", "b", "weights", "damping"])
def test_torch_derivatives_in_single_precision_take_weights_in_double(torch, kind, of):
    """They are those in double precision, rounded; in both modes, along each operand alone."""
    wide = dict(
        zip(("a", "b", "weights", "damping"), tensors(torch, 6, 4, kind, False), strict=True)
    )
    single = {
        name: part
        if name in ("weights", "damping")
        else part.to(torch.complex64 if kind is complex else torch.float32)
        for name, part in wide.items()
    }
    wide |= {name: part.to(wide[name].dtype) for name, part in single.items()}

    def run(operands):
        def function(part):
            a, b, weights, damping = {**operands, of: part}.values()
            options = {"weights": weights, "damping": damping}
            x, residuals, covariance = lstsq(
                a, b, return_residuals=True, return_covariance=True, **options
            )
            return x, residuals, covariance, pinv(a, **options)

        part = operands[of]
        value, tangent = torch.func.jvp(function, (part,), (torch.ones_like(part),))
        _, pull_back = torch.func.vjp(function, part)
        return *tangent, *pull_back(tuple(map(torch.ones_like, value)))

    for one, other in zip(run(single), run(wide), strict=True):
        torch.testing.assert_close(one.to(other.dtype), other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("wanted", [True, "diagonal"])
def test_torch_differentiates_the_covariance_along_b(torch, wanted):
    def function(b):
        return lstsq(torch.eye(2), b, return_covariance=wanted)

    _, (dx, dc) = torch.func.jvp(function, (torch.ones(2),), (torch.ones(2),))
    assert dx.tolist() == [1, 1]
    assert not dc.any()


def test_torch_derivatives_of_hermitian_systems_read_one_triangle(torch):
    a, b, weights, damping = tensors(torch, 4, 4, float)

    def solve(a, b, w, d):
        unread = (a + a.mT).triu(1).detach()
        return lstsq(a + a.mT + unread, b, weights=w, damping=d, hermitian=True)

    given = a, b, weights, damping
    assert torch.autograd.gradcheck(solve, given, check_forward_ad=True)


def test_torch_matrices_of_integers_may_have_weights_with_gradients(torch):
    a, b, weights, _ = tensors(torch, 6, 4, float)
    whole = (8 * a.detach()).long()
    found, expected = (
        torch.autograd.grad(lstsq(given, b, weights=weights).sum(), weights)[0]
        for given in (whole, whole.double())
    )
    assert torch.equal(found, expected)


def test_torch_refuses_weights_of_another_shape(torch):
    for weights in torch.ones(3, requires_grad=True), torch.tensor(1.0, requires_grad=True):
        with pytest.raises(ValueError, match="weights must have shape"):
            lstsq(torch.eye(2), torch.ones(2), weights=weights)


def test_torch_refuses_weights_and_damping_in_half_precision(torch):
    for name in "weights", "damping":
        with pytest.raises(TypeError, match=f"{name} has dtype bfloat16; accepted are float32, f"):
            lstsq(torch.eye(2), torch.ones(2), **{name: torch.ones(2, dtype=torch.bfloat16)})


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_torch_derivatives_are_right(torch, m, n, kind):
    given = tensors(torch, m, n, kind)

    def check(function, inputs):
        assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True)

    check(lambda a, b, w, d: lstsq(a, b, weights=w, damping=d), given)
    check(lambda a, b, w: lstsq(a, b, weights=w), given[:3])
    check(lambda a, w, d: pinv(a, weights=w, damping=d), [given[0], *given[2:]])
    wanted = {"return_residuals": True, "return_covariance": True}
    check(lambda a, b, w, d: lstsq(a, b, weights=w, damping=d, **wanted), given)
    check(lambda a, b, w: lstsq(a, b, weights=w, return_covariance="diagonal"), given[:3])


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_torch_second_derivatives_are_right(torch, m, n, kind):
    given = tensors(torch, m, n, kind)
    check = torch.autograd.gradgradcheck
    assert check(lambda a, b, w, d: lstsq(a, b, weights=w, damping=d), given)
    assert check(lambda a, w: pinv(a, weights=w), [given[0], given[2]])


def test_torch_takes_matrices_of_numpy_beside_weights_or_damping_of_its_own(torch):
    a, b, weights, damping = (part[0] for part in system(6, 4))
    expected = lstsq(a, b, weights=weights, damping=damping, **WANTED)
    w, d = (torch.tensor(part, requires_grad=True) for part in (weights, damping))
    assert agree(lstsq(a, b, weights=w.detach(), damping=damping, **WANTED), expected)
    lstsq(a, b, weights=w, damping=d).sum().backward()
    for given, name in (w, "weights"), (d, "damping"):
        options = {"weights": weights, "damping": damping}
        exact = central_difference(
            lambda at, name=name, options=options: lstsq(a, b, **(options | {name: at})).sum(),
            options[name],
        )
        np.testing.assert_allclose(given.grad, exact, rtol=1e-5, atol=1e-8)
    inverse = pinv(a, damping=d)
    assert isinstance(inverse, torch.Tensor)
    assert inverse.requires_grad


def test_torch_derivatives_are_finite_where_a_weight_or_the_damping_is_0(torch):
    """They are one-sided there."""
    a, b, weights, _ = system(6, 3, batch=())
    weights[1] = 0
    given = [torch.from_numpy(part) for part in (a, b)]
    w = torch.from_numpy(weights).requires_grad_()
    d = torch.zeros((), dtype=torch.float64, requires_grad=True)
    x = lstsq(*given, weights=w, damping=d)
    x.sum().backward()
    step = 1e-7
    for at in range(6):
        moved = weights + step * (np.arange(6) == at)
        slope = (lstsq(a, b, weights=moved) - x.detach().numpy()).sum() / step
        assert w.grad[at] == pytest.approx(slope, rel=1e-4, abs=1e-5)
    slope = (lstsq(a, b, weights=weights, damping=step) - x.detach().numpy()).sum() / step
    assert d.grad == pytest.approx(slope, rel=1e-4)


def test_torch_derivatives_are_0_for_rows_of_weight_0(torch):
    a, b, weights, _ = system(6, 3, batch=())
    weights[1], a[1], b[1] = 0, np.nan, np.inf
    given = [torch.from_numpy(part).requires_grad_() for part in (a, b, weights)]
    x, covariance = lstsq(*given[:2], weights=given[2], return_covariance=True)
    (x.sum() + covariance.sum()).backward()
    for part in given:
        assert torch.isfinite(part.grad).all()
        assert not part.grad[1].any()
    import torch.autograd.forward_ad as forward

    with forward.dual_level():
        dual = [forward.make_dual(part.detach(), torch.ones_like(part)) for part in given]
        tangent = forward.unpack_dual(lstsq(*dual[:2], weights=dual[2])).tangent
    assert torch.isfinite(tangent).all()


def test_torch_transforms_and_compile_give_the_eager_results(torch):
    a, b, weights, damping = tensors(torch, 6, 4, float, False)
    expected = lstsq(a, b, weights=weights)
    mapped = torch.func.vmap(lambda a, b, w: lstsq(a, b, weights=w))(a, b, weights)
    assert torch.equal(mapped, expected)
    jacobians = [
        transform(lambda w: lstsq(a[0], b[0], weights=w))(weights[0])
        for transform in (torch.func.jacrev, torch.func.jacfwd)
    ]
    torch.testing.assert_close(*jacobians)
    compiled = torch.compile(
        lambda a, b, w: lstsq(a, b, weights=w, damping=0.1), backend="aot_eager", fullgraph=True
    )
    w = weights.clone().requires_grad_()
    x = compiled(a, b, w)
    plain = lstsq(a, b, weights=weights, damping=0.1)
    assert torch.equal(x, plain)
    assert torch.equal(lstsq(a, b, weights=w, damping=0.1), plain)
    x.sum().backward()
    (eager,) = torch.autograd.grad(lstsq(a, b, weights=w, damping=0.1).sum(), w)
    torch.testing.assert_close(w.grad, eager)
    settings = (None, None, False, True, "auto", None, "raise")
    torch.library.opcheck(
        torch.ops.batchpinv.weighted_lstsq.default,
        (a, b, w, damping[0], *settings, True, "full", True),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )


def test_torch_out_refuses_weights_that_require_gradients(torch):
    a, b, weights, _ = tensors(torch, 6, 4, float, False)
    out = torch.empty(2, 4, 3, dtype=torch.float64)
    assert lstsq(a, b, weights=weights, out=out) is out
    with pytest.raises(ValueError, match="a tensor requires grad"):
        lstsq(a, b, weights=weights.requires_grad_(), out=out)


# JAX.


@pytest.fixture
def jax():
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        yield jax


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_jax_gives_numpys_numbers(jax, m, n, kind):
    a, b, weights, damping = map(jax.numpy.asarray, system(m, n, kind))

    def solve(a, b, w, d):
        return lstsq(a, b, weights=w, damping=d, **WANTED)

    expected = lstsq(*system(m, n, kind)[:2], weights=weights, damping=damping, **WANTED)
    eager = solve(a, b, weights, damping)
    assert all(isinstance(part, jax.Array) for part in eager)
    assert agree(eager, expected)
    assert agree(jax.jit(solve)(a, b, weights, damping), expected)
    assert agree(jax.vmap(solve)(a, b, weights, damping), expected)
    x = jax.jit(lambda a, w, d: pinv(a, weights=w, damping=d))(a, weights, damping)
    assert agree([x], [pinv(a, weights=weights, damping=damping)])


@pytest.mark.parametrize(("m", "n", "kind"), [(6, 4, float), (4, 6, complex)])
def test_jax_derivatives_are_right(jax, m, n, kind):
    from jax.test_util import check_grads

    a, b, w, d = map(jax.numpy.asarray, system(m, n, kind))
    wanted = {"return_residuals": True, "return_covariance": True}
    check_grads(lambda a, b, w, d: lstsq(a, b, weights=w, damping=d, **wanted), (a, b, w, d), 1)
    check_grads(lambda a, b, w: lstsq(a, b, weights=w), (a, b, w), 2)
    check_grads(lambda a, w, d: pinv(a, weights=w, damping=d), (a, w, d), 1)


def test_jax_takes_matrices_of_numpy_beside_traced_weights_or_damping(jax):
    a, b, weights, damping = (part[0] for part in system(6, 4))

    def solve(weights, damping):
        return lstsq(a, b, weights=weights, damping=damping)

    assert agree([jax.jit(solve)(weights, damping)], [solve(weights, damping)])
    stacks = np.stack([weights, 2 * weights]), np.array([0.1, 0.2])
    assert agree([jax.vmap(solve)(*stacks)], [solve(*stacks)])
    found = jax.grad(lambda w, d: solve(w, d).sum(), (0, 1))(weights, damping)
    exact = (
        central_difference(lambda w: solve(w, damping).sum(), weights),
        central_difference(lambda d: solve(weights, d).sum(), damping),
    )
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-8)
    slope = jax.grad(lambda d: pinv(a, damping=d).sum())(damping)
    exact = central_difference(lambda d: pinv(a, damping=d).sum(), damping)
    np.testing.assert_allclose(slope, exact, rtol=1e-5)


def test_jax_refuses_traced_weights_and_damping_of_the_dtypes_that_numpy_refuses(jax):
    a, b, weights, damping = (part[0] for part in system(4, 3))
    for name, given in [
        ("weights", weights * (1 + 2j)),
        ("damping", damping * 1j),
        ("damping", np.array(True)),
    ]:
        with pytest.raises((TypeError, ValueError)) as eager:
            lstsq(a, b, **{name: given})
        with pytest.raises(type(eager.value), match=name):
            jax.jit(lambda given, name=name: lstsq(a, b, **{name: given}))(given)
        with pytest.raises(type(eager.value), match=name):
            jax.jit(lambda a, name=name, given=given: pinv(a, **{name: given}))(a)


def test_jax_differentiates_the_diagonal_of_the_covariance(jax):
    a, b, weights, _ = (part[0] for part in system(6, 4))

    def variances(a, w, wanted):
        covariance = lstsq(a, b, weights=w, return_covariance=wanted)[1]
        return covariance if wanted == "diagonal" else jax.numpy.diagonal(covariance)

    for transform in jax.jacfwd, jax.jacrev:
        found = transform(lambda w: variances(a, w, "diagonal"))(weights)
        expected = transform(lambda w: variances(a, w, True))(weights)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_jax_traces_weights_of_integers(jax):
    a, b, _, _ = (part[0] for part in system(6, 4))
    weights = np.arange(1, 7)
    solve = jax.jit(lambda w: lstsq(a, b, weights=w))
    assert agree([solve(weights)], [lstsq(a, b, weights=weights)])


def test_jax_names_wrong_shapes_of_traced_weights(jax):
    with pytest.raises(ValueError, match="weights must have shape"):
        jax.jit(lambda a, w: pinv(a, weights=w))(np.eye(2), np.ones(3))


def test_jax_derivatives_are_0_for_rows_of_weight_0(jax):
    a, b, weights, _ = system(6, 3, batch=())
    weights[1], a[1], b[1] = 0, np.nan, np.nan
    gradients = jax.grad(lambda a, b, w: lstsq(a, b, weights=w).sum(), (0, 1, 2))(a, b, weights)
    for part in gradients:
        assert np.isfinite(part).all()
        assert not part[1].any()


# Dask, xarray, the array API.


def test_dask_gives_numpys_numbers():
    da = pytest.importorskip("dask.array")
    design, y, weights, expected = pixels()
    lazy = [da.from_array(part, chunks=(20, 30)) for part in (y, weights)]
    whole = da.from_array(design, chunks=(30, 3))
    found = lstsq(whole, lazy[0], weights=lazy[1], **WANTED)
    assert [part.shape for part in found] == [part.shape for part in expected]
    assert agree([part.compute() for part in found], expected)
    dampings = np.linspace(0, 1, 50)
    x = lstsq(design, lazy[0], weights=weights, damping=dampings)
    assert agree([x.compute()], [lstsq(design, y, weights=weights, damping=dampings)])
    x = pinv(whole, weights=lazy[1], damping=0.5)
    assert agree([x.compute()], [pinv(design, weights=weights, damping=0.5)])
    with pytest.raises(ValueError, match="weights must have shape"):
        pinv(whole, weights=np.ones(4))
    with pytest.raises(ValueError, match="weights must lie in one chunk"):
        pinv(whole, weights=da.from_array(weights, chunks=(20, 10)))


def test_xarray_gives_numpys_numbers_and_matches_weights_by_name():
    xr = pytest.importorskip("xarray")
    design, y, weights, expected = pixels()
    a = xr.DataArray(design, dims=("time", "term"), coords={"term": list("abc")})
    b = xr.DataArray(y, dims=("pixel", "time"))
    w = xr.DataArray(weights.T, dims=("time", "pixel"))
    x, rank, residuals, covariance, leverage = lstsq(a, b, weights=w, **WANTED)
    assert x.dims == ("pixel", "term")
    assert covariance.dims == ("pixel", "term", "term_2")
    assert leverage.dims == ("pixel", "time")
    assert agree((x, rank, residuals, covariance, leverage), expected)
    inverse = pinv(a, weights=w)
    assert inverse.dims == ("pixel", "term", "time")
    assert agree([inverse], [pinv(design, weights=weights)])
    with pytest.raises(TypeError, match="weights of labelled arrays must be one, too"):
        lstsq(a, b, weights=weights)
    with pytest.raises(TypeError, match="damping of labelled arrays must be one, too"):
        lstsq(a, b, damping=np.ones(50))
    with pytest.raises(TypeError, match="rtol of labelled arrays must be one, too"):
        pinv(a, rtol=np.ones(50))
    stack = a.expand_dims(pixel=4)
    assert agree([pinv(stack, rtol=np.full(4, 1e-9))], [pinv(stack.data, rtol=1e-9)])
    with pytest.raises(ValueError, match="weights must have the dimension 'time' of the rows"):
        lstsq(a, b, weights=w.mean("time"))


def test_array_api_gives_numpys_numbers():
    xp = pytest.importorskip("array_api_strict")
    design, y, weights, expected = pixels()
    found = lstsq(xp.asarray(design), xp.asarray(y), weights=xp.asarray(weights), **WANTED)
    assert all(isinstance(part, type(xp.asarray(1.0))) for part in found)
    assert agree(found, expected)
