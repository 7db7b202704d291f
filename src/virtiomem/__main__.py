"""`python -m virtiomem`: the command line."""

import sys

from virtiomem.cli import start

if __name__ == "__main__":
    sys.exit(start())
