"""The command line: its files hold what `pinv` gives, a failure is one clear line and status 1, and
whatever happens, OUT is either whole or as it was before, with nothing left beside it.
"""

import os
import pty
import re
import signal
import subprocess
import sys
import sysconfig
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from children import HERE, environment

import batchpinv
from batchpinv import pinv
from batchpinv.__main__ import _new_file

DIGITS = HERE / "data" / "digits.npy"
MODULE = [sys.executable, "-P", "-W", "error", "-m", "batchpinv"]
SCRIPT = [str(Path(sysconfig.get_path("scripts")) / "batchpinv")]


def run(*arguments, command=MODULE, timeout=60, **options):
    return subprocess.run(
        [*command, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        **options,
    )


def check_ran(*arguments, **options):
    ran = run(*arguments, **options)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def check_failed(message, *arguments, **options):
    """One line that begins with the program's name and has each part of `message`, split at |."""
    ran = run(*arguments, **options)
    assert ran.returncode == 1, ran
    assert ran.stdout == ""
    assert ran.stderr.startswith("batchpinv: ")
    assert ran.stderr.count("\n") == 1
    for part in message.split("|"):
        assert part in ran.stderr
    return ran.stderr


def random_stack(*shape, dtype="float64"):
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (a if np.dtype(dtype).kind == "c" else a.real).astype(dtype)


def save(folder, a, name="in.npy"):
    np.save(folder / name, a)
    return folder / name


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
def test_digits_give_their_pseudo_inverses_and_ranks(tmp_path, command):
    out, ranks = tmp_path / "out.npy", tmp_path / "ranks.npy"
    summary = check_ran(DIGITS, out, "--rank", ranks, command=command)
    expected, expected_rank = pinv(np.load(DIGITS), return_rank=True)
    assert np.load(out).tobytes() == expected.tobytes()
    assert np.load(ranks).tobytes() == expected_rank.tobytes()
    assert np.load(ranks).dtype == np.int64
    counts = zip(*np.unique(expected_rank, return_counts=True), strict=True)
    lines = summary.splitlines()
    assert lines[0] == "1797 matrices of 8x8, float64"
    assert lines[1].endswith(": " + ", ".join(f"{rank}: {count}" for rank, count in counts))
    assert lines[2].endswith(" matrices/s")
    assert sorted(os.listdir(tmp_path)) == ["out.npy", "ranks.npy"]


@pytest.mark.parametrize(
    ("a", "flags", "options"),
    [
        (random_stack(9, 4, 3), ["--rtol", "0.3"], {"rtol": 0.3}),
        (random_stack(9, 4, 3), ["--atol", "0.5"], {"atol": 0.5}),
        (random_stack(9, 4, 3), ["--atol", "0.5", "--rtol=1e-3"], {"atol": 0.5, "rtol": 1e-3}),
        (random_stack(9, 4, 4), ["--hermitian"], {"hermitian": True}),
        (random_stack(9, 4, 4), ["--hermitian", "--upper"], {"hermitian": True, "lower": False}),
        (random_stack(9, 4, 3), ["--driver", "svd"], {"driver": "svd"}),
        (random_stack(300, 9, 8), ["--workers", "3"], {}),
        (random_stack(300, 9, 8), ["--workers", "-1"], {}),
        (random_stack(2, 3, 4, 5), [], {}),
        (random_stack(4, 5), [], {}),
        (np.asfortranarray(random_stack(6, 4, 3)), [], {}),
        (random_stack(6, 4, 3).astype(">f8"), [], {}),
        (random_stack(6, 4, 3, dtype="float32"), [], {}),
        (random_stack(6, 4, 3, dtype="complex64"), [], {}),
        (random_stack(6, 4, 3, dtype="complex128").astype(">c16"), [], {}),
        (random_stack(6, 4, 3).astype("int16"), [], {}),
        (random_stack(6, 4, 3) > 0, [], {}),
        (np.empty((0, 4, 3)), [], {}),
        (np.empty((5, 0, 3), "float32"), [], {}),
        (np.empty((5, 3, 0)), [], {}),
    ],
)
def test_out_holds_what_pinv_gives(tmp_path, a, flags, options):
    out, ranks = tmp_path / "out.npy", tmp_path / "ranks.npy"
    count = int(np.prod(a.shape[:-2]))
    summary = check_ran(save(tmp_path, a), out, "--rank", ranks, *flags)
    expected, rank = pinv(a, return_rank=True, **options)
    found = np.load(out)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert found.tobytes() == expected.tobytes()
    assert np.array_equal(np.load(ranks), rank)
    assert f"{count} matrices of {a.shape[-2]}x{a.shape[-1]}, {expected.dtype}\n" in summary


def test_the_temporary_file_is_new_and_follows_no_link(tmp_path, monkeypatch):
    """Its name cannot be guessed."""
    names = []
    for name in "one", "two":
        with _new_file(tmp_path / name) as part:
            names.append(part.name)
            part.write_bytes(b"1")
        assert (tmp_path / name).read_bytes() == b"1"
    assert all(len(name) > 20 for name in names)
    assert names[0][5:] != names[1][5:]
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".out.guessed.part").symlink_to("victim")
    with pytest.raises(FileExistsError), _new_file(tmp_path / "out"):
        raise AssertionError
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / ".out.guessed.part").is_symlink()


