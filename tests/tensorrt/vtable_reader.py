"""Reads C++ virtual tables out of x86-64 ELF files that keep their symbols.

In the Itanium C++ ABI a class's table is the object `_ZTV<class>`: per base an offset to top, a
pointer to the type information, and then one pointer per virtual function, in slot order. In a
shared library these pointers are relocations, so the table can be read without loading the file.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import struct

_SHT_SYMTAB, _SHT_RELA, _SHT_DYNSYM = 2, 4, 11
_R_X86_64_64, _R_X86_64_RELATIVE = 1, 8
_POINTER = 8


@dataclasses.dataclass(frozen=True)
class Symbol:
    """One symbol: its mangled name, address and size in bytes."""

    name: str
    value: int
    size: int


class ElfFile:
    """Symbols and pointer relocations of one ELF file."""

    def __init__(self, path: pathlib.Path) -> None:
        self._data = path.read_bytes()
        if self._data[:5] != b"\x7fELF\x02":
            raise ValueError(f"{path}: not a 64-bit ELF file")
        (offset,) = struct.unpack_from("<Q", self._data, 0x28)
        size, count = struct.unpack_from("<HH", self._data, 0x3A)
        self._sections = [
            struct.unpack_from("<IIQQQQIIQQ", self._data, offset + i * size) for i in range(count)
        ]
        self.symbols = [s for kind in (_SHT_SYMTAB, _SHT_DYNSYM) for s in self._symbols(kind)]
        # Several functions may share an address (the linker folds equal ones).
        self.names_at: dict[int, set[str]] = {}
        for symbol in self.symbols:
            if symbol.value:
                self.names_at.setdefault(symbol.value, set()).add(symbol.name)
        self.pointers = dict(self._pointers())

    def _string(self, section: int, offset: int) -> str:
        start = self._sections[section][4] + offset
        return self._data[start : self._data.index(b"\0", start)].decode()

    def _symbol_table(self, section: tuple[int, ...]) -> list[Symbol]:
        _, _, _, _, offset, size, link, _, _, entry = section
        table = []
        for at in range(offset, offset + size, entry):
            name, _, _, _, value, length = struct.unpack_from("<IBBHQQ", self._data, at)
            table.append(Symbol(self._string(link, name), value, length))
        return table

    def _symbols(self, kind: int) -> list[Symbol]:
        return [s for x in self._sections if x[1] == kind for s in self._symbol_table(x)]

    def _pointers(self):
        """Yields (address, names of what the pointer stored there points to)."""
        for section in self._sections:
            if section[1] != _SHT_RELA:
                continue
            _, _, _, _, offset, size, link, _, _, entry = section
            symbols = self._symbol_table(self._sections[link])
            for at in range(offset, offset + size, entry):
                address, info, addend = struct.unpack_from("<QQq", self._data, at)
                if info & 0xFFFFFFFF == _R_X86_64_RELATIVE:
                    yield address, self.names_at.get(addend, set())
                elif info & 0xFFFFFFFF == _R_X86_64_64:
                    yield address, {symbols[info >> 32].name}

    def vtable(self, mangled_class: str) -> list[set[str]]:
        """Slots of the class's primary table, each as the set of names of its function."""
        (table,) = {s for s in self.symbols if s.name == f"_ZTV{mangled_class}"}
        first = table.value + 2 * _POINTER
        slots = []
        for address in range(first, table.value + table.size, _POINTER):
            names = self.pointers.get(address, set())
            if not names or any(name.startswith("_ZTI") for name in names):
                break  # the next base's part begins
            slots.append(names)
        return slots


def method(mangled: str) -> str:
    """The last component of a mangled function name: `_ZN1a1bC3fooEv` gives "foo"."""
    if mangled == "__cxa_pure_virtual":
        return "pure"
    if re.search(r"D[012]Ev$", mangled):
        return "destructor"
    return mangled
