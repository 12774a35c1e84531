"""No serializer can make a dict quadratic: keys whose hashes collide are read in linear time.

Python randomizes the hashes of texts and bytes. Hashes of numbers and of tuples are the same in every process.
"""

import itertools
import pickle
import sys
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
import yaml
from task_status_service.status import Budget, Snapshot, decode
from task_status_service.status.stored.serializers import deserialize

MODULUS = sys.hash_info.modulus
COUNT = 1_500

#: kinds of keys, each with colliding hashes
KEYS = {
    "integers": [factor * MODULUS for factor in range(1, COUNT)],
    "negative integers": [-factor * MODULUS for factor in range(1, COUNT)],
    "64 bits": [factor * MODULUS for factor in range(-4, 8)],
    "floats": [float(2 ** (61 * factor)) for factor in range(1, 16)],
    "equal numbers": [1, True, 1.0, 0, False, 0.0],
    "tuples": [(factor * MODULUS,) for factor in range(1, COUNT)],
    "pairs": list(itertools.islice(itertools.product([factor * MODULUS for factor in range(8)], repeat=4), COUNT)),
    "frozensets": [frozenset([factor * MODULUS]) for factor in range(1, COUNT)],
    "decimals": [Decimal(factor * MODULUS) for factor in range(1, COUNT)],
    "fractions": [Fraction(factor * MODULUS, 3) for factor in range(1, COUNT)],
    "complex": [complex(2.0 ** (61 * factor), 0) for factor in range(1, 16)],
    "mixed": [None, True, 2, 2.5, "text", b"bytes"],
}


def packed(kind):
    """Return each serializer's bytes of a map with these keys, where it has one."""
    keys = KEYS[kind]
    yield "pickle", pickle.dumps({"status": "SUCCESS", "result": dict.fromkeys(keys)})
    yield "pickle 0", pickle.dumps({"status": "SUCCESS", "result": dict.fromkeys(keys)}, 0)
    numbers = [key for key in keys if isinstance(key, int | float)]
    if numbers:
        lines = "".join(f"  {yaml.safe_dump(key).split()[0]}: 1\n" for key in numbers)
        yield "yaml", f"status: SUCCESS\nresult:\n{lines}".encode()
    short = [key for key in keys if not isinstance(key, int) or abs(key) < 2**63]
    try:
        items = b"".join(msgspec.msgpack.encode(key) + b"\xc0" for key in short)
    except (TypeError, OverflowError):
        return
    yield "msgpack", b"\x82\xa6status\xa7SUCCESS\xa6result\xdf" + len(short).to_bytes(4, "big") + items


CASES = [(kind, name, data) for kind in KEYS for name, data in packed(kind)]


def dicts_in(value):
    """Return all dicts of a deserialized value."""
    if isinstance(value, dict):
        yield value
        value = [*value.values()]
    if isinstance(value, list):
        for item in value:
            yield from dicts_in(item)


@pytest.mark.parametrize(("kind", "name", "data"), CASES, ids=[f"{kind}-{name}" for kind, name, _ in CASES])
def test_few_keys_of_a_dict_have_the_same_hash(kind, name, data):
    """A dict that any serializer makes has at most as many keys of one hash as there are numbers of 64 bits."""
    document = deserialize(data, set(), Budget())

    for made in dicts_in(document):
        hashes = [hash(key) for key in made]
        assert max(map(hashes.count, hashes), default=0) <= 34, (kind, name)
    assert decode(Snapshot(task_id="x", meta=data)).state == "succeeded"