def test_input_is_replaced_on_request_only(tmp_path):
    a = random_stack(50, 6, 4)
    path, link = save(tmp_path, a), tmp_path / "link.npy"
    link.symlink_to("in.npy")
    before = path.read_bytes()
    for arguments in [(path, path), (link, path), (path, "out.npy", "--rank", path)]:
        ran = run(*arguments, cwd=tmp_path)
        assert ran.returncode == 2
        assert "is an input; --overwrite replaces it" in ran.stderr
        assert path.read_bytes() == before
    link.unlink()
    check_ran(path, path, "--overwrite")
    assert np.load(path).tobytes() == pinv(a).tobytes()
    assert os.listdir(tmp_path) == ["in.npy"]


@pytest.mark.parametrize(
    ("a", "b", "flags", "options"),
    [
        (random_stack(9, 4, 3), random_stack(9, 4, 2), [], {}),
        (random_stack(9, 4, 3), random_stack(9, 4), [], {}),
        (random_stack(4, 3), random_stack(9, 4, 2), ["--rcond", "0.3"], {"rcond": 0.3}),
        (random_stack(9, 4, 4), random_stack(4), ["--hermitian"], {"hermitian": True}),
        (random_stack(9, 4, 3, dtype="float32"), random_stack(4, 200), [], {}),
        (random_stack(3, 2), random_stack(3, 2, dtype="complex64"), [], {}),
        (random_stack(0, 3, 2), random_stack(0, 3, 1), [], {}),
    ],
)
def test_out_of_lstsq_holds_what_lstsq_gives(tmp_path, a, b, flags, options):
    out, ranks = tmp_path / "out.npy", tmp_path / "ranks.npy"
    paths = save(tmp_path, a, "a.npy"), save(tmp_path, b, "b.npy")
    summary = check_ran("lstsq", *paths, out, "--rank", ranks, *flags)
    expected, rank = batchpinv.lstsq(a, b, return_rank=True, **options)
    found = np.load(out)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert found.tobytes() == expected.tobytes()
    assert np.array_equal(np.load(ranks), rank)
    assert f"matrices of {a.shape[-2]}x{a.shape[-1]}, {expected.dtype}\n" in summary


def test_lstsq_names_shapes_that_do_not_fit(tmp_path):
    a, b = save(tmp_path, np.ones((4, 3)), "a.npy"), save(tmp_path, np.ones((9, 4)), "b.npy")
    check_failed("b has shape (9, 4), a has (4, 3)", "lstsq", a, b, tmp_path / "out.npy")
    several = [save(tmp_path, np.ones((count, 4, 3)), f"{count}.npy") for count in (2, 3)]
    out = tmp_path / "out.npy"
    check_failed("the batch shapes of a and b must broadcast", "lstsq", *several, out)
    assert sorted(os.listdir(tmp_path)) == ["2.npy", "3.npy", "a.npy", "b.npy"]
    ran = run("lstsq", a, b, b, cwd=tmp_path)
    assert ran.returncode == 2
    assert "is an input" in ran.stderr


