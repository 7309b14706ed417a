"""What a model file says of itself where nobody brings the bundle along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PROBABILITIES = "probabilities"
PRODUCER = "tofa-edge"
PIXELS = "uint8 RGB, 0..255; normalised inside"


@dataclass(frozen=True, eq=False, slots=True)
class Labelling:
    """Makes a written model one that other programs can use: its output is `probabilities`.

    They are softmax(logits / temperature), float32, (N, classes).

    Attributes:
        classes: names in the order of the logits, without control characters.
        temperature: that logits are divided by, > 0.
        about: what else to say of the model, by key.
        version: of the package that writes it.
    """

    classes: tuple[str, ...]
    temperature: float
    about: Mapping[str, str]
    version: str

    @property
    def description(self) -> str:
        """All that `about` says, a line for each key."""
        return "\n".join(f"{key}: {text}" for key, text in self.about.items())
