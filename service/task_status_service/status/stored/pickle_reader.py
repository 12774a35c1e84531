"""Read the plain data of a pickle, opcode by opcode. Nothing is unpickled, imported, looked up or called.

Plain data is dict, list, tuple, set, text, bytes, numbers, booleans and None. The result of any other opcode is
`OPAQUE`: the opcode only moves the stack as documented by `pickletools`. Celery's wrapper of an exception that could
not be pickled is read as the fields under which its JSON stores an exception.
"""

import itertools
import pickletools
from collections.abc import Callable
from typing import Any, Final

import msgspec

from task_status_service.status.stored.plain_json import number_text

#: positions in four bytes, as in the opcode LONG_BINPUT; the text opcode PUT could have others
_MAX_MEMO_POSITION: Final = 2**32 - 1
#: opcodes whose argument is a decimal number, whose conversion takes quadratic time
_DECIMAL: Final = frozenset({"INT", "LONG"})
#: converting a number of 4,300 digits takes 100 microseconds
_BITS_PER_OPCODE: Final = 64


class _Sentinel(msgspec.Struct, frozen=True):
    name: str


#: placeholder for an object that is not constructed
OPAQUE: Final = _Sentinel("opaque")
#: Celery's wrapper of an exception that could not be pickled: its arguments are plain data
_WRAPPER_MODULE: Final = "celery.utils.serialization"
_WRAPPER_TYPE: Final = "UnpickleableExceptionWrapper"
_WRAPPER: Final = _Sentinel("wrapper")
_MARK: Final = _Sentinel("mark")


class NotReadable(Exception):
    """These bytes are not a pickle of the protocols 0 to 5."""


class _Machine:
    """The stack and the memo of the pickle that is read."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop_to_mark(self) -> list[Any]:
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _MARK:
                values = self.stack[position + 1 :]
                del self.stack[position:]
                return values
        raise NotReadable

    def finished_items(self) -> dict[Any, Any]:
        """Return the complete items of the unfinished dict at the bottom of the stack, also those after a mark."""
        unfinished, *waiting = self.stack or [None]
        if waiting and waiting[0] is _MARK:
            items = list(itertools.takewhile(lambda value: value is not _MARK, waiting[1:]))
            _set_items(unfinished, items[: (len(items) - 1) // 2 * 2])
        return unfinished if isinstance(unfinished, dict) else {}


def _set_items(container: Any, items: list[Any]) -> None:
    """Add keys and values to a dict. Only scalar keys are added: hashing nested tuples can take exponential time."""
    if isinstance(container, dict):
        for key, value in zip(items[::2], items[1::2], strict=False):
            if isinstance(key, str | bytes | bool | None):
                container[key] = value
            elif isinstance(key, int | float):
                # As in JSON. Hashes of numbers are not randomized: keys with equal hashes would take quadratic time.
                container[number_text(key)] = value


def _extend(container: Any, items: list[Any]) -> None:
    if isinstance(container, list):
        container.extend(items)


def _push_argument(machine: _Machine, argument: Any) -> None:
    machine.stack.append(argument)


def _push(value: Any) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(value)


def _push_new(kind: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(kind())


def _push_tuple(size: int) -> Callable[[_Machine, Any], None]:
    def push(machine: _Machine, _: Any) -> None:
        values = [machine.stack.pop() for _ in range(size)]
        machine.stack.append(values[::-1])

    return push


def _push_marked(machine: _Machine, _: Any) -> None:
    machine.stack.append(machine.pop_to_mark())


def _push_marked_dict(machine: _Machine, _: Any) -> None:
    made: dict[Any, Any] = {}
    _set_items(made, machine.pop_to_mark())
    machine.stack.append(made)


def _append(machine: _Machine, _: Any) -> None:
    value = machine.stack.pop()
    _extend(machine.stack[-1], [value])


def _append_marked(machine: _Machine, _: Any) -> None:
    values = machine.pop_to_mark()
    _extend(machine.stack[-1], values)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _set_items(machine.stack[-1], [key, value])


def _set_marked(machine: _Machine, _: Any) -> None:
    items = machine.pop_to_mark()
    _set_items(machine.stack[-1], items)


def _pop(machine: _Machine, _: Any) -> None:
    machine.stack.pop()


def _pop_marked(machine: _Machine, _: Any) -> None:
    machine.pop_to_mark()


def _duplicate(machine: _Machine, _: Any) -> None:
    machine.stack.append(machine.stack[-1])


def _put(machine: _Machine, position: int) -> None:
    # Hashes of numbers are not randomized: positions with equal hashes would take quadratic time.
    if not 0 <= position <= _MAX_MEMO_POSITION:
        raise NotReadable
    machine.memo[position] = machine.stack[-1]


def _memoize(machine: _Machine, _: Any) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _get(machine: _Machine, position: int) -> None:
    machine.stack.append(machine.memo[position])


def _push_global(machine: _Machine, argument: str) -> None:
    # pickletools joins the module and the name with a space.
    machine.stack.append(_WRAPPER if argument == f"{_WRAPPER_MODULE} {_WRAPPER_TYPE}" else OPAQUE)


def _push_stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(_WRAPPER if (module, name) == (_WRAPPER_MODULE, _WRAPPER_TYPE) else OPAQUE)


def _reduce(machine: _Machine, _: Any) -> None:
    """Push the fields under which Celery's JSON stores the wrapper; any other call is not made."""
    arguments, called = machine.stack.pop(), machine.stack.pop()
    wrapped = {"exc_type": _WRAPPER_TYPE, "exc_module": _WRAPPER_MODULE, "exc_message": arguments}
    machine.stack.append(wrapped if called is _WRAPPER else OPAQUE)


