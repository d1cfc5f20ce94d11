"""Text to token ids to batches. HuggingFace `datasets` reads from the hub, `readers.py` local files.

The tokens then lie in a cache of our own.
"""

from normlab.data.batches import Batches
from normlab.data.cache import CacheWarning
from normlab.data.corpus import Corpus, load_corpus
from normlab.data.floors import Floors
from normlab.data.objectives import build_objective, split

__all__ = ["Batches", "CacheWarning", "Corpus", "Floors", "build_objective", "load_corpus", "split"]
