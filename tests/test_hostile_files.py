"""Hostile files: headers and contents that lie, hold objects or code, or change or end while they
are read. Each ends in one line and leaves nothing behind, or in the right answer.
"""

import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from cases import random_stack, same_bits

from batchpinv import lstsq, pinv
from batchpinv.__main__ import main

NOT_NUMBERS = "not a .npy file of numbers: "
# Files.

VALUES = random_stack(2, 3, 2)


class Trap:
    """Makes a folder if it is unpickled, as the code in the headers below does if it is run."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


def npy(
    descr="'<f8'", order="False", shape="(2, 3, 2)", *, extra="", header=None, version=1,
    length=None, data=None,
):  # fmt: skip
    """A .npy file, whose header may be wrong in anything, even its own length."""
    if header is None:
        header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {extra}}}"
    text = header.encode("latin1") + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    data = VALUES.tobytes() if data is None else data
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


def by_name(cases):
    return pytest.mark.parametrize("case", cases.values(), ids=cases)


CODE = "__import__('os').mkdir('trapped')"
OBJECTS = pickle.dumps(np.array([[Trap()]], object))
REFUSED_FILES = {
    **{f"contents {contents[:20]}": (contents, NOT_NUMBERS) for contents in (
        b"\x93NUMPY", b"\x93NUMPY\1\0", bytes(999), OBJECTS, pickle.dumps(Trap()), b"PK\3\4zip")},
    **{f"header {header[:20]}": (npy(header=header), NOT_NUMBERS) for header in (
        "[1, 2]", "3", "# nothing", "\x80\x81\x82", "(" * 4000 + ")" * 4000, " " * 65000, CODE)},
    **{f"header of {length} bytes": (npy(version=version, length=length), "header")
       for length, version in ((65535, 1), (2**32 - 1, 2), (0, 1))},
    "header cut off": (npy(length=20), NOT_NUMBERS),
    "string without an end": (npy(header="{'descr': '"), NOT_NUMBERS),
    "keys that cannot be hashed": (npy(header="{[]: 1}"), NOT_NUMBERS),
    "header too deep": (npy(header="-" * 9000 + "1"), NOT_NUMBERS),
    **{f"version {version}": (npy(version=version), "version") for version in (0, 4, 255)},
    "header not in UTF-8": (npy(header="\xff\xfe", version=3), "codec"),
    "key missing": (npy(header="{'descr': '<f8', 'shape': (2, 3)}"), "keys"),
    "key too many": (npy(extra="'x': 1"), "keys"),
    "keys of bytes": (npy(header="{b'descr': '<f8'}"), "keys"),
    "no data": (npy(data=b""), "greater than file size"),
    "one byte short": (npy(data=VALUES.tobytes()[:-1]), "greater than file size"),
    "NaN": (npy(data=b"\xff" * 96), "2 of 2 matrices"),
    **{f"shape {shape[:20]}": (npy(shape=shape), said) for shape, said in {
        "(3, 3, 2)": "greater than file size", "(-2, -3, 2)": "negative dimensions",
        f"({2**58}, 0, 2)": "Unable to allocate",
        **{f"({shape})": NOT_NUMBERS for shape in (
            f"{2**60}, 1, 1", f"{2**30}, {2**30}", f"{2**70}, 2, 2", f"{2**32}, {2**32}, 1",
            f"{2**62 + 3}, 2, 2", f"{2**32}, {2**32}, {2**32}", "True, 3, 2")},
        "()": "two or more dimensions",
        f"({'1,' * 65})": "dimension",
        "(2.0, 3, 2)": "shape is not valid", "[2, 3, 2]": "shape is not valid",
        "12": "shape is not valid", "None": "shape is not valid", "'abc'": "shape is not valid",
        "((2,), 3)": "shape is not valid", f"({CODE}, 2)": "malformed"}.items()},
    **{f"order {order}": (npy(order=order), "fortran_order") for order in ("'no'", "1", "None")},
    **{f"dtype {descr[:20]}": (npy(descr, data=VALUES.tobytes() + OBJECTS), said)
       for descr, said in {
        "'|O'": "bject", "[('a', '|O')]": "bject", "'T'": "bject", "'zz'": "descr", "None": "descr",
        "3": "descr", "'|V9999999999'": "descr", CODE: "malformed", "'|S8'": "dtype |S8",
        "'|V8'": "dtype |V8", "'|V0'": "dtype |V0", "[('a', '<f8')]": "dtype [('a', '<f8')]",
        "'<M8[s]'": "dtype datetime64", "'<m8[s]'": "dtype timedelta64",
        repr(np.dtype("g").str): "a"}.items()},
}  # fmt: skip
COMPUTED_FILES = {
    "version 2": (npy(version=2), VALUES), "version 3": (npy(version=3), VALUES),
    "more data than said": (npy(data=VALUES.tobytes() + b"x" * 1000), VALUES),
    "fewer matrices than there are": (npy(shape="(1, 3, 2)"), VALUES[:1]),
    "Fortran's order": (npy(order="True"), VALUES.ravel().reshape((2, 3, 2), order="F")),
    "half of each number": (npy("'<f4'"), VALUES.ravel().view("f4")[:12].reshape(2, 3, 2)),
    "big-endian": (npy("'>f8'", data=VALUES.byteswap().tobytes()), VALUES),
    "64 dimensions": (npy(shape=f"({'1, ' * 64})"), VALUES[:1, :1, :1].reshape((1,) * 64)),
    "the last of two shapes": (npy(extra="'shape': (3, 4)"), VALUES.reshape(3, 4)),
    "Python 2's header": (npy(shape="(2L, 3L, 2L)"), VALUES),
    "booleans of other bytes": (npy("'|b1'", data=bytes([2, 0, 3, 0, 1, 255] * 2)),
                                np.array([[[1.0, 0], [1, 0], [1, 1]]] * 2)),
    "no matrices": (npy(shape="(0, 3, 2)"), np.empty((0, 3, 2))),
}  # fmt: skip


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs the command line in an empty folder; returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield lambda *arguments: (main(arguments), *capsys.readouterr())
    for number, handler in handlers.items():
        signal.signal(number, handler)


@by_name(REFUSED_FILES)
def test_a_bad_file_is_refused_in_one_line_and_leaves_nothing(command, tmp_path, case):
    contents, message = case
    (tmp_path / "in.npy").write_bytes(contents)
    status, printed, complaint = command("in.npy", "out.npy", "--rank", "ranks.npy")
    assert (status, printed) == (1, "")
    assert complaint.startswith("batchpinv: ")
    assert complaint.count("\n") == 1
    assert message in complaint
    assert os.listdir(tmp_path) == ["in.npy"]
    assert (tmp_path / "in.npy").read_bytes() == contents


@by_name(COMPUTED_FILES)
def test_an_unusual_but_valid_file_is_computed(command, tmp_path, case):
    contents, a = case
    (tmp_path / "in.npy").write_bytes(contents)
    status, _, complaint = command("in.npy", "out.npy", "--rank", "ranks.npy")
    assert (status, complaint) == (0, "")
    x, rank = pinv(a, return_rank=True)
    assert same_bits(np.load("out.npy"), x)
    assert same_bits(np.load("ranks.npy"), rank)
    assert sorted(os.listdir(tmp_path)) == ["in.npy", "out.npy", "ranks.npy"]


def test_an_input_is_kept_if_the_output_is_a_link_to_it(command, tmp_path, capsys):
    (tmp_path / "in.npy").write_bytes(npy())
    os.link("in.npy", "hard.npy")
    os.symlink("in.npy", "soft.npy")
    assert command("in.npy", "hard.npy")[0] == 0
    assert same_bits(np.load("hard.npy"), pinv(VALUES))
    with pytest.raises(SystemExit, match="2"):
        command("in.npy", "soft.npy")
    assert "soft.npy is an input" in capsys.readouterr().err
    assert (tmp_path / "in.npy").read_bytes() == npy()
    assert sorted(os.listdir(tmp_path)) == ["hard.npy", "in.npy", "soft.npy"]


@pytest.mark.parametrize("ranks", ["out.npy", "./out.npy", "../{folder}/out.npy"])
def test_one_file_for_result_and_ranks_is_refused(command, tmp_path, capsys, ranks):
    (tmp_path / "in.npy").write_bytes(npy())
    (tmp_path / "out.npy").write_bytes(b"kept")
    with pytest.raises(SystemExit, match="2"):
        command("in.npy", "out.npy", "--rank", ranks.format(folder=tmp_path.name))
    assert "the same file" in capsys.readouterr().err
    assert (tmp_path / "out.npy").read_bytes() == b"kept"


@pytest.mark.parametrize("path", ["loop.npy", "/dev/null", "/dev/zero", "x" * 300, "a\nb"])
def test_paths_that_are_no_file_are_refused_in_one_line(command, tmp_path, path):
    os.symlink("loop.npy", tmp_path / "loop.npy")
    status, printed, complaint = command(path, "out.npy")
    assert (status, printed, complaint.count("\n")) == (1, "", 1)
    assert os.listdir(tmp_path) == ["loop.npy"]


# Values that change while they are read.


@pytest.mark.parametrize("kept", [0.5, 0])
def test_a_file_that_is_cut_off_while_it_is_read_ends_in_one_line(tmp_path, kept):
    path = tmp_path / "in.npy"
    np.save(path, random_stack(60, 300, 300))
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "batchpinv", path, tmp_path / "out.npy", "--driver", "svd"],
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        while len(os.listdir(tmp_path)) == 1:
            assert child.poll() is None
        os.truncate(path, int(os.path.getsize(path) * kept))
        _, complaint = child.communicate(timeout=60)
    assert child.returncode == 1
    assert complaint == f"batchpinv: {path} became shorter while it was read\n"
    assert os.listdir(tmp_path) == ["in.npy"]


@contextmanager
def flipping(a, *values):
    """Another thread writes one value after the other, again and again."""
    stop = threading.Event()

    def flip():
        while not stop.is_set():
            for value in values:
                a[...] = value

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("driver", ["auto", "svd"])
def test_a_file_that_changes_gives_the_result_of_either_content(command, tmp_path, driver):
    np.save("in.npy", np.full((100_000, 1, 1), 2.0))
    with flipping(np.load("in.npy", mmap_mode="r+"), 4.0, 2.0):
        status, _, complaint = command("in.npy", "out.npy", "--driver", driver)
    assert (status, complaint) == (0, "")
    assert np.isin(np.load("out.npy"), [0.25, 0.5]).all()


@pytest.mark.parametrize("driver", ["auto", "svd"])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (6, 6), (12, 5), (50, 60)])
def test_entries_that_change_during_a_call_do_no_harm(m, n, driver):
    a = np.empty((60_000 // (m * n), m, n))
    one, other = random_stack(2, m, n)
    a[...] = one
    with flipping(a, np.nan, other, 1e300, one):
        x, rank = pinv(a, return_rank=True, on_failure="nan", driver=driver)
        lstsq(a, np.ones(m), on_failure="nan", driver=driver)
    assert np.isin(rank, range(-1, min(m, n) + 1)).all()
    assert (np.isnan(x).all((-2, -1)) == (rank == -1)).all()
