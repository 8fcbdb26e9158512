"""``python -m nnstudent``: the command, where its script is not on the path."""

import sys

from nnstudent.cli import main

sys.exit(main())
