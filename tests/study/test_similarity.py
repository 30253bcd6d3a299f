"""CKA: what it must be by definition, and where there is nothing in common."""

import numpy as np
import pytest
import torch
from torch import Tensor

from resnet50.data.transforms import Preprocess
from resnet50.model.resnet import ResNet
from resnet50.study.similarity import block_grams, cka, gram, unbiased_hsic


def features(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def similarity(x: Tensor, y: Tensor) -> float:
    stacks = [[gram(part, part)[None] for part in values.split(32)] for values in (x, y)]
    return float(cka(stacks[0], stacks[1]).item())


def test_features_are_like_themselves_turned_and_scaled() -> None:
    x = features(128, 20, 0)
    turn, _ = torch.linalg.qr(features(20, 20, 1))
    assert similarity(x, x) == pytest.approx(1)
    assert similarity(x, x @ turn) == pytest.approx(1, abs=1e-5)
    assert similarity(x, 7 * x + 3) == pytest.approx(1, abs=1e-5)


def test_other_directions_stretched_are_not_the_same() -> None:
    x = features(256, 20, 0)
    assert similarity(x, x * torch.logspace(-2, 2, 20)) < 0.7


def test_independent_features_have_no_similarity() -> None:
    values = [similarity(features(256, 2000, seed), features(256, 2000, 100 + seed)) for seed in range(5)]
    assert abs(np.mean(values)) < 0.05


def plain_cka(x: Tensor, y: Tensor) -> float:
    """Kornblith et al. 2019, section 3: tr(KHLH) / √(tr(KHKH)·tr(LHLH)), the estimate that is biased upwards."""
    centring = torch.eye(len(x)) - 1 / len(x)
    k, l = centring @ x @ x.T @ centring, centring @ y @ y.T @ centring  # noqa: E741
    return float((k * l).sum() / (k.norm() * l.norm()))


def test_with_many_images_it_is_the_plain_cka() -> None:
    x = features(2000, 6, 0)
    y = x @ features(6, 6, 1) + features(2000, 6, 2)
    assert similarity(x, y) == pytest.approx(plain_cka(x, y), abs=0.02)


def test_with_few_images_the_plain_cka_finds_likeness_where_there_is_none() -> None:
    x, y = features(32, 2000, 0), features(32, 2000, 1)
    assert plain_cka(x, y) > 0.9
    assert abs(similarity(x, y)) < 0.3


def hsic_by_definition(k: Tensor, l: Tensor) -> float:  # noqa: E741  # the paper's letters
    """Average over all quadruples of different images (Song et al. 2012, equation 4): unbiased by definition."""
    n, total, count = len(k), 0.0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += float(k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]))
                        count += 1
    return total / count


def test_the_estimate_is_the_one_of_the_definition() -> None:
    x, y = features(7, 3, 0), features(7, 4, 1)
    k, l = (x @ x.T).double(), (y @ y.T).double()  # noqa: E741
    assert unbiased_hsic(k[None], l[None]).item() == pytest.approx(hsic_by_definition(k, l), rel=1e-6)


def test_a_layer_that_tells_nothing_apart_has_nothing_in_common() -> None:
    constant = [torch.zeros(1, 8, 8, dtype=torch.float64)]
    other = [gram(features(8, 3, 0), features(8, 3, 0))[None]]
    assert cka(constant, other).item() == 0


def test_a_network_is_like_itself_block_by_block() -> None:
    torch.manual_seed(0)
    network = ResNet(18, 2).eval()
    pixels = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    grams = block_grams(network, pixels, Preprocess(size=32, resize=32))
    matrix = cka(grams, grams)
    assert matrix.shape == (8, 8)
    np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_allclose(matrix, matrix.T)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        block_grams(ResNet(18, 2), torch.zeros(6, 3, 32, 32, dtype=torch.uint8), Preprocess(size=32, resize=32))
