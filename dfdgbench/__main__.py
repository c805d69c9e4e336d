"""``python -m dfdgbench``."""

import sys

from dfdgbench.cli.main import main

sys.exit(main())
