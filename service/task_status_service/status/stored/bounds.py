"""All limits of decoding: together they bound the cost of any stored value."""

from typing import Final

# Bytes.

#: maximum size of one meta; the store reads one byte more, to detect a longer one
MAX_STORED_BYTES: Final = 8 * 1024 * 1024
#: inflated bytes of a task in a list: a text of `MAX_LISTED_SIZE` takes at most six bytes for a character
MAX_LISTED_BYTES: Final = 512 * 1024
#: inflated bytes of all tasks of a page, and of the tasks after them
MAX_PAGE_BYTES: Final = 16 * 1024 * 1024
MAX_UNSEEN_BYTES: Final = 16 * 1024
#: libyaml reads 256 KiB of text in 5 ms
MAX_YAML_BYTES: Final = 256 * 1024
#: an xz stream of the highest preset reserves 65 MiB before its first byte; unused pages stay virtual
MAX_XZ_MEMORY_BYTES: Final = 80 * 1024 * 1024
#: `zstd -19` uses a window of 8 MiB; only `--ultra` and `--long` use more
MAX_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024

# Time.

#: nodes of a task that is read alone: about 100 ms, of which 50 ms are without a pause
MAX_NODES: Final = 250_000
#: nodes of a failure: each of its texts is redacted, which takes 5 microseconds
MAX_FAILURE_NODES: Final = 20_000
#: nodes of a task in a list, of all tasks of a page, and of each task after them
MAX_LISTED_NODES: Final = 32_768
MAX_PAGE_NODES: Final = 500_000
MAX_UNSEEN_NODES: Final = 2_000
#: seconds after which the other tasks of a page are only looked at
MAX_PAGE_SECONDS: Final = 1.0
#: nodes after which other requests run: about 10 ms
PAUSE_NODES: Final = 20_000
#: nodes that take as long as one opcode of a pickle, one value of msgpack or one of YAML
NODES_PER_OPCODE: Final = 3
NODES_PER_MSGPACK_VALUE: Final = 5
NODES_PER_YAML_EVENT: Final = 32

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
#: the same for a task in a list
MAX_LISTED_SIZE: Final = 64 * 1024
#: the same for a request of the result alone: any result that fits into `MAX_STORED_BYTES`
MAX_RESULT_SIZE: Final = 4 * MAX_STORED_BYTES
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
