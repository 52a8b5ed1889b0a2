"""`python -m lite3r`: the command line."""

import sys

from lite3r.main import main

if __name__ == "__main__":
    sys.exit(main())
