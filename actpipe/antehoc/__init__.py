"""Language models that are sparse by training, and their dense twins.

One architecture a file; this list is what is known, and loading it loads torch.
"""

from .architecture import Architecture, Network
from .gpt import GPT
from .units import Units

ARCHITECTURES: dict[str, type[Architecture]] = {each.name: each for each in (GPT,)}

__all__ = ["ARCHITECTURES", "GPT", "Architecture", "Network", "Units"]