def test_existing_out_is_replaced(tmp_path):
    out = save(tmp_path, np.zeros(7), "out.npy")
    check_ran(save(tmp_path, random_stack(5, 2, 2)), out)
    assert np.load(out).tobytes() == pinv(random_stack(5, 2, 2)).tobytes()


def test_failed_matrices_become_nan_on_request(tmp_path):
    a = random_stack(5, 3, 2)
    a[3, 1, 0] = np.inf
    out, ranks = tmp_path / "out.npy", tmp_path / "ranks.npy"
    summary = check_ran(save(tmp_path, a), out, "--on-failure", "nan", "--rank", ranks)
    assert np.array_equal(np.load(out), pinv(a, on_failure="nan"), equal_nan=True)
    assert np.load(ranks).tolist() == [2, 2, 2, -1, 2]
    assert "failed: 1" in summary
    assert "2: 4" in summary


def make_missing(folder):
    return folder / "none.npy"


def make_truncated(folder):
    path = save(folder, random_stack(50, 6, 4))
    os.truncate(path, 2000)
    return path


def make_cut_header(folder):
    path = save(folder, random_stack(5, 6, 4))
    os.truncate(path, 20)
    return path


def make_empty(folder):
    (folder / "in.npy").touch()
    return folder / "in.npy"


def make_text(folder):
    (folder / "in.npy").write_text("1 2\n3 4\n")
    return folder / "in.npy"


def make_npz(folder):
    np.savez(folder / "in.npz", a=random_stack(2, 2))
    return folder / "in.npz"


