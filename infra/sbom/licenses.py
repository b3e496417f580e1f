#!/usr/bin/env python3
"""Writes the license texts of the program's parts, as their licenses require of whoever passes the
binary on, to the named file. Parts with the same text share it. The same sources give the same
bytes.
"""

import re
import sys
from pathlib import Path

from sbom import PROGRAM, VENDORED, compiled_in, metadata, targets

TEXTS = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|COPYRIGHT|UNLICENSE)", re.I)
RULE = "=" * 80


def parts() -> dict[str, dict]:
    """Returns the crates that are compiled in for any target, those of this repository left out."""
    found = {}
    for target in targets():
        known = metadata(target)
        packages = {package["id"]: package for package in known["packages"]}
        used = (packages[crate] for crate in compiled_in(known))
        found |= {f"{one['name']} {one['version']}": one for one in used if one["source"]}
    return found


def texts(package: dict) -> list[str]:
    """Returns the license texts that a crate has at its top."""
    folder = Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file() and TEXTS.match(path.name))
    return [path.read_text(errors="replace").strip() for path in files]


def document() -> str:
    of_text: dict[str, list[str]] = {}
    without = []
    for name, package in sorted(parts().items()):
        found = texts(package)
        if not found:
            without.append(f"{name}: {package['license']}, {package['repository']}")
        for text in found:
            of_text.setdefault(text, []).append(name)
    without += [f"{name} {version}: {license}" for name, version, license, _ in VENDORED]
    pieces = [f"License texts of the parts of {PROGRAM}. Its own license is in LICENSE."]
    pieces += [f"{', '.join(names)}:\n\n{text}" for text, names in of_text.items()]
    if without:
        pieces.append("Published without a text of their license:\n\n" + "\n".join(without))
    return f"\n\n{RULE}\n\n".join(pieces) + "\n"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: licenses.py FILE")
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document())


if __name__ == "__main__":
    main()
