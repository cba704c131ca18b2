"""`python -m GTRStagingLib` is `gtrstaging`."""

import sys

from GTRStagingLib.cli import main

sys.exit(main())
