"""Where the command is that came with this module."""

from __future__ import annotations

import os
import shutil
import sysconfig
from typing import Optional


def path() -> Optional[str]:
    """The command `ingot` of the environment that this module is in, or else that on the PATH; None where there is none."""
    schemes = ["", *(s for s in sysconfig.get_scheme_names() if s.endswith("_user"))]
    for scheme in schemes:
        found = os.path.join(sysconfig.get_path("scripts", scheme) if scheme else sysconfig.get_path("scripts"), "ingot")
        if os.path.isfile(found) and os.access(found, os.X_OK):
            return found
    return shutil.which("ingot")
