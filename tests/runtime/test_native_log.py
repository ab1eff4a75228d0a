from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import os
from edgevision.runtime.native_log import hide_announcements
for text in ({lines}):
    try:
        with hide_announcements():
            os.write(2, text)
            {extra}
    except ValueError:
        os.write(2, b"raised ")
"""
NOTE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def run(*lines: bytes, extra: str = "pass") -> bytes:
    code = CODE.format(lines="".join(f"{line!r}," for line in lines), extra=extra)
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=env
    ).stderr


def test_note_is_hidden_and_the_rest_kept():
    assert run(NOTE + b"ERROR: no space\n") == b"ERROR: no space\n"


def test_stream_is_left_alone_once_the_note_was_seen():
    assert run(NOTE, NOTE) == NOTE


def test_lines_survive_an_exception():
    assert run(b"ERROR: cause\n", extra="raise ValueError") == b"ERROR: cause\nraised "


def test_closed_stream_is_no_trouble():
    code = (
        "import os; os.close(2)\n"
        "from edgevision.runtime.native_log import hide_announcements\n"
        "with hide_announcements(): print('ran')"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"ran\n"
