"""What an ELF shared library says of itself: read from its file, never loaded, so that foreign code never runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ccdeploy.errors import UsageError, first_line

_MACHINES = {"EM_X86_64": "x86-64", "EM_AARCH64": "aarch64", "EM_ARM": "arm", "EM_386": "x86"}


@dataclass(frozen=True)
class SharedObject:
    """One library."""

    machine: str
    """What its code is for: "x86-64", "aarch64"; ELF's own name of others."""
    needed: tuple[str, ...]
    """Libraries that are loaded with it, by the names that the loader looks for."""
    exported: tuple[str, ...]
    """Functions and data that others can find in it, sorted."""


def read_shared_object(path: Path) -> SharedObject:
    """Reads a library's header and its dynamic sections.

    Raises:
        UsageError: it cannot be read, or is not a whole ELF file.
    """
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            dynamic, symbols = elf.get_section_by_name(".dynamic"), elf.get_section_by_name(".dynsym")
            needed = dynamic.iter_tags("DT_NEEDED") if isinstance(dynamic, DynamicSection) else ()
            # The parser gives these tags this attribute when it meets them; its types do not know.
            names = tuple(str(tag.needed) for tag in needed)
            exported = {
                str(symbol.name)
                for symbol in (symbols.iter_symbols() if isinstance(symbols, SymbolTableSection) else ())
                if symbol.name and symbol["st_shndx"] != "SHN_UNDEF"
            }
            machine = str(elf["e_machine"])
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except Exception as error:  # of a damaged file the parser raises many types
        raise UsageError(f"{path} is not a whole ELF file ({first_line(error)}).", "Copy or build it again.") from error
    return SharedObject(_MACHINES.get(machine, machine), names, tuple(sorted(exported)))
