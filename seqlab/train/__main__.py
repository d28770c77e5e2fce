"""`python -m seqlab.train`."""

import sys

from seqlab.train.command import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
