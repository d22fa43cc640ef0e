"""`python -m spr`: the command line, for launchers that start a module."""

from spr.cli import main

main()
