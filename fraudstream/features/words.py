"""
Words, ids and places as the small numbers that records keep.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import xxhash
from numpy.typing import NDArray

#: Code of a field that the transaction lacks.
MISSING = 0
#: Cells from pole to pole and around: 0.0027 by 0.0055 degrees, about 300 by 600 metres at the equator.
_ROWS, _COLUMNS = 65_535, 65_536


def word(text: str | None) -> int:
    """
    Return the 32-bit code of a word: never 0, except for None. Different words share one in about four billion.
    """
    if text is None:
        return MISSING
    return (xxhash.xxh3_64_intdigest(text.encode()) & 0xFFFF_FFFF) or 1


def words(texts: Sequence[str | None]) -> NDArray[np.uint32]:
    """
    Return the codes of many words: shape (texts,).
    """
    known = cast("Sequence[str]", texts) if all(texts) else [text for text in texts if text is not None]
    codes = hashes(known).astype(np.uint32)
    codes[codes == MISSING] = 1
    if len(known) == len(texts):
        return codes
    found = np.full(len(texts), MISSING, np.uint32)
    found[[text is not None for text in texts]] = codes
    return found


def hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """
    Return the 64-bit hash (XXH3) of each text: shape (texts,).
    """
    return np.array(list(map(xxhash.xxh3_64_intdigest, map(str.encode, texts))), np.uint64)


def places(latitudes: NDArray[np.float64], longitudes: NDArray[np.float64]) -> NDArray[np.uint32]:
    """
    Return the cell of the globe that each position lies in, 0 where it is unknown (NaN).

    Args:
        latitudes: Degrees north, -90 to 90.
        longitudes: Degrees east, -180 to 180.
    """
    known = ~(np.isnan(latitudes) | np.isnan(longitudes))
    north = np.where(known, latitudes, 0.0)
    east = np.where(known, longitudes, 0.0)
    row = 1 + np.clip(np.floor((north + 90.0) / 180.0 * _ROWS), 0, _ROWS - 1).astype(np.uint32)
    column = np.floor((east + 180.0) / 360.0 * _COLUMNS).astype(np.int64) % _COLUMNS
    return np.where(known, row << 16 | column.astype(np.uint32), MISSING).astype(np.uint32)


def position(cells: NDArray[np.uint32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Return the centre of each cell: latitude and longitude in radians.
    """
    row = (cells >> 16).astype(np.float64)
    column = (cells & 0xFFFF).astype(np.float64)
    return np.radians((row - 0.5) / _ROWS * 180.0 - 90.0), np.radians((column + 0.5) / _COLUMNS * 360.0 - 180.0)
