"""`python -m alpamayo_ros.cli`."""

from alpamayo_ros.cli import main

main()
