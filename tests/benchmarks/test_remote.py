"""Models timed through ``ssh``: a played one that runs commands here, and a real server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgevision.benchmarks.remote import benchmark_remote
from edgevision.benchmarks.remote_host import RemoteHost
from edgevision.cli.app import run
from edgevision.errors import DelegateError, InvalidConfigError

Captured = pytest.CaptureFixture[str]
QUICK = {"python": sys.executable, "threads": (1,), "seconds": 0.02}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose programs go before those of the system."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def write_program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def device(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A played device: ssh runs the command here; the folder is the device's /tmp."""
    write_program(programs, "ssh", 'for last; do :; done\nexec sh -c "$last"')
    folder = tmp_path / "device"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_rows_are_those_of_the_device(device: Path, tiny_tflite: Path) -> None:
    report = benchmark_remote([tiny_tflite, tiny_tflite], host="pi", **QUICK)
    for row in report.to_dict()["rows"]:
        assert row["status"] == "ok"
        assert row["file"] == str(tiny_tflite)
        assert row["latency_ms"]["p99"] >= row["latency_ms"]["p50"] > 0
        assert row["threads"] == 1
        assert row["delegated_ops"] == row["total_ops"] == 5
        assert row["peak_memory_bytes"] > 0
        assert row["macs"] > 0
    assert report.environment["host"] == "pi"
    assert report.environment["cores"] >= 1
    assert "before" in report.conditions
    assert list(device.iterdir()) == []


def test_a_model_that_crashes_is_a_row(
    device: Path, programs: Path, tiny_tflite: Path, tmp_path: Path
) -> None:
    # The second model ends the process that opens it, as broken native code does.
    script = f'case "$*" in *model_1*) kill -SEGV $$;; esac\nexec {sys.executable} "$@"'
    write_program(programs, "fragile", script)
    report = benchmark_remote(
        [tiny_tflite, tiny_tflite], host="pi", **{**QUICK, "python": "fragile"}
    )
    assert [row.status for row in report.rows] == ["ok", "failed"]
    assert "SIGSEGV" in report.rows[1].reason
    assert list(device.iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [
        ("ssh", "echo 'ssh: no route to host' >&2; exit 255", "can not be reached: ssh: no route"),
        ("ssh", "echo 'pi: Permission denied (publickey).' >&2; exit 255", "ssh-copy-id pi"),
        ("ssh", "echo 'Host key verification failed.' >&2; exit 255", "connect once by hand"),
        ("cat", "echo 'cat: No space left on device' >&2; exit 1", "its disk is full"),
        ("mktemp", "echo 'mktemp: Read-only file system' >&2; exit 1", "Read-only file system"),
        ("no-python", "", "no nothing on the device"),
        ("nothing", "echo 'No module named that' >&2; exit 1", "did not survive on the device"),
    ],
)
def test_what_is_wrong_is_one_clear_line(
    device: Path, programs: Path, tiny_tflite: Path, capsys: Captured, fault: tuple[str, str, str]
) -> None:
    program, script, message = fault
    if script:
        write_program(programs, program, script)
    python = "nothing" if "nothing" in message + program else sys.executable
    code = run(["benchmark", str(tiny_tflite), "--host", "pi", "--remote-python", python])
    captured = capsys.readouterr()
    if program == "nothing":  # a row that failed, as for files that fail here
        assert code == 0
        assert message in " ".join(captured.out.split())
    else:
        assert code == 2
        assert captured.err.startswith("error: ")
        assert message in captured.err
        assert captured.err.count("\n") == 1
    assert list(device.iterdir()) == []


def test_a_device_without_an_interpreter(device: Path, programs: Path, tiny_tflite: Path) -> None:
    # -S: without the packages of this environment.
    write_program(programs, "bare", f'exec {sys.executable} -S -E "$@"')
    with pytest.raises(DelegateError, match=r"no interpreter for \.tflite files") as caught:
        benchmark_remote([tiny_tflite], host="pi", **{**QUICK, "python": "bare"})
    assert "--remote-python" in str(caught.value)


def test_a_connection_that_breaks_while_measuring(
    device: Path, programs: Path, tiny_tflite: Path
) -> None:
    # One request arrives; behind it the line is dead.
    script = f'sed -u 1q | {sys.executable} "$@"; echo "Connection to pi closed" >&2; exit 255'
    write_program(programs, "short", script)
    with pytest.raises(DelegateError, match="lost: Connection to pi closed"):
        benchmark_remote([tiny_tflite], host="pi", **{**QUICK, "python": "short"})


@pytest.mark.parametrize("host", ["", "-oProxyCommand=evil"])
def test_a_host_is_no_option(host: str) -> None:
    with pytest.raises(InvalidConfigError, match="--host"):
        RemoteHost(host)


@pytest.mark.parametrize("options", [["--device", "gpu"], ["--data", "photos"], ["--per-op"]])
def test_what_is_not_measured_there_is_refused(
    tiny_tflite: Path, capsys: Captured, options: list[str]
) -> None:
    assert run(["benchmark", str(tiny_tflite), "--host", "pi", *options]) == 2
    assert "with --host" in capsys.readouterr().err


def test_without_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DelegateError, match="ssh is missing"), RemoteHost("pi"):
        pass


@pytest.fixture
def server(tmp_path: Path, programs: Path) -> Iterator[str]:
    """A real ssh server on the loopback interface; ``ssh`` finds it by its usual name."""
    sshd = os.environ.get("EDGEVISION_TEST_SSHD") or shutil.which("sshd", path="/usr/sbin:/sbin")
    ssh = shutil.which("ssh", path="/usr/bin:/bin:/usr/local/bin")
    if sshd is None or ssh is None:
        pytest.skip("no sshd and ssh here: install openssh-server, or set EDGEVISION_TEST_SSHD")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for key in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / key)]
        subprocess.run(command, check=True)
    (tmp_path / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nPidFile none\n"
        f"AuthorizedKeysFile {tmp_path}/user.pub\nStrictModes no\nUsePAM no\n"
    )
    options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    write_program(programs, "ssh", f'exec {ssh} -p {port} -i {tmp_path}/user {options} "$@"')
    log = (tmp_path / "sshd.log").open("w")
    process = subprocess.Popen([sshd, "-D", "-e", "-f", str(tmp_path / "config")], stderr=log)
    try:
        _wait_for(port, process, tmp_path / "sshd.log")
        yield f"{os.environ.get('USER') or 'root'}@127.0.0.1"
    finally:
        process.terminate()
        process.wait()
        log.close()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        if process.poll() is not None:
            pytest.skip(f"sshd does not start here: {log.read_text().strip()[-200:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)


def test_a_real_server(server: str, tiny_tflite: Path, capsys: Captured) -> None:
    arguments = ["benchmark", str(tiny_tflite), "--host", server, "--seconds", "0.05", "--json"]
    assert run([*arguments, "--threads", "1", "--remote-python", sys.executable]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rows"][0]["latency_ms"]["n"] >= 20
    assert document["environment"]["host"] == server
    assert run(["benchmark", str(tiny_tflite), "--host", "nobody-there@127.0.0.1"]) == 2
    assert "ssh-copy-id" in capsys.readouterr().err
