"""python -m edge_llm_plugins: the command of the wheel."""

import sys

from edge_llm_plugins.cli.main import main

sys.exit(main())
