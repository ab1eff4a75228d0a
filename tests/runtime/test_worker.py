from __future__ import annotations

from collections.abc import Iterator

import pytest
from crashing import Counter

from edgevision.errors import InvalidConfigError
from edgevision.runtime.isolate import IsolatedCallError
from edgevision.runtime.worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker(Counter, 3) as opened:
        yield opened


def test_the_object_keeps_its_state(worker: Worker) -> None:
    assert worker.call("add", 4) == 3 + 4
    assert worker.call("add", 1) == 3 + 4 + 1


def test_errors_do_not_end_it(worker: Worker) -> None:
    with pytest.raises(IsolatedCallError, match="ValueError: no such thing"):
        worker.call("fail")
    with pytest.raises(InvalidConfigError, match="not like this") as caught:
        worker.call("refuse")
    assert caught.value.received == "that"
    assert worker.call("write") == len(b"native noise")
    assert worker.call("add", 0) == 3


def test_crash_is_a_reason_and_stays_one(worker: Worker) -> None:
    for _ in range(2):
        with pytest.raises(IsolatedCallError, match="SIGSEGV"):
            worker.call("crash")


def test_hanging_child_is_killed(worker: Worker) -> None:
    with pytest.raises(IsolatedCallError, match=r"within 0\.5 s"):
        worker.call("hang", timeout_s=0.5)


def test_broken_constructor_is_told_at_the_first_call() -> None:
    with Worker(Counter) as worker, pytest.raises(IsolatedCallError, match="TypeError"):
        worker.call("add", 1)


def test_close_ends_the_process_and_can_be_repeated() -> None:
    worker = Worker(Counter, 1)
    worker.close()
    worker.close()
    assert worker._process.returncode is not None
