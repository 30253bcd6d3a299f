"""What a classifier says of one image."""

from dataclasses import dataclass, field
from html import escape

from resnet50.runtime.stats import percent

SHOWN = 3
"""Classes that a printed prediction names."""


@dataclass(frozen=True, repr=False)
class Prediction:
    """The likeliest class of an image and the probability of every class.

    Attributes:
        label: The likeliest class.
        probabilities: Probability by class; they sum to 1.
        source: The image's path; empty for an image that is not a file.
    """

    label: str
    probabilities: dict[str, float]
    source: str = field(default="", compare=False)

    @property
    def confidence(self) -> float:
        """Probability of the likeliest class."""
        return self.probabilities[self.label]

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the `k` likeliest classes with their probabilities, likeliest first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]

    def __str__(self) -> str:
        likeliest = ", ".join(f"{label} {percent(probability)}" for label, probability in self.top(SHOWN))
        return f"{self.source}: {likeliest}" if self.source else likeliest

    def __repr__(self) -> str:
        return f"Prediction({self})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align:left">{escape(label)}</th><td>{percent(probability)}</td>'
            f'<td><meter value="{probability:.4f}"></meter></td></tr>'
            for label, probability in self.top(SHOWN)
        )
        caption = f"<caption>{escape(self.source)}</caption>" if self.source else ""
        return f"<table>{caption}{rows}</table>"
