"""Runs `resnet50` with networks as wide as those of the test that starts it, which the variable WIDTHS gives."""

import os
import sys

from resnet50.cli import main
from resnet50.model import resnet

if __name__ == "__main__":
    resnet.WIDTHS = tuple(map(int, os.environ["WIDTHS"].split()))
    main(sys.argv[1:])
