"""A pickle of plain values alone: lists, dicts, texts and numbers.

A pickle is a program, and one that names a class or a function can do anything. This reader knows none of the
instructions that make or call something, and refuses the names themselves.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

from spr.errors import DataError
from spr.sources.following import Meter, Tick, unseen

_VALUES = (
    pickle.NONE + pickle.NEWTRUE + pickle.NEWFALSE + pickle.INT + pickle.BININT + pickle.BININT1 + pickle.BININT2,
    pickle.LONG + pickle.LONG1 + pickle.LONG4 + pickle.FLOAT + pickle.BINFLOAT,
    pickle.STRING + pickle.BINSTRING + pickle.SHORT_BINSTRING,
    pickle.UNICODE + pickle.BINUNICODE + pickle.SHORT_BINUNICODE + pickle.BINUNICODE8,
)
_CONTAINERS = (
    pickle.LIST + pickle.EMPTY_LIST + pickle.APPEND + pickle.APPENDS,
    pickle.DICT + pickle.EMPTY_DICT + pickle.SETITEM + pickle.SETITEMS,
)
_STACK = (
    pickle.PROTO + pickle.FRAME + pickle.MARK + pickle.STOP,
    pickle.PUT + pickle.BINPUT + pickle.LONG_BINPUT + pickle.MEMOIZE + pickle.GET + pickle.BINGET + pickle.LONG_BINGET,
)
_NAMES = pickle.GLOBAL + pickle.STACK_GLOBAL + pickle.INST
"""Read as far as the name, which `find_class` then refuses."""


class _Refused(Exception):
    """A name that the pickle wants to be looked up."""


def _mark(reader: Any) -> None:
    """Marks stand in lists and dicts of every protocol: often enough to tell how far the reading is."""
    pickle._Unpickler.dispatch[pickle.MARK[0]](reader)
    reader.tell()


class _Plain(pickle._Unpickler):
    """The reader in Python: the one in C reserves memory for whatever place of its memo a file of ten bytes claims."""

    dispatch: ClassVar[dict[int, Any]] = {
        **{code: pickle._Unpickler.dispatch[code] for code in b"".join((*_VALUES, *_CONTAINERS, *_STACK, _NAMES))},
        pickle.MARK[0]: _mark,
    }

    def __init__(self, raw: bytes, tick: Tick) -> None:
        self._raw, self._tick, self._told = io.BytesIO(raw), tick, 0
        super().__init__(self._raw, encoding="utf-8", errors="surrogateescape")

    def tell(self) -> None:
        """Say how many more megabytes are read."""
        done = self._raw.tell() // 1_000_000
        if done > self._told:
            self._tick(done - self._told)
            self._told = done

    def find_class(self, module: str, name: str) -> Any:
        raise _Refused(f"{module}.{name}")


def read_plain_pickle(raw: bytes, path: Path, meter: Meter = unseen) -> Any:
    """The value of a pickle, also one that Python 2 wrote: its byte strings become texts, with half surrogates for bytes that
    are not UTF-8. Nothing of the pickle is ever run.

    Raises DataError, naming what it asks for, when the pickle names a class or function, and when it is cut off or broken.
    """
    try:
        with meter(f"reading {path.name}", len(raw) // 1_000_000, "MB") as tick:
            reader = _Plain(raw, tick)
            value = reader.load()
            reader.tell()
        return value
    except _Refused as name:
        raise DataError(
            f"{path} names {str(name)[:80]!r}, and a pickle with names can run anything; refused: the annotations of refer "
            "hold plain values alone, download them again from a source you trust"
        ) from None
    except KeyError as code:  # Of the table of instructions above.
        what = f"has the instruction {bytes(code.args)!r}"
        raise DataError(f"{path} {what}, which no pickle of lists, dicts, texts and numbers has; download it again") from None
    except Exception as error:  # A broken pickle fails in many ways; each of them is this one fault.
        raise DataError(
            f"{path} is no whole pickle ({type(error).__name__}: {str(error)[:80]!r}); copy or download it again"
        ) from None
