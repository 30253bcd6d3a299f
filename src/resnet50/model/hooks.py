"""Looking at named intermediate values without touching the network: `record(...)` around a forward pass."""

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from torch import Tensor, nn

from resnet50.model.resnet import STAGES, BasicBlock, Bottleneck, ResNet

Kept = TypeVar("Kept")

Look = Callable[[Tensor, Tensor], Kept]
"""Maps a module's input and output to what is kept of them: a tensor, a norm, a picture."""


def output(x: Tensor, y: Tensor) -> Tensor:
    """Keep the output as it is (`Look`). An in-place ReLU behind a norm changes what the norm put out."""
    del x
    return y


def output_with_gradient(x: Tensor, y: Tensor) -> Tensor:
    """Keep the output, and its gradient as `.grad` once the backward pass has been there (`Look`)."""
    del x
    y.retain_grad()
    return y


@contextmanager
def record(network: nn.Module, names: Iterable[str], look: Look[Kept] = output) -> Generator[dict[str, Kept]]:
    """Keep something of named modules whenever the network runs inside this context; the last pass counts.

    Args:
        network: any; nothing of it changes, and nothing stays behind when the context ends.
        names: as in `network.named_modules()`, e.g. "layer3.5" or "layer3.5.bn3".
        look: what to keep of a module's input and output; it runs as soon as the module has.

    Yields:
        What was kept, by name, in the order in which the modules ran.

    Raises:
        AttributeError: there is no module of a name.
    """
    kept: dict[str, Kept] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
            del module
            kept.pop(name, None)  # so that the order is that of the last pass
            kept[name] = look(inputs[0], y)

        return keep

    with ExitStack() as stack:
        for name in names:
            handle = network.get_submodule(name).register_forward_hook(hook(name))
            stack.callback(handle.remove)
        yield kept


def has_forward_hooks(network: nn.Module) -> bool:
    """Return whether a hook looks at the forward pass of a module."""
    return any(module._forward_hooks for module in network.modules())  # pyright: ignore[reportPrivateUsage]


def block_names(network: ResNet) -> list[str]:
    """Return the names of the residual blocks in the order an image passes them, e.g. "layer1.0"."""
    return [f"{stage}.{number}" for stage in STAGES[1:] for number in range(len(network.get_submodule(stage)))]  # pyright: ignore[reportArgumentType]


def residual_end(network: ResNet, block: str) -> str:
    """Return the name of the norm that ends a block's residual branch: what it puts out is F(x)."""
    module = network.get_submodule(block)
    assert isinstance(module, BasicBlock | Bottleneck)
    return f"{block}.bn3" if isinstance(module, Bottleneck) else f"{block}.bn2"


@contextmanager
def record_branches(
    network: ResNet, look: Callable[[Tensor, Tensor], Kept], blocks: Iterable[str] | None = None
) -> Generator[dict[str, Kept]]:
    """Keep something of both sides of the additions F(x) + x, as `record` does.

    Args:
        network: with shortcuts of any kind but none.
        look: gets what came through the shortcut (x, projected where the block projects it) and the residual F(x).
        blocks: which ones; all when left out.
    """
    blocks = block_names(network) if blocks is None else list(blocks)
    kept: dict[str, Kept] = {}
    ends = {residual_end(network, block): block for block in blocks}
    projections = {
        f"{block}.downsample": block
        for block in blocks
        if isinstance(getattr(network.get_submodule(block), "downsample", None), nn.Module)
    }
    with (
        record(network, ends) as residuals,
        record(network, projections) as projected,
        ExitStack() as stack,
    ):

        def hook(block: str, end: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
            def keep(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
                del module, y
                kept.pop(block, None)
                kept[block] = look(projected.pop(f"{block}.downsample", inputs[0]), residuals.pop(end))

            return keep

        for end, block in ends.items():
            stack.callback(network.get_submodule(block).register_forward_hook(hook(block, end)).remove)
        yield kept
