"""Show the effect of each level of augmentation on one image, as a JPEG.

.venv/bin/python docs/figures/augmentation.py IMAGE docs/figures/augmentation.jpg
"""

import sys

from PIL import Image, ImageDraw, ImageFont

from resnet50.data.transforms import Augmentation, Preprocess, sample_rng
from resnet50.etl.decode import decode

ROWS = (
    ("none", {"level": "none"}),
    ("light", {"level": "light"}),
    ("light, --flips both", {"level": "light", "flips": "both"}),
    ("standard", {"level": "standard"}),
    ("standard, --crop-scale 0.08", {"level": "standard", "crop_scale": 0.08}),
)
EPOCHS, SIDE, GAP, LABEL = 6, 144, 6, 22


def main(path, out):
    """Write a sheet with a row for each level and a column for each epoch."""
    image = decode(path)
    preprocess = Preprocess().resized(SIDE)
    sheet = Image.new("RGB", (EPOCHS * (SIDE + GAP) + GAP, len(ROWS) * (SIDE + LABEL + GAP) + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, (name, options) in enumerate(ROWS):
        top = GAP + row * (SIDE + LABEL + GAP)
        draw.text((GAP, top), f"--augment {name}", fill="black", font=font)
        augmentation = Augmentation(preprocess=preprocess, **options)
        for epoch in range(EPOCHS):
            pixels = augmentation(image, sample_rng(0, epoch, 7))
            sheet.paste(Image.fromarray(pixels), (GAP + epoch * (SIDE + GAP), top + LABEL))
    sheet.save(out, quality=85)


if __name__ == "__main__":
    main(*sys.argv[1:])
