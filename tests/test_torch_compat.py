"""`batchpinv.compat.torch` gives PyTorch's own results, classes and words, patched and not."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from children import run_python
from tensors import normal
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

import batchpinv.compat.torch as compat_torch
from batchpinv import show_config
from batchpinv.compat import calls, patch

pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.qr is deprecated", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


@pytest.fixture
def always_ours(monkeypatch):
    """All calls are ours, even if PyTorch is as fast."""
    for pays in ("_pinv_pays", "_lstsq_pays"):
        monkeypatch.setattr(compat_torch, pays, lambda *given: True)


def test_pytorchs_functions_are_replaced_and_given_back(always_ours):
    originals = torch.linalg.pinv, torch.linalg.lstsq, torch.pinverse, torch.Tensor.pinverse
    a, b = normal(5, 3).requires_grad_(), normal(5, 2)
    with patch("torch"):
        counts = calls()
        x = torch.linalg.pinv(a)
        torch.testing.assert_close(x, originals[0](a))
        torch.testing.assert_close(torch.linalg.lstsq(a, b).solution, x @ b)
        torch.testing.assert_close(a.pinverse(), torch.pinverse(a))
        x.sum().backward()
        compiled = torch.compile(
            lambda a: torch.linalg.pinv(a) * 2, fullgraph=True, backend="eager"
        )
        torch.testing.assert_close(compiled(a), 2 * x)
        names = [f"torch.{name}" for name in ("linalg.pinv", "linalg.lstsq", "pinverse")]
        for name in (*names, "torch.Tensor.pinverse"):
            ours, peers = counts.get(name, (0, 0))
            assert calls()[name].ours >= ours + 1
            assert calls()[name].peers == peers
            assert name in show_config("dicts")["compat"]["replaced"]
        for wrong in (torch.ones(3), torch.ones(3, 3, dtype=torch.float16), [[1.0]]):
            assert_peer_raises(lambda wrong=wrong: torch.linalg.pinv(wrong), originals[0], wrong)
    assert originals == (
        torch.linalg.pinv, torch.linalg.lstsq, torch.pinverse, torch.Tensor.pinverse,
    )  # fmt: skip
    assert "pinverse" not in vars(torch.Tensor)


def assert_peer_raises(ours, peers, *arguments, **options):
    with pytest.raises((RuntimeError, TypeError)) as expected:
        peers(*arguments, **options)
    with pytest.raises((RuntimeError, TypeError)) as found:
        ours()
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("pinv", (normal(3, 3),), {"atol": 0.1, "rtol": torch.tensor([0.1])}),
        ("pinv", (normal(3, 3),), {"rtol": np.array(0.1)}),
        ("pinv", (normal(3, 3), 0.1), {"atol": 0.1}),
        ("pinv", (normal(3, 3),), {"hermitian": 1}),
        ("pinv", (normal(3, 3),), {"out": torch.zeros(3, 3, dtype=torch.int64)}),
        ("pinv", (normal(3, 3).requires_grad_(),), {"out": normal(3, 3)}),
        ("lstsq", (normal(4, 3), normal(5, 4, 2)), {}),
        ("lstsq", (normal(2, 4, 3), normal(4, 2)), {}),
        ("lstsq", (normal(4, 3), normal(4, 2)), {"rcond": torch.tensor([0.1, 0.2])}),
    ],
    ids=[str(at) for at in range(9)],
)
def test_calls_that_pytorch_refuses_are_refused(always_ours, name, arguments, options):
    ours, peers = getattr(compat_torch.linalg, name), getattr(torch.linalg, name)
    assert_peer_raises(lambda: ours(*arguments, **options), peers, *arguments, **options)


def answered(name):
    return calls().get(f"torch.linalg.{name}", (0, 0))[0]


@pytest.mark.parametrize(
    ("a", "k", "is_ours"),
    [((3, 3), 1, 0), ((10_000, 2), 1, 0), ((63, 3, 3), 1, 0), ((300, 300), 1, 0),
     ((64, 3, 3), 1, 1), ((100_000, 10), 1, 1), ((10, 100_000), 1, 1), ((50, 5), 20_000, 1)],
)  # fmt: skip
def test_least_squares_are_ours_if_they_are_faster(a, k, is_ours):
    a = normal(*a)
    b = normal(*a.shape[:-1], k)
    before = answered("lstsq")
    x = compat_torch.linalg.lstsq(a, b).solution
    assert answered("lstsq") == before + is_ours
    torch.testing.assert_close(x, torch.linalg.lstsq(a, b).solution)


def test_small_gradients_are_left_to_pytorch():
    small, large = normal(5, 3), normal(30, 5, 3)
    before = answered("pinv")
    compat_torch.linalg.pinv(small.requires_grad_())
    assert answered("pinv") == before
    compat_torch.linalg.pinv(large.requires_grad_())
    with torch.no_grad():
        compat_torch.linalg.pinv(small)
    assert answered("pinv") == before + 2


def test_scripts_are_compiled_under_the_patch():
    def fit(a, b):
        return torch.linalg.pinv(a), torch.pinverse(a), a.pinverse(), torch.linalg.lstsq(a, b)

    a, b = normal(5, 3), normal(5, 2)
    with patch("torch"):
        script = torch.jit.script(fit)
        found = script(a, b)
    for one, other in zip(found, fit(a, b), strict=True):
        torch.testing.assert_close(one[0], other[0])
    assert "batchpinv" not in str(script.graph)


class Watched(torch.Tensor):
    seen: ClassVar[list] = []

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        cls.seen.append(function)
        return super().__torch_function__(function, types, arguments, options or {})


def test_subclasses_and_modes_see_pytorchs_own_functions():
    from torch.overrides import TorchFunctionMode

    class Functions(TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), options=None):
            seen.append(function)
            return function(*arguments, **(options or {}))

    class Operators(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, arguments=(), options=None):
            seen.append(str(operator))
            return operator(*arguments, **(options or {}))

    original, table, a = torch.linalg.pinv, {torch.linalg.pinv: "pinv"}, normal(30, 5, 3)
    with patch("torch"):
        seen = Watched.seen
        assert type(torch.linalg.pinv(a.as_subclass(Watched))) is Watched
        assert [table[function] for function in seen] == ["pinv"]
        seen = []
        with Functions():
            torch.linalg.pinv(a)
        assert seen == [original]
        seen = []
        with Operators():
            torch.linalg.pinv(a)
        assert seen == ["aten.linalg_pinv.atol_rtol_tensor"]
        before = answered("pinv")
        torch.set_default_device("cpu")  # a mode, too, but it ignores such functions
        try:
            torch.linalg.pinv(a)
        finally:
            torch.set_default_device(None)
        assert answered("pinv") == before + 1


def test_programs_recorded_under_the_patch_need_no_batchpinv(tmp_path):
    class Fit(torch.nn.Module):
        def forward(self, a):
            return torch.linalg.pinv(a) + a.pinverse()

    a = normal(30, 5, 3)
    with patch("torch"):
        torch.jit.save(torch.jit.trace(Fit(), a), tmp_path / "trace.pt")
        torch.export.save(torch.export.export(Fit(), (a,)), tmp_path / "export.pt2")
        torch.export.save(torch.export.export(Fit(), (a,), strict=True), tmp_path / "strict.pt2")
        assert "batchpinv" not in str(make_fx(Fit())(a).graph)
    torch.save((a, Fit()(a)), tmp_path / "expected.pt")
    run_python(
        """
        import sys, torch
        a, expected = torch.load("expected.pt")
        for program in (
            torch.jit.load("trace.pt"),
            torch.export.load("export.pt2").module(),
            torch.export.load("strict.pt2").module(),
        ):
            torch.testing.assert_close(program(a), expected)
        assert "batchpinv" not in sys.modules
        """,
        "-W", "ignore", cwd=tmp_path,
    )  # fmt: skip


def test_parameters_have_the_names_of_pytorchs():
    a, b = torch.eye(3).repeat(100, 1, 1), torch.ones(100, 3, 1)
    torch.testing.assert_close(compat_torch.linalg.pinv(input=a), torch.linalg.pinv(input=a))
    found = compat_torch.linalg.lstsq(input=a, b=b)
    torch.testing.assert_close(found.solution, torch.linalg.lstsq(input=a, b=b).solution)
    for function, theirs, options in [
        (compat_torch.linalg.pinv, torch.linalg.pinv, {"A": a}),
        (compat_torch.linalg.lstsq, torch.linalg.lstsq, {"A": a, "B": b}),
    ]:
        with pytest.raises(TypeError) as expected:
            theirs(**options)
        with pytest.raises(TypeError) as found:
            function(**options)
        assert str(found.value) == str(expected.value)
