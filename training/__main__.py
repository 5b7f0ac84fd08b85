"""`python -m training`: how `accelerate launch --module training` starts `maeum-train` on several processes."""

import sys

from training.cli import main

sys.exit(main())
