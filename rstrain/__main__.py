"""`python -m rstrain`, which is also what torchrun starts."""

from rstrain.cli import main

main()
