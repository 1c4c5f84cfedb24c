"""``python -m sharegate``."""

import sys

from sharegate.cli.main import main

sys.exit(main())
