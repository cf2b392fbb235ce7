"""Plants faults in a copy of the engine, one at a time, and prints which unit test finds each.

    python tests/units/mutate.py [NAME...]     those whose names contain a NAME; needs meson, ninja

Only the baseline kernels are built. Fails if a fault survives that is not expected to.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
QUICK = ("rule", "table", "structure", "permits", "certificates")


@dataclass(slots=True)
class Fault:
    name: str
    file: str = ""  # in src/batchpinv
    old: str = ""  # occurs once
    new: str = ""
    survives: str = ""  # why no test can be expected to find it


def read_faults() -> list[Fault]:
    records = re.sub(r"^#.*\n", "", (HERE / "faults.txt").read_text(), flags=re.M).split("\n\n")
    return [read_fault(record.strip("\n").split("\n")) for record in records if record.strip()]


def read_fault(lines: list[str]) -> Fault:
    def marked(mark: str) -> str:
        return "\n".join(line[2:] for line in lines[1:] if line[:1] == mark)

    return Fault(lines[0], *(marked(mark) for mark in " -+?"))


def find(build: Path) -> str:
    """The first test that fails, or "" if none does."""
    for target in (*QUICK, "kernels"):
        made = run("ninja", "-j1", "-C", build, target)
        if made.returncode:
            return "NOT COMPILED: " + made.stdout[made.stdout.find("error:") :][:200]
        ran = run("timeout", "400", build / target, *(["baseline"] if target == "kernels" else []))
        failed = re.findall(r"^FAIL (\w+)", ran.stdout, re.MULTILINE)
        if failed or ran.returncode:
            more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            return f"{target}: {failed[0] if failed else 'hangs or crashes'}{more}"
    return ""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


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
    unexpected = False
    with tempfile.TemporaryDirectory() as folder:
        copy, build = Path(folder) / "engine", Path(folder) / "build"
        for part in ("src/batchpinv", "tests/units"):
            shutil.copytree(ROOT / part, copy / part)
        run(
            "meson", "setup", "-Dbaseline_only=true", build, copy / "tests/units"
        ).check_returncode()
        healthy = find(build)
        if healthy:
            sys.exit(f"a test fails without any fault: {healthy}")
        print("| fault | found by |\n|---|---|", flush=True)
        for fault in read_faults():
            if wanted and not any(word in fault.name for word in wanted):
                continue
            found = plant(fault, copy / "src/batchpinv", build)
            unexpected |= found.startswith("NOT") or not (found or fault.survives)
            print(f"| {fault.name} | {found or f'nothing: {fault.survives}'} |", flush=True)
    return int(unexpected)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
