# %% [markdown]
# # Quick start
#
# From a table of images to a classifier, in a notebook. The images here are drawn on the spot, and the network is small
# and trained from scratch, so everything runs on a laptop in a minute and nothing is downloaded. With your own images,
# start at *Prepare* and leave the options of `train` out: the default is a ResNet-50 that starts from ImageNet weights.

# %%
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

import resnet50 as rn

rn.__version__

# %% [markdown]
# ## Images and a table
#
# Ellipses in the colors of three fruits, and a DataFrame that says which is which.

# %%
COLORS = {"apple": (190, 50, 50), "lemon": (220, 200, 60), "lime": (130, 180, 60)}


def draw(fruit, rng):
    image = Image.fromarray(rng.integers(100, 180, (48, 48, 3), dtype=np.uint8))
    x, y = rng.integers(16, 32, 2).tolist()
    width, height = rng.integers(8, 15, 2).tolist()
    color = np.clip(COLORS[fruit] + rng.normal(0, 30, 3), 0, 255).astype(int)
    ImageDraw.Draw(image).ellipse((x - width, y - height, x + width, y + height), fill=tuple(color.tolist()))
    return image


rng = np.random.default_rng(0)
images = Path("quickstart/images")
images.mkdir(parents=True, exist_ok=True)
fruits = [*COLORS] * 100
table = pd.DataFrame({"image_id": [f"{number:03}" for number in range(len(fruits))], "fruit": fruits})
for image_id, fruit in table.itertuples(index=False):
    draw(fruit, rng).save(images / f"{image_id}.png")
table.head(3)

# %% [markdown]
# ## Prepare
#
# `prepare` reads every image, audits the table, and divides the images into a training, a validation and a test split.

# %%
data = rn.prepare(table, "quickstart/dataset", images=images, label_column="fruit", overwrite=True)

# %%
data

# %%
data.show(9)

# %%
data.audit

# %% [markdown]
# Where a source can be read in several ways, `prepare` asks instead of guessing: `UserError.choices` has the keyword
# arguments that select each reading.

# %%
ripe = table.assign(ripe=rng.choice(["yes", "no"], len(table)))
try:
    rn.prepare(ripe, "quickstart/ripe", images=images)
except rn.UserError as error:
    print(error.choices)

# %% [markdown]
# ## Train
#
# `train` takes the options of the command line as keywords, which an editor completes.

# %%
run = rn.train(
    data,
    "quickstart/run",
    epochs=6,
    batch_size=16,
    depth=18,
    weights="none",
    image_size=32,
    threads=1,
    overwrite=True,
)

# %%
run

# %%
run.plot()

# %%
run.history[["epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy"]].tail(3)

# %% [markdown]
# ## Evaluate

# %%
evaluation = run.evaluate("test")

# %%
evaluation

# %%
evaluation.plot_confusion()

# %%
evaluation.mistakes(3)[["image_id", "label", "prediction", "confidence"]]

# %% [markdown]
# ## Predict
#
# `predict` takes paths, bytes, Pillow images and arrays: one of them, or many.

# %%
model = rn.load(run)
model.predict(draw("lemon", rng))

# %%
model.predict([draw(fruit, rng) for fruit in COLORS])

# %%
model.features([draw("apple", rng)]).shape

# %% [markdown]
# ## The network alone
#
# `create_model` builds an ordinary `nn.Module`; `weights` may be `"imagenet"`, a file, or a run.

# %%
network = rn.create_model("resnet18", weights=run, num_classes=10)
network.fc
