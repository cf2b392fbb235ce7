"""Plants faults in a copy of the engine, one at a time, and tells which unit test finds each.

    python tests/units/mutate.py [NAME...]     those whose names contain a NAME; needs meson, ninja

Only the baseline kernels are built. Ends with an error if a fault survives that is not expected to.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUICK = ("rule", "table", "structure", "certificates")


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    file: str  # in src/batchpinv
    old: str  # occurs once
    new: str
    survives: str = ""  # why no test can be expected to find it


_RULE, _TABLE, _EVIDENCE = "rule/decide-inl.h", "rule/backward_error.hpp", "drivers/rule.hpp"
_DIRECT, _SHARED = "lanes/direct_kernel-inl.h", "lanes/kernel-inl.h"
_PIVOTED, _SVD = "lanes/pivoted_kernel-inl.h", "lanes/svd_kernel-inl.h"
_STRUCTURE = "drivers/structure.hpp"

FAULTS = (
    Fault("rule: kept not reduced", _RULE, "(found.rounding.below(found.kept) > tol", "(found.kept > tol"),
    Fault("rule: dropped not raised", _RULE, "dropped = found.rounding.above(found.dropped);", "dropped = found.dropped;"),
    Fault("rule: kept >= tol", _RULE, "below(found.kept) > tol", "below(found.kept) >= tol"),
    Fault("rule: dropped < tol", _RULE, ": dropped) <=", ": dropped) <"),
    Fault("rule: tol of the most, not the least", _RULE, "tolerance.of(least > zero ? least : zero)", "tolerance.of(found.most)"),
    Fault("rule: tol of the least, not the most", _RULE, "tolerance.of(found.rounding.above(found.most))", "tolerance.of(found.least)"),
    Fault("rule: the worse bound of what is dropped", _RULE, "found.residual < dropped ?", "found.residual > dropped ?"),
    Fault("rule: NaN taken for rank 0", _RULE, "(found.kept > zero) & (found.kept", "(found.kept"),
    Fault("rule: the smaller tolerance", _RULE, "atol > rtol * s1 ? atol", "atol < rtol * s1 ? atol"),
    Fault("rule: no relative rounding", _RULE, "above(V s) const { return s + (relative * s + absolute)", "above(V s) const { return s + (absolute)"),
    Fault("rule: full rank without absolute rounding", _RULE, "(tolerance.of(norm) + rounding.absolute * norm)", "(tolerance.of(norm))"),
    Fault("rule: full rank without relative rounding", _RULE, "1 - (2 * rounding.relative + rounding.absolute)", "1"),
    Fault("values: a product that is rounded", _RULE, "__builtin_fma(-tolerance.rtol, s1, s) > 0", "s > tolerance.rtol * s1"),
    Fault("values: equal to the tolerance is kept", _RULE, "s > tolerance.atol &&", "s >= tolerance.atol &&"),
    Fault("values: rounding not in units of the matrix", _RULE, "evidence.rounding.absolute *= evidence.most;", ""),
    Fault("values: certainly kept without rounding", _RULE, "kept += evidence.rounding.below(size(s[j])) > tol", "kept += size(s[j]) > tol"),
    Fault("table: qr_lanes' constant halved", _TABLE, "{4, 0, 0.55, 9,", "{2, 0, 0.55, 9,"),
    Fault("table: qr_lanes' relative constant halved", _TABLE, "{4, 0, 0.55, 9,", "{4, 0, 0.55, 4.5,"),
    Fault("table: qr_lanes' part of the rows halved", _TABLE, "{4, 0, 0.55, 9, 0, 0.5}", "{4, 0, 0.27, 9, 0, 0.25}"),
    Fault("table: pivoted_lanes' constant halved", _TABLE, "{3.5, 0, 1.2,", "{1.7, 0, 1.2,"),
    Fault("table: pivoted_lanes' part of the rows halved", _TABLE, "{3.5, 0, 1.2,", "{3.5, 0, 0.6,"),
    Fault("table: jacobi_lanes' constant halved", _TABLE, "{4.4, 0, 0.45,", "{2.2, 0, 0.45,"),
    Fault("table: jacobi_lanes' relative root halved", _TABLE, "4, 9, 0.55}", "4, 4.5, 0.55}"),
    Fault("table: exact_lanes' relative root halved", _TABLE, "4, 23, 1.5}", "4, 11.5, 1.5}", "larger matrices set it, which take minutes in binary128"),
    Fault("table: elimination's constant halved", _TABLE, "{2, 0, 0, 4, 0, 0}", "{1, 0, 0, 4, 0, 0}"),
    Fault("table: sweep's constant halved", _TABLE, "{2.4, 0, 0,", "{1.2, 0, 0,"),
    Fault("table: gram's constant halved", _TABLE, "{4, 0, 0.5, 0,", "{2, 0, 0.5, 0,"),
    Fault("table: gram's part of the rows halved", _TABLE, "{4, 0, 0.5, 0,", "{4, 0, 0.25, 0,"),
    Fault("table: pivoted's constant halved", _TABLE, "{3, 0, 0.5, 12,", "{1.5, 0, 0.5, 12,"),
    Fault("table: semidefinite's constant halved", _TABLE, "{2, 0, 0, 18,", "{1, 0, 0, 18,"),
    Fault("table: svd's constants halved", _TABLE, "{5, 1.5, 1.6,", "{2.5, 0.75, 0.8,"),
    Fault("table: eigen's constants halved", _TABLE, "{6, 3.2, 0,", "{3, 1.6, 0,"),
    Fault("table: sides exchanged", _EVIDENCE, "std::sqrt(static_cast<double>(shorter))", "std::sqrt(static_cast<double>(longer))"),
    Fault("evidence: rounding not in units of the matrix", _EVIDENCE, "{rounding.absolute * s1, rounding.relative}", "{rounding.absolute, rounding.relative}"),
    Fault("evidence: squares without rounding", _EVIDENCE, "1 / (inverse_norm * inverse_norm) - error * norm * norm", "1 / (inverse_norm * inverse_norm)"),
    Fault("evidence: exact_lanes without their absolute part", _EVIDENCE, "rounding.relative * rounding_of(Method::jacobi_lanes, eps, longer, shorter).absolute", "0"),
    Fault("structure: sizes that are rounded", _STRUCTURE, "|| !is_exact ||", "||"),
    Fault("structure: fewer kept are enough", _STRUCTURE, "most == kept ?", "most >= kept ?"),
    Fault("structure: two entries in a row", _STRUCTURE, " || std::count(row_of, row_of + j, i) > 0", ""),
    Fault("lanes: no absolute rounding", _SHARED, "norm * static_cast<R>(group.absolute)", "V{}"),
    Fault("lanes: no relative rounding", _SHARED, "V{} + static_cast<R>(group.relative)", "V{}"),
    Fault("lanes: atol in other units", _SHARED, "group.atol[lane] * static_cast<double>(factor[lane])", "group.atol[lane]"),
    Fault("lanes: what is not answered is stored", _SHARED, "answered, group, shape);", "filled_lanes(group), group, shape);"),
    Fault("direct: a row of the inverse is not counted", "lanes/householder-inl.h", "for (int r = 1; r < rows; ++r)\n        norm2[0]", "for (int r = 2; r < rows; ++r)\n        norm2[0]"),
    Fault("direct: half the norm of the inverse", _DIRECT, "inverse_norm = square_root(inverse_norm2);", "inverse_norm = square_root(inverse_norm2) / 2;"),
    Fault("direct: no rounding", _DIRECT, "{static_cast<R>(group.absolute), static_cast<R>(group.relative)}", "{0, 0}"),
    Fault("pivoted: negligible is too much", _PIVOTED, "NEGLIGIBLE = 4 * ", "NEGLIGIBLE = 400 * "),
    Fault("pivoted: what is dropped is forgotten", _PIVOTED, "Evidence<V> found{norm, least, V{}, dropped, none_dropped", "Evidence<V> found{norm, least, V{}, V{}, none_dropped"),
    Fault("pivoted: s1 is at least the norm", _PIVOTED, "Evidence<V> found{norm, least,", "Evidence<V> found{norm, norm,"),
    Fault("pivoted: the residual without its rounding", _PIVOTED, "most * most * square_root(*work.norm2)", "0 * most * square_root(*work.norm2)"),
    Fault("pivoted: the residual in working precision", _PIVOTED, "TwiceOf<E> sum;\n            sum.add(a", "struct { E s{}; void add(E x) { s = plus(s, x); } void subtract_product(E x, E y) { s = batchpinv::subtract_product(s, x, y); } E value() { return s; } } sum;\n            sum.add(a"),
    Fault("pivoted: the shortest column first", "lanes/pivoted-inl.h", "length2[j] > best", "length2[j] < best"),
    Fault("jacobi: no certificate", _SVD, "!(decision.certain || exact)", "false"),
    Fault("jacobi: not converged is answered", _SVD, "turning[lane] || !finite", "!finite"),
    Fault("jacobi: what is not finite is answered", _SVD, "turning[lane] || !finite", "turning[lane]"),
    Fault("jacobi: three sweeps", "lanes/jacobi-inl.h", "MOST_SWEEPS = 30", "MOST_SWEEPS = 3"),
    Fault("jacobi: columns too long are negligible", _SVD, "/ (16 * n)", "* (16 * n)"),
    Fault("jacobi: what is negligible is forgotten", _SVD, "evidence.dropped = negligible;", ""),
    Fault("exact: none is uncertain", _SVD, "group.uncertain |= 1u << lane;", ""),
    Fault("exact: products with error", _SVD, "multiply_exactly(work.given, v, a, shape);", "for (int j = 0; j < n; ++j) for (int i = 0; i < m; ++i) { E s = E{}; for (int l = 0; l < n; ++l) s = add_product(s, work.given[l * ld + i], v[j * n + l]); a[j * ld + i] = s; }"),
    Fault("systems: no refinement", "lanes/refine-inl.h", "MOST_LOSS2 = 1e6f", "MOST_LOSS2 = 1e36f"),
    Fault("lanes: zeros keep their sign", "lanes/pivoted-inl.h", "y[i * ld + c] = plus(y[i * ld + c], E{});", ""),
    Fault("definite: half the norm of the inverse", "drivers/definite.hpp", "const double inverse_norm = frobenius_of_lower(w, n);", "const double inverse_norm = frobenius_of_lower(w, n) / 2;"),
    Fault("square: a bound of s1 that is none", "drivers/spectrum.hpp", "lapack.potrf('L', q, gram) == 0 ? std::sqrt(most2)", "true ? std::sqrt(most2 / headroom) * 0.9"),
    Fault("square: W X is not looked at", "drivers/direct_square.hpp", "if (condition < 100.0 * n)", "if (true)"),
    Fault("cholesky: squares decided as values", "drivers/direct_cholesky.hpp", "gram_evidence(norm, inverse_norm, p, q)", "full_rank_evidence(norm, inverse_norm, {0, 0})"),
    Fault("normal: squares decided as values", "drivers/direct_normal.hpp", "gram_evidence(norm, inverse_norm, p, q)", "full_rank_evidence(norm, inverse_norm, {0, 0})"),
    Fault("semidefinite: the remainder is forgotten", "drivers/semidefinite.hpp", "found.kept = 1 / frobenius<T>(x, area) - dropped;", "found.kept = 1 / frobenius<T>(x, area);"),
)  # fmt: skip


def find(build: Path) -> str:
    """The first test that fails, or "" if none does."""
    for target in (*QUICK, "kernels"):
        made = subprocess.run(["ninja", "-j1", "-C", build, target], capture_output=True, text=True)
        if made.returncode:
            return f"the compiler: {made.stdout[-2000:]}" if "error:" not in made.stdout else (
                "the compiler: " + made.stdout[made.stdout.index("error:") :][:200]
            )
        arguments = ["baseline"] if target == "kernels" else []
        try:
            ran = subprocess.run([build / target, *arguments], capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            return f"{target}: no end"
        failed = re.findall(r"^FAIL (\w+)", ran.stdout, re.M)
        if failed or ran.returncode:
            return f"{target}: {' + '.join(failed[:1]) or 'abort'}" + (
                f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            )
    return ""


def plant(fault: Fault, sources: Path, build: Path) -> str:
    path = sources / fault.file
    text = path.read_text()
    if text.count(fault.old) != 1:
        return f"NOT PLANTED: {text.count(fault.old)} places"
    path.write_text(text.replace(fault.old, fault.new))
    try:
        return find(build)
    finally:
        path.write_text(text)


def main(wanted: list[str]) -> int:
    unexpected = 0
    with tempfile.TemporaryDirectory() as folder:
        copy, build = Path(folder) / "engine", Path(folder) / "build"
        for part in ("src/batchpinv", "tests/units"):
            shutil.copytree(ROOT / part, copy / part)
        subprocess.run(
            ["meson", "setup", "-Dbaseline_only=true", build, copy / "tests/units"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        healthy = find(build)
        if healthy:
            sys.exit(f"without any fault, {healthy}")
        print("| fault | found by |\n|---|---|", flush=True)
        for fault in FAULTS:
            if wanted and not any(word in fault.name for word in wanted):
                continue
            found = plant(fault, copy / "src/batchpinv", build)
            unexpected += not found and not fault.survives or found.startswith("NOT")
            print(f"| {fault.name} | {found or 'nothing: ' + (fault.survives or 'WHY?')} |", flush=True)
    return min(unexpected, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
