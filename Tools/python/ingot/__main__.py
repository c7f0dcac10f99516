"""`python -m ingot`: the command, from the wheel that this module came in."""

import os
import sys

from . import _command


def main() -> None:
    path = _command.path()
    if path is None:
        sys.exit("ingot: the command did not come with this module; it is in the wheel that Tools/wheel builds")
    os.execv(path, [path, *sys.argv[1:]])


main()
