"""Run the command line by `python -m GTRStagingLib`."""

import sys

from GTRStagingLib.cli.main import main

sys.exit(main())
