"""Keys of the buckets, chosen so that every task gets as many buckets as the others.

Spark gives a key to task `pmod(hash(key), tasks)`. Bucket numbers themselves fall unevenly: of 32 buckets on 2 tasks one
gets 20, and the other waits for it. So bucket b has, of the integers that Spark gives to task b % tasks, the one in place
b // tasks. That depends on no total, so partitions may be added to the topic.
"""

from functools import cache
from itertools import count
from typing import Final

_MASK: Final = 0xFFFFFFFF
_SEED: Final = 42


def spark_hash(value: int) -> int:
    """Spark SQL's `hash` of one INT: Murmur3_x86_32 with seed 42, signed."""
    mixed = _rotate(value * 0xCC9E2D51 & _MASK, 15) * 0x1B873593 & _MASK
    found = (_rotate(_SEED ^ mixed, 13) * 5 + 0xE6546B64) & _MASK
    found ^= 4  # its length in bytes
    found = (found ^ found >> 16) * 0x85EBCA6B & _MASK
    found = (found ^ found >> 13) * 0xC2B2AE35 & _MASK
    found ^= found >> 16
    return found - (1 << 32) if found >> 31 else found


def key_of(bucket: int, tasks: int) -> int:
    """The key of a bucket; no two buckets have the same."""
    place, task = divmod(bucket, tasks)
    return _keys(tasks).find(task, place)


class _Keys:
    """Integers in order, by the task that Spark gives them to; looked for as far as was asked."""

    def __init__(self, tasks: int) -> None:
        self._values = count()
        self._by_task: list[list[int]] = [[] for _ in range(tasks)]

    def find(self, task: int, place: int) -> int:
        """The integer in this place among the task's."""
        while len(self._by_task[task]) <= place:
            value = next(self._values)
            self._by_task[spark_hash(value) % len(self._by_task)].append(value)
        return self._by_task[task][place]


_keys = cache(_Keys)


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> 32 - bits) & _MASK
