"""Reads C++ virtual tables and functions out of x86-64 ELF files that keep their symbols.

In the Itanium C++ ABI a class's table is the object `_ZTV<class>`: per base an offset to top, a
pointer to the type information, and one pointer per virtual function, in slot order. In a shared
library these pointers are relocations, so a table can be read without loading the file.
"""

from __future__ import annotations

import pathlib
import re

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

_R_X86_64_64, _R_X86_64_RELATIVE = 1, 8
_POINTER = 8
_CODE_OF_A_FORWARDING_CALL = re.compile(
    rb"\x48\x8b\x7f\x08"  # mov rdi, [rdi + 8]: the implementation object
    rb"\x48\x8b\x07"  # mov rax, [rdi]: its virtual table
    rb"\xff[\x50\x60](.)",  # call or jmp [rax + offset]
    re.DOTALL,
)


class SharedObject:
    """Symbols and pointers of one shared object."""

    def __init__(self, path: pathlib.Path) -> None:
        with path.open("rb") as file:
            elf = ELFFile(file)
            self._bytes = {
                s["sh_addr"]: s.data() for s in elf.iter_sections() if s["sh_flags"] & 4
            }  # executable sections
            self.symbols: dict[str, tuple[int, int]] = {}  # name -> address, size
            names_at: dict[int, set[str]] = {}
            for table in (".symtab", ".dynsym"):
                for symbol in elf.get_section_by_name(table).iter_symbols():
                    if symbol["st_value"]:
                        self.symbols[symbol.name] = (symbol["st_value"], symbol["st_size"])
                        names_at.setdefault(symbol["st_value"], set()).add(symbol.name)
            self._pointers: dict[int, set[str]] = {}
            for section in elf.iter_sections():
                if not isinstance(section, RelocationSection) or not section.is_RELA():
                    continue
                dynamic_symbols = elf.get_section(section["sh_link"])
                for relocation in section.iter_relocations():
                    if relocation["r_info_type"] == _R_X86_64_RELATIVE:
                        names = names_at.get(relocation["r_addend"], set())
                    elif relocation["r_info_type"] == _R_X86_64_64:
                        names = {dynamic_symbols.get_symbol(relocation["r_info_sym"]).name}
                    else:
                        continue
                    self._pointers[relocation["r_offset"]] = names

    def vtable(self, mangled_class: str) -> list[set[str]]:
        """The slots of a class's primary table: the mangled names of each slot's function."""
        address, size = self.symbols[f"_ZTV{mangled_class}"]
        slots: list[set[str]] = []
        for slot in range(address + 2 * _POINTER, address + size, _POINTER):
            names = self._pointers.get(slot, set())
            if not names or any(name.startswith("_ZTI") for name in names):
                break  # the part of the next base begins
            slots.append(names)
        return slots

    def forwarded_slot(self, function: str) -> int:
        """The slot that an inline method calls on the implementation object behind it."""
        address, size = self.symbols[function]
        for start, code in self._bytes.items():
            if start <= address < start + len(code):
                body = code[address - start : address - start + size]
                match = _CODE_OF_A_FORWARDING_CALL.search(body)
                if match is None:
                    raise ValueError(f"{function} forwards no call: {body.hex()}")
                return match.group(1)[0] // _POINTER
        raise ValueError(f"{function} is in no section")


def is_method(mangled: str, name: str) -> bool:
    """Whether a mangled function name is that of method `name`, of whatever class."""
    return f"{len(name)}{name}E" in mangled


def is_destructor(mangled: str) -> bool:
    """Whether a mangled function name is that of a destructor."""
    return re.search(r"D[012]Ev", mangled) is not None
