"""Programs that stand for tools: what they are told is kept, what they say is chosen."""

from __future__ import annotations

import stat
import sys
from pathlib import Path


def fake(folder: Path, name: str, body: str, *, python: str = sys.executable) -> Path:
    """Write a program; in its body, ``argv`` are the arguments and ``here`` is its folder."""
    path = folder / name
    path.write_text(f"#!{python}\nimport json, sys\nfrom pathlib import Path\n"
                    f"argv = sys.argv[1:]\nhere = Path({str(folder)!r})\n"
                    f"with open(here / {name + '.log'!r}, 'a') as log:\n"
                    f"    log.write(json.dumps(argv) + '\\n')\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