class Trap:
    """Makes a folder if it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def make_objects(folder):
    a = np.empty((2, 2), object)
    a[:] = Trap()
    return save(folder, a)


def make_vector(folder):
    return save(folder, np.ones(5))


def make_strings(folder):
    return save(folder, np.array([["a", "b"], ["c", "d"]]))


def make_half(folder):
    return save(folder, np.ones((2, 2), "float16"))


def make_nan(folder):
    a = random_stack(7, 3, 3)
    a[[2, 5], 1, 1] = np.nan
    return save(folder, a)


def make_folder(folder):
    (folder / "in.npy").mkdir()
    return folder / "in.npy"


def make_good(folder):
    return save(folder, random_stack(7, 3, 2))


def make_good_beside_folder(folder):
    (folder / "folder.npy").mkdir()
    return make_good(folder)


INPUTS = [
    (make_missing, "none.npy", []),
    (make_truncated, "in.npy is not a .npy file", []),
    (make_cut_header, "in.npy is not a .npy file", []),
    (make_empty, "in.npy is not a .npy file", []),
    (make_text, "in.npy is not a .npy file|it is text: read it by numpy.loadtxt", []),
    (make_npz, "in.npz is not a .npy file|it is a .npz file: save one of its arrays", []),
    (make_objects, "in.npy is not a .npy file of numbers|bject", []),
    (make_folder, "in.npy", []),
    (make_vector, "must have two or more dimensions, (*, m, n); got 1, shape (5,)", []),
    (make_strings, "dtype <U1; accepted are", []),
    (make_half, "has dtype float16|save it as float32", []),
    (make_nan, "2 of 7 matrices|NaN or Inf in 2 (batch indices 2, 5)|--on-failure nan writes", []),
    (make_good, ": --hermitian needs square matrices", ["--hermitian"]),
    (make_good, "rtol must be at least 0", ["--rtol=-1"]),
    (make_good, "atol must be at least 0", ["--atol", "nan"]),
    (make_good, "gone", ["--rank", "gone/ranks.npy"]),
    (make_good_beside_folder, "is a folder", ["--rank", "folder.npy"]),
]


@pytest.mark.parametrize(
    ("make", "message", "flags", "existing"),
    [(*given, True) for given in INPUTS] + [(*given, False) for given in INPUTS[-6:-3]],
)
def test_failed_run_prints_one_line_and_keeps_out(tmp_path, make, message, flags, existing):
    path, out = make(tmp_path), tmp_path / "out.npy"
    if existing:
        out.write_bytes(b"as it was")
    before = sorted(os.listdir(tmp_path))
    check_failed(message, path, out, *flags, cwd=tmp_path)
    assert sorted(os.listdir(tmp_path)) == before
    assert not existing or out.read_bytes() == b"as it was"


def test_out_in_a_missing_folder_or_over_a_folder_is_refused(tmp_path):
    path = make_good(tmp_path)
    check_failed(f"{tmp_path / 'gone'}", path, tmp_path / "gone" / "out.npy")
    (tmp_path / "out.npy").mkdir()
    check_failed("out.npy is a folder", path, tmp_path / "out.npy")
    assert sorted(os.listdir(tmp_path)) == ["in.npy", "out.npy"]


@pytest.mark.parametrize(
    "arguments",
    [
        *["", "in.npy", "a b.npy c", "a b.npy --driver=qr", "a b.npy --workers=many"],
        *["a b.npy --no-such-option", "a b", "a b.npz", "a b.npy --rank c", "a b.npy --upper"],
        *["a b.npy --over", "a b.npy --config", "--config lstsq", "--config a b.npy --workers 1"],
        *["lstsq a b c.npy --config", "a b.npy --workers 0", "a b.npy --workers=-99999"],
        *["a b.npy --workers 1025", "a b.npy --rank b.npy", "a b.npy --rtol 1 --rcond 1"],
        *["lstsq", "lstsq a b", "lstsq a b c.npy d", "lstsq a b c"],
    ],
)
def test_wrong_usage_ends_with_status_2(tmp_path, arguments):
    ran = run(*arguments.split(), cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: batchpinv ")
    assert re.search(r"\nbatchpinv( lstsq)?: error: ", ran.stderr)
    assert os.listdir(tmp_path) == []


# Starts a command line under a limit on the size of files, past which writing gives an error.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from batchpinv.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_limit_on_file_sizes_ends_in_one_line(tmp_path):
    path = save(tmp_path, np.zeros((400, 4, 3)), "in.npy")
    ran_by = [sys.executable, "-P", "-c", LIMITED]
    check_failed("File too large", path, tmp_path / "out.npy", command=ran_by)
    assert os.listdir(tmp_path) == ["in.npy"]


def can_mount():
    probe = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "x", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


if can_mount():

    def test_a_full_disk_ends_in_one_line(tmp_path):
        path = save(tmp_path, np.zeros((4000, 4, 3)), "in.npy")
        small = tmp_path / "small"
        small.mkdir()
        script = f"""
            mount -t tmpfs -o size=64k tmpfs {small}
            "$@"
            status=$?
            ls -A {small}
            exit $status
        """
        inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
        check_failed("No space left", path, small / "out.npy", command=[*inside, *MODULE])


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (signal.SIGINT, 130, "batchpinv: interrupted\n"),
        (signal.SIGTERM, 143, "batchpinv: terminated\n"),
    ],
)
def test_stopped_run_leaves_nothing_behind(tmp_path, sent, status, message):
    path = save(tmp_path, random_stack(4, 1400, 1400, dtype="complex64"))
    out = save(tmp_path, np.ones(3), "out.npy")
    before = out.read_bytes()
    with subprocess.Popen(
        [*MODULE, path, out, "--driver", "svd"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        while len(os.listdir(tmp_path)) == 2:
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.01)
        time.sleep(0.2)
        child.send_signal(sent)
        printed, complaint = child.communicate(timeout=60)
    assert (child.returncode, printed, complaint) == (status, "", message)
    assert sorted(os.listdir(tmp_path)) == ["in.npy", "out.npy"]
    assert out.read_bytes() == before


def run_on_terminal(*arguments, without_tqdm=False):
    """(status, what the terminal shows) of a run whose stderr is a terminal."""
    code = "import sys; sys.modules['tqdm'] = None; " if without_tqdm else "import sys; "
    code += "from batchpinv.__main__ import main; sys.exit(main(sys.argv[1:]))"
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as child:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 10_000):
                shown += chunk
        except OSError:  # the end of a terminal on Linux
            pass
        finally:
            os.close(ours)
    return child.returncode, shown.decode()


@pytest.mark.parametrize(
    ("without_tqdm", "bar"),
    [(False, "1.80k/1.80k"), (True, "1797 of 1797 matrices")],
    ids=["tqdm", "no tqdm"],
)
def test_progress_is_shown_on_a_terminal_only(tmp_path, without_tqdm, bar):
    status, shown = run_on_terminal(DIGITS, tmp_path / "out.npy", without_tqdm=without_tqdm)
    assert status == 0
    assert bar in shown
    check_ran(DIGITS, tmp_path / "again.npy")
    assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "again.npy").read_bytes()


def test_config_version_and_help_are_printed():
    config = check_ran("--config")
    assert "not loaded" not in config
    assert all(f"{section}:\n" in config for section in batchpinv.show_config("dicts"))
    assert check_ran("--version") == f"batchpinv {batchpinv.__version__}\n"
    usage = check_ran("--help")
    for option in ("IN OUT", "lstsq [options] A B OUT", "--atol", "--rtol", "--rcond",
                   "--hermitian", "--upper", "--driver", "--overwrite",
                   "--workers", "--rank", "--on-failure", "--config", "--version"):  # fmt: skip
        assert option in usage


def test_wrong_usage_names_the_argument(tmp_path):
    for message, *arguments in [
        ("--workers must be positive, or negative", "a", "b.npy", "--workers", "0"),
        ("argument IN: the path is empty", "", "b.npy"),
        ("argument OUT: the path is empty", "a", ""),
        ("argument --rank: the path is empty", "a", "b.npy", "--rank", ""),
        ("argument B: the path is empty", "lstsq", "a", "", "b.npy"),
        ("--config takes no files", "a", "b.npy", "--config"),
        ("unrecognized arguments: --over", "a", "b.npy", "--over"),
    ]:
        ran = run(*arguments, cwd=tmp_path)
        assert ran.returncode == 2
        assert message in ran.stderr


def test_only_regular_files_are_replaced(tmp_path):
    path, out, pipe = make_good(tmp_path), tmp_path / "out.npy", tmp_path / "pipe.npy"
    os.mkfifo(pipe)
    (tmp_path / "link.npy").symlink_to("pipe.npy")
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    before = sorted(os.listdir(tmp_path))
    check_failed("pipe.npy is not a regular file, and is not replaced", path, pipe)
    check_failed("link.npy is not a regular file", path, tmp_path / "link.npy")
    check_failed("pipe.npy is not a regular file", path, out, "--rank", pipe)
    check_failed("loop.npy", path, tmp_path / "loop.npy")
    assert sorted(os.listdir(tmp_path)) == before
    assert pipe.is_fifo()
    assert (tmp_path / "loop.npy").is_symlink()


@pytest.mark.parametrize("existing", [False, True])
def test_a_link_stays_and_its_target_is_written(tmp_path, existing):
    a, folder, link = random_stack(7, 3, 2), tmp_path / "folder", tmp_path / "link.npy"
    folder.mkdir()
    if existing:
        (folder / "out.npy").write_bytes(b"as it was")
    link.symlink_to("folder/out.npy")
    check_ran(save(tmp_path, a), link)
    assert link.is_symlink()
    assert np.load(folder / "out.npy").tobytes() == pinv(a).tobytes()
    assert os.listdir(folder) == ["out.npy"]
    assert sorted(os.listdir(tmp_path)) == ["folder", "in.npy", "link.npy"]
