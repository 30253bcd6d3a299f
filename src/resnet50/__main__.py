"""`python -m resnet50`, for launchers such as torchrun."""

from resnet50.cli import main

main()
