"""``python -m sundog``: the command line without its script."""

import sys

from sundog.cli import main

if __name__ == "__main__":
    sys.exit(main())
