"""name -> source (official files, Parquet, folder, synthetic) -> decoded arrays in the cache -> batches.

Importing this imports no torch; `bench.data.batches` does.
"""

from bench.data.image_set import ImageSet
from bench.data.resolve import check_name, found, prepare, tracks_of

__all__ = ["ImageSet", "check_name", "found", "prepare", "tracks_of"]
