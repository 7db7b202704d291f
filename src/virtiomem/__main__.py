"""`python -m virtiomem`: the command line."""

import sys

from virtiomem.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
