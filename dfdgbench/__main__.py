import sys

from dfdgbench.cli.main import main

sys.exit(main())
