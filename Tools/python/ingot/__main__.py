"""`python -m ingot`: the command, from the wheel that this module came in."""

import os
import sys
import sysconfig


def main() -> None:
    schemes = ["", *(s for s in sysconfig.get_scheme_names() if s.endswith("_user"))]
    for scheme in schemes:
        path = os.path.join(sysconfig.get_path("scripts", scheme) if scheme else sysconfig.get_path("scripts"), "ingot")
        if os.access(path, os.X_OK):
            os.execv(path, [path, *sys.argv[1:]])
    sys.exit("ingot: the command did not come with this module; it is in the wheel that Tools/wheel builds")


main()
