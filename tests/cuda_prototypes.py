"""Compares the prototypes in `cuda/symbols.h` with NVIDIA's.

    python -m tests.cuda_prototypes WHEELS...       nvmath-python and cuda-bindings: 14 MB
    python -m tests.cuda_prototypes FOLDERS...      with the headers of CUDA themselves

Wheels hold declarations for Cython, which are compared as text; headers are left to the compiler,
which compares types. Ends with an error if a function is missing or differs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SYMBOLS = Path(__file__).parent.parent / "src" / "batchpinv" / "cuda" / "symbols.h"
LISTS = (
    "RUNTIME_SYMBOLS(ONE) BLAS_SYMBOLS(ONE, FOUR) SOLVER_SYMBOLS(ONE, FOUR) OPTIONAL_SYMBOLS(ONE)"
)
FOUR = """
#define FOUR(field, library, S, D, C, Z, PARAMETERS) \\
    TYPED(library, S, PARAMETERS(float, float)) TYPED(library, D, PARAMETERS(double, double)) \\
    TYPED(library, C, PARAMETERS(cuComplex, float)) \\
    TYPED(library, Z, PARAMETERS(cuDoubleComplex, double))
"""


def preprocess(code: str) -> str:
    ran = subprocess.run(
        ["gcc", "-E", "-P", "-"], input=code, text=True, capture_output=True, check=True
    )
    return ran.stdout


def ours() -> dict[str, list[str]]:
    """Types of parameters by function."""
    text = preprocess(
        f'#include "{SYMBOLS}"\n'
        "#define ONE(library, type, name, parameters) @@library##name parameters\n"
        "#define TYPED(library, name, parameters) @@library##name parameters\n" + FOUR + LISTS
    )
    # dgmm and gemmBatched are only called with real matrices: their four entries are two functions.
    found = re.findall(r"@@(\w+) \((.*?)\)\s*(?=@@|$)", text, re.DOTALL)
    return {name: [normal(each) for each in split(parameters)] for name, parameters in found}


def theirs(wheels: list[Path]) -> dict[str, list[str]]:
    declared = {}
    for wheel in wheels:
        archive = zipfile.ZipFile(wheel)
        for name in archive.namelist():
            if re.search(r"/cy\w+\.pxd$", name):
                text = archive.read(name).decode()
                for function, parameters in re.findall(r"^\s*cdef .*?(\w+)\((.*)\)", text, re.M):
                    declared[function] = [normal(each, True) for each in split(parameters)]
    return declared


def split(parameters: str) -> list[str]:
    return [each for each in re.split(r"\s*,\s*", parameters.strip()) if each != "void" and each]


def normal(parameter: str, named: bool = False) -> str:
    """A type, written in one way."""
    text = re.sub(r"\b(enum|struct)\s+", "", parameter)
    if named:
        text, brackets, _ = text.partition("[")
        text = re.sub(r"\w+\s*$", "", text) + ("*" if brackets else "")
    text = re.sub(r"\bunsigned\b(?!\s+int)", "unsigned int", text)
    text = re.sub(r"\blong long\b(?!\s+int)", "long long int", text)
    return re.sub(r"\s*\*\s*", "*", " ".join(text.split())).replace("* const", "*const").strip()


def compare_wheels(wheels: list[Path]) -> int:
    declared, wrong = theirs(wheels), 0
    for name, parameters in ours().items():
        found = declared.get(name, declared.get(name.removesuffix("_v2")))
        if found != parameters:
            print(f"{name}:\n  ours   {parameters}\n  theirs {found}")
            wrong += 1
    print(f"{len(ours())} prototypes compared with NVIDIA's declarations, {wrong} differ")
    return wrong


def compare_headers(folders: list[Path]) -> int:
    code = (
        "#include <cuda_runtime_api.h>\n#include <cublas_v2.h>\n#include <cusolverDn.h>\n"
        f'#define BATCHPINV_NVIDIA_TYPES\n#include "{SYMBOLS}"\n'
        "#define SAME(name, type, parameters) _Static_assert(__builtin_types_compatible_p("
        '__typeof__(&name), type(*) parameters), #name " differs");\n'
        "#define ONE(library, type, name, parameters) SAME(library##name, type, parameters)\n"
        "#define TYPED(library, name, parameters) TYPED_##library(library##name, parameters)\n"
        "#define TYPED_cublas(name, parameters) SAME(name, cublasStatus_t, parameters)\n"
        "#define TYPED_cusolver(name, parameters) SAME(name, cusolverStatus_t, parameters)\n"
    )
    own = SYMBOLS.read_text()
    enums = dict(re.findall(r"(\w+) = (\d+)", own))
    for names in re.findall(r"enum \w*\s*\{([^}]*)\}", own):
        value = -1
        for entry in names.split(","):
            name, _, given = entry.partition("=")
            value = int(given) if given else value + 1
            enums[name.strip()] = str(value)
    code += FOUR + LISTS
    code += "".join(
        f'\n_Static_assert({name} == {value}, "{name} differs");'
        for name, value in enums.items()
        if name
    )
    with tempfile.NamedTemporaryFile("w", suffix=".c") as file:
        file.write(code)
        file.flush()
        include = [f"-I{folder}" for folder in folders]
        ran = subprocess.run(["gcc", "-std=gnu11", "-fsyntax-only", "-w", *include, file.name])
    print(f"{code.count('_Static_assert') - 1} values and {len(ours())} prototypes compared by gcc")
    return ran.returncode


def main() -> None:
    paths = [Path(given) for given in sys.argv[1:]]
    if not paths:
        sys.exit(__doc__)
    compare = compare_headers if paths[0].is_dir() else compare_wheels
    sys.exit(compare(paths) > 0)


if __name__ == "__main__":
    main()
