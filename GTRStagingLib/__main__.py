"""`python -m GTRStagingLib` is `gtrstaging`."""

import sys

from GTRStagingLib.cli.main import main

sys.exit(main())
