"""Types: mypy --strict accepts the installed package and a typed caller of it, and the stubs agree
with the compiled modules."""

import subprocess
import sys
from pathlib import Path

import pytest
from children import HERE, environment, run_python

PACKAGE_SETTINGS = """
[mypy]
[mypy-scipy.*,threadpoolctl,tqdm.*]
ignore_missing_imports = True
[mypy-cuda.*,cupy.*,dask.*,torch.*,jax.*,xarray.*]
follow_imports = skip
ignore_missing_imports = True
[mypy-batchpinv._libraries.*]
disallow_subclassing_any = False
disallow_untyped_decorators = False
"""


@pytest.mark.parametrize(
    "target", [[str(HERE / "typed_use.py")], ["-p", "batchpinv"]], ids=["caller", "package"]
)
def test_mypy_strict_finds_nothing(target, tmp_path_factory):
    folder: Path = tmp_path_factory.getbasetemp()
    settings = folder / "mypy.ini"
    settings.write_text(PACKAGE_SETTINGS)
    checked = subprocess.run(
        [sys.executable, "-P", "-m", "mypy", "--strict", f"--config-file={settings}",
         f"--cache-dir={folder / 'mypy_cache'}", *target],
        cwd=folder, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.startswith("Success: no issues found in ")


COMPILED = ["_batch", "_lapack", "_libraries._xla", "_small", "_truncation", "cython_pinv"]
# Names that Cython adds to a module, and that stubs leave out.
OF_CYTHON = r".*\.__(test__|reduce_cython__|setstate_cython__|pyx_capi__)"


def test_stubs_agree_with_the_compiled_modules(tmp_path):
    allowed = tmp_path / "allowed"
    allowed.write_text(OF_CYTHON + "\n")
    modules = [f"batchpinv.{name}" for name in COMPILED]
    modules += ["batchpinv.cuda._rule", "batchpinv.cuda._shim"] if sys.platform == "linux" else []
    checked = subprocess.run(
        [sys.executable, "-P", "-m", "mypy.stubtest", f"--allowlist={allowed}",
         "--ignore-unused-allowlist", "--ignore-disjoint-bases", *modules],
        cwd=tmp_path, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_typed_caller_runs():
    run_python("import typed_use")
