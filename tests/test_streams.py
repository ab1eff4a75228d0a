from __future__ import annotations

import subprocess
import sys

READ = """
import ctypes, os, sys
from edgevision.streams import mute_exit, read_native_output
print("before")
{prepare}
try:
    with read_native_output() as said:
        os.write(2, b"native\\n")
        ctypes.CDLL(None).puts(b"buffered")
        print("python")
        {extra}
except ValueError:
    pass
print(sorted(said.text.split()))
"""


def run(prepare: str = "", extra: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
    code = READ.format(prepare=prepare, extra=extra) + after
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)


def test_both_streams_are_read_and_kept_from_the_terminal():
    done = run()
    assert done.stdout == "before\n['buffered', 'native', 'python']\n"
    assert done.stderr == ""


def test_what_was_said_survives_an_exception():
    assert "'native'" in run(extra="raise ValueError").stdout


def test_a_missing_stream_is_no_trouble():
    assert run(prepare="os.close(2)").stdout == run().stdout


def test_native_lines_at_the_end_are_muted_and_python_ones_kept():
    after = """
import atexit
def end():
    os.write(2, b"native end\\n")
    print("python end", file=sys.stderr)
atexit.register(end)
"""
    # Handlers run in reverse: the mute must have been asked for later than the one that talks.
    done = run(after=after + "mute_exit()\nos.write(2, b'still here\\n')")
    assert done.stderr == "still here\npython end\n"
