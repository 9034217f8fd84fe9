"""Run the command: ``python -m sknoisy``."""

from .audit.command import main

raise SystemExit(main())
