"""What Python runs when it is given a kit."""

from __future__ import annotations

import sys

from retread.smoke.runtime.program import main

sys.exit(main(sys.argv[0]))
