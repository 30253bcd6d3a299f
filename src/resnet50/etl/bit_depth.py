"""The question that a source of deep images may leave open: how many of their bits are in use."""

import pandas as pd

from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

DEPTHS = (8, 10, 12, 14, 16)
"""What cameras, scanners and microscopes write, in bits."""

EIGHTH = 65536 / 8
"""16-bit images that all stay below this probably use fewer bits, and would be nearly black."""


def ask_for_bit_depth(rows: pd.DataFrame, options: PrepareOptions) -> None:
    """Raise a UserError where nothing says how many bits of deep images are in use, and 16 are unlikely.

    Args:
        rows: as `read_images` returns them.
        options: with which they were read.
    """
    if options.bit_depth is not None:
        return
    deep = rows[rows["peak"].notna()]
    unknown = deep["out_of_range"]
    assumed, refused = deep.loc[~unknown, "peak"], deep.loc[unknown, "peak"]
    if len(assumed) and assumed.max() < EIGHTH:
        images, peak = f"all {len(assumed):,} images of 16 bits", int(assumed.max())
        why = "as 16 bits they would be nearly black"
    elif len(refused) > len(rows) / 2:
        images, peak = f"{len(refused):,} images of more than 8 bits", int(refused.max())
        why = "nothing says which value is white"
    else:
        return
    fitting = [depth for depth in DEPTHS if 2**depth > peak]
    raise UserError(
        f"{images} stay at or below {peak:,}: {why}. Say with --bit-depth how many bits they use: "
        f"{' or '.join(map(str, fitting))}",
        [{"bit_depth": str(depth)} for depth in fitting],
    )