def _build(machine: _Machine, _: Any) -> None:
    """Ignore the state of an object."""
    machine.stack.pop()
    if not isinstance(machine.stack[-1], dict):
        machine.stack[-1] = OPAQUE


def _no_effect(_machine: _Machine, _: Any) -> None:
    pass


#: opcode -> its effect on the machine; tuples and sets become lists, as in JSON
_OPCODES: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _no_effect),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _push_argument),
    **dict.fromkeys(("FLOAT", "BINFLOAT"), _push_argument),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _push_argument),
    **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _push_argument),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _push_argument),
    "NONE": _push(None),
    "NEWTRUE": _push(True),
    "NEWFALSE": _push(False),
    "MARK": _push(_MARK),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_SET"), _push_new(list)),
    "EMPTY_DICT": _push_new(dict),
    **dict.fromkeys(("LIST", "TUPLE", "FROZENSET"), _push_marked),
    "DICT": _push_marked_dict,
    "TUPLE1": _push_tuple(1),
    "TUPLE2": _push_tuple(2),
    "TUPLE3": _push_tuple(3),
    "APPEND": _append,
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _append_marked),
    "SETITEM": _set_item,
    "SETITEMS": _set_marked,
    "GLOBAL": _push_global,
    "STACK_GLOBAL": _push_stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "POP": _pop,
    "POP_MARK": _pop_marked,
    "DUP": _duplicate,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    "MEMOIZE": _memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
}


def _step_over(machine: _Machine, opcode: pickletools.OpcodeInfo) -> None:
    """Move the stack as an opcode would that constructs an object, and push `OPAQUE` instead of the object."""
    before = opcode.stack_before
    if pickletools.markobject in before:
        machine.pop_to_mark()
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        machine.stack.pop()
    machine.stack.extend(OPAQUE for _ in opcode.stack_after)


class TooManyOpcodes(Exception):
    """A pickle has more opcodes than the limit, or is cut; `beginning` contains the items read from its dict."""

    def __init__(self, beginning: dict[Any, Any]) -> None:
        super().__init__()
        self.beginning = beginning


def read_plain(data: bytes, *, limit: int, is_cut: bool = False) -> Any:
    """Return the object of a pickle as plain data. A long decimal number counts as several opcodes.

    Raises:
        NotReadable: the bytes are not a pickle.
        TooManyOpcodes: the pickle has more opcodes than the limit, or ends early because it is cut.
    """
    machine = _Machine()
    left = limit
    try:
        for opcode, argument, _position in pickletools.genops(data):
            left -= 1
            if opcode.name in _DECIMAL and isinstance(argument, int):
                left -= argument.bit_length() // _BITS_PER_OPCODE
            if left < 0:
                raise TooManyOpcodes(machine.finished_items())
            act = _OPCODES.get(opcode.name)
            if act is None:
                _step_over(machine, opcode)
            else:
                act(machine, argument)
        return machine.stack.pop()
    except (ValueError, LookupError, ArithmeticError) as error:
        if is_cut:
            raise TooManyOpcodes(machine.finished_items()) from error
        raise NotReadable from error
