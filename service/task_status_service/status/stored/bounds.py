"""All limits of decoding: together they bound the cost of any stored value."""

from typing import Final

# Bytes.

#: maximum size of one meta; the store reads one byte more, to detect a longer one
MAX_STORED_BYTES: Final = 8 * 1024 * 1024
#: maximum decompressed size of a meta; the same as of an uncompressed one
MAX_INFLATED_BYTES: Final = MAX_STORED_BYTES
#: libyaml builds about 100 bytes of nodes for one byte of text
MAX_YAML_BYTES: Final = 256 * 1024
#: one byte of msgpack can be an empty map, which takes about 100 bytes in a list
MAX_MSGPACK_BYTES: Final = 1024 * 1024
#: an xz stream of the highest preset reserves 65 MiB before its first byte; unused pages stay virtual
MAX_XZ_MEMORY_BYTES: Final = 80 * 1024 * 1024
#: `zstd -19` uses a window of 8 MiB; only `--ultra` and `--long` use more
MAX_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024

# Shape.

#: nested containers in a value; a deeper one becomes `plain_json.DEEPER`
MAX_DEPTH: Final = 100
#: nested containers that are parsed; more than `MAX_DEPTH`, because a value is itself inside a meta
MAX_READ_DEPTH: Final = 200
#: Python's JSON parser, and therefore Celery, fails a little below 1,000
MAX_JSON_DEPTH: Final = 950
#: nested containers of a msgpack value; below the recursion limit of every supported CPython (1,000 in 3.11)
MAX_MSGPACK_DEPTH: Final = 500
#: characters of an inline result, a custom meta or a failure's details; numbers and containers count as four
MAX_INLINE_SIZE: Final = 1024 * 1024
#: the same for a request of the result alone: any result that fits into `MAX_STORED_BYTES`
MAX_RESULT_SIZE: Final = 4 * MAX_STORED_BYTES
#: opcodes of one pickle; reading one takes about 2 microseconds
MAX_PICKLE_OPCODES: Final = 100_000
#: ids in `children`
MAX_CHILDREN: Final = 1_000
#: visited nodes of the tree of children
MAX_CHILD_NODES: Final = 10_000

# Numbers.

#: JavaScript represents integers up to this value exactly
MAX_SAFE_INTEGER: Final = 2**53
#: an integer of more digits becomes text: Python rejects 4,301 digits, and conversion takes quadratic time
MAX_INTEGER_DIGITS: Final = 1_000
#: retries of one task; a larger number is invalid
MAX_RETRIES: Final = 2**31

# Texts, in characters.

#: a Celery state, task name, worker, id, exception class or module
MAX_NAME_CHARS: Final = 300
MAX_MESSAGE_CHARS: Final = 10_000
MAX_TRACEBACK_CHARS: Final = 100_000
MAX_PROGRESS_MESSAGE_CHARS: Final = 500
MAX_STAGE_CHARS: Final = 200
