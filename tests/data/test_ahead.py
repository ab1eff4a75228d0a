from __future__ import annotations

import threading
import time

import pytest

from edgevision.data.ahead import map_ahead


def test_order_is_kept():
    def wait(item):
        time.sleep(0.002 * (item % 3))
        return item

    assert list(map_ahead(wait, range(20), threads=3)) == list(range(20))


def test_no_more_is_taken_than_needed():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    results = map_ahead(lambda i: i, items(), threads=2)
    assert next(results) == 0
    assert len(taken) <= 2 * 2 + 1
    results.close()


def test_exception_arrives_in_its_turn():
    results = map_ahead(lambda i: 1 // (2 - i), range(5), threads=2)
    assert [next(results), next(results)] == [1 // 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_threads_end_with_the_iterator():
    list(map_ahead(abs, range(4), threads=4))
    assert not [t for t in threading.enumerate() if t.name.startswith("edgevision-ahead")]
