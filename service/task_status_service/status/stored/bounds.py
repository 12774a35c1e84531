"""Every bound of a decode, in one place: nothing that is stored can cost more than what is written here."""

from typing import Final

# Bytes.

#: the most that is read of one meta; the store asks for one byte more, to see that it is longer
MAX_STORED_BYTES: Final = 8 * 1024 * 1024
#: the most that a compressed meta may inflate to: as much as one that is not compressed
MAX_INFLATED_BYTES: Final = MAX_STORED_BYTES
#: libyaml builds about a hundred bytes of nodes for one byte of text
MAX_YAML_BYTES: Final = 256 * 1024
#: one byte of msgpack can be an empty map, which takes about a hundred bytes in a list
MAX_MSGPACK_BYTES: Final = 1024 * 1024
#: an xz stream of the highest preset asks for 65 MiB before its first byte; what is not written to stays virtual
MAX_XZ_MEMORY_BYTES: Final = 80 * 1024 * 1024
#: `zstd -19` looks 8 MiB back; more is only asked for with `--ultra` or `--long`
MAX_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024

# Shape.

#: containers inside containers; what is deeper becomes `plain.DEEPER`
MAX_DEPTH: Final = 100
#: what is deeper is not even read: more than `MAX_DEPTH` shows, wherever a value lies in a meta
MAX_READ_DEPTH: Final = 200
#: Python's own reader of JSON, hence Celery, gives up a little below 1,000
MAX_JSON_DEPTH: Final = 950
#: containers inside containers of a msgpack value; below the recursion limit of every supported CPython (1,000 in 3.11)
MAX_MSGPACK_DEPTH: Final = 500
#: characters of an inline result, a custom meta or a failure's details; numbers and containers count as four
MAX_INLINE_SIZE: Final = 1024 * 1024
#: the same where the result is all that is asked for: whatever fits into `MAX_STORED_BYTES`
MAX_RESULT_SIZE: Final = 4 * MAX_STORED_BYTES
#: opcodes that are read of one pickle, about 2 microseconds each
MAX_PICKLE_OPCODES: Final = 100_000
#: ids in `children`
MAX_CHILDREN: Final = 1_000
#: nodes of the tree of children that are looked at
MAX_CHILD_NODES: Final = 10_000

# Numbers.

#: integers up to here survive JavaScript
MAX_SAFE_INTEGER: Final = 2**53
#: an integer of more digits becomes text: Python refuses 4,301, and turning them takes quadratic time
MAX_INTEGER_DIGITS: Final = 1_000
#: retries of one task; more is not a count
MAX_RETRIES: Final = 2**31

# Texts, in characters.

#: a Celery state, a task name, a worker, an id, the name of an exception class or of its module
MAX_NAME_CHARS: Final = 300
MAX_MESSAGE_CHARS: Final = 10_000
MAX_TRACEBACK_CHARS: Final = 100_000
MAX_PROGRESS_MESSAGE_CHARS: Final = 500
MAX_STAGE_CHARS: Final = 200
