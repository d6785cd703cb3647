"""Randomness by counter, so that no thread count, chunk or batch split changes a draw.

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): ten rounds of
multiply and xor turn a counter of four words and a key of two into four random words.
"""
from libc.stdint cimport uint32_t, uint64_t

from .real cimport real


cdef inline void philox(uint32_t *counter, uint32_t key_0, uint32_t key_1) noexcept nogil:
    """Replace the counter's four words by four random ones."""
    cdef:
        uint64_t a, b
        uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3]
        Py_ssize_t _
    for _ in range(10):
        a = 0xD2511F53ULL * c0
        b = 0xCD9E8D57ULL * c2
        c0 = <uint32_t> (b >> 32) ^ c1 ^ key_0
        c1 = <uint32_t> b
        c2 = <uint32_t> (a >> 32) ^ c3 ^ key_1
        c3 = <uint32_t> a
        key_0 += 0x9E3779B9U
        key_1 += 0xBB67AE85U
    counter[0], counter[1], counter[2], counter[3] = c0, c1, c2, c3


cdef inline void dropout(
    const real *x,                  # (n,)
    real *y,                        # (n,)   OUT, may be x
    Py_ssize_t n,
    double rate,                    # share set to zero, 0 <= rate < 1
    uint64_t seed,
    uint64_t layer,
    uint64_t epoch,
    uint64_t sample,
    Py_ssize_t first_block,         # of the sample's blocks of four elements
) noexcept nogil:
    """y = x / (1 - rate) where the element's draw keeps it, else 0: one draw per seed, layer, epoch, sample, element.

    The counter holds the block of four elements, the sample (two words) and the epoch; the key the seed and layer.
    """
    cdef:
        uint32_t[4] words
        uint32_t limit = <uint32_t> (rate * 4294967296.0)
        uint32_t key_0 = <uint32_t> seed
        uint32_t key_1 = (<uint32_t> (seed >> 32)) ^ (<uint32_t> layer * 0x9E3779B9U)
        real scale = <real> (1 / (1 - rate))
        Py_ssize_t block, i
    for block in range((n + 3) // 4):
        words[0] = <uint32_t> (first_block + block)
        words[1] = <uint32_t> sample
        words[2] = <uint32_t> (sample >> 32)
        words[3] = <uint32_t> epoch
        philox(words, key_0, key_1)
        for i in range(4 * block, min(4 * block + 4, n)):
            y[i] = x[i] * scale if words[i & 3] >= limit else 0
