"""`python -m training`: how `accelerate launch --module training` starts `maeum-train` on several processes."""

import sys

from .cli import main

sys.exit(main())
