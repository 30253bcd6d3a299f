"""Forward hooks on named modules: record intermediate values without changing the network."""

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from torch import Tensor, nn

from resnet50.model.resnet import STAGES, BasicBlock, Bottleneck, ResNet

T = TypeVar("T")

HookFn = Callable[[Tensor, Tensor], T]
"""Maps a module's input and output to the value to record: a tensor, a norm, an image."""


def output(x: Tensor, y: Tensor) -> Tensor:
    """Record the output itself (a `HookFn`). An in-place ReLU that follows a norm overwrites the norm's output."""
    del x
    return y


def output_with_gradient(x: Tensor, y: Tensor) -> Tensor:
    """Record the output, with its gradient as `.grad` after the backward pass (a `HookFn`)."""
    del x
    y.retain_grad()
    return y


@contextmanager
def record(network: nn.Module, names: Iterable[str], hook_fn: HookFn[T] = output) -> Generator[dict[str, T]]:
    """Record a value of named modules during each forward pass inside this context; later passes overwrite it.

    Args:
        network: any network; its hooks are removed when the context ends.
        names: as in `network.named_modules()`, e.g. "layer3.5" or "layer3.5.bn3".
        hook_fn: computes the value from a module's input and output, right after the module has run.

    Yields:
        The recorded values by name, in the order in which the modules ran.

    Raises:
        AttributeError: the network has no module of a name.
    """
    recorded: dict[str, T] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def save(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
            del module
            recorded.pop(name, None)  # keep the order of the last pass
            recorded[name] = hook_fn(inputs[0], y)

        return save

    with ExitStack() as stack:
        for name in names:
            handle = network.get_submodule(name).register_forward_hook(hook(name))
            stack.callback(handle.remove)
        yield recorded


def has_forward_hooks(network: nn.Module) -> bool:
    """Return whether any module of the network has a forward hook."""
    return any(module._forward_hooks for module in network.modules())  # pyright: ignore[reportPrivateUsage]


def block_names(network: ResNet) -> list[str]:
    """Return the names of the residual blocks in forward order, e.g. "layer1.0"."""
    return [f"{stage}.{number}" for stage in STAGES[1:] for number in range(len(network.get_submodule(stage)))]  # pyright: ignore[reportArgumentType]


def residual_end(network: ResNet, block: str) -> str:
    """Return the name of the batch norm that ends a block's residual branch: its output is F(x)."""
    module = network.get_submodule(block)
    assert isinstance(module, BasicBlock | Bottleneck)
    return f"{block}.bn3" if isinstance(module, Bottleneck) else f"{block}.bn2"


@contextmanager
def record_branches(
    network: ResNet, hook_fn: Callable[[Tensor, Tensor], T], blocks: Iterable[str] | None = None
) -> Generator[dict[str, T]]:
    """Record a value of both terms of the additions F(x) + x, in the manner of `record`.

    Args:
        network: with shortcuts of any kind but none.
        hook_fn: gets the shortcut's output (x, or its projection) and the residual F(x), N×C×H×W each.
        blocks: names of the blocks; all by default.
    """
    blocks = block_names(network) if blocks is None else list(blocks)
    recorded: dict[str, T] = {}
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
            def save(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
                del module, y
                recorded.pop(block, None)
                recorded[block] = hook_fn(projected.pop(f"{block}.downsample", inputs[0]), residuals.pop(end))

            return save

        for end, block in ends.items():
            stack.callback(network.get_submodule(block).register_forward_hook(hook(block, end)).remove)
        yield recorded
