"""`python -m nbckpt` is the `nbckpt` command."""

import sys

from nbckpt.front.cli import main

if __name__ == "__main__":
    sys.exit(main())
