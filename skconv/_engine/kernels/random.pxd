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


cdef enum:
    TOGETHER = 32       # blocks whose rounds run side by side; GCC 12 unrolls loops over 16 and vectorises nothing


cdef inline void philox_blocks(
    uint32_t first,                 # block: first word of the first counter, the next ones have first + 1, ...
    uint32_t word_1,                # the other words of all counters
    uint32_t word_2,
    uint32_t word_3,
    uint32_t key_0,
    uint32_t key_1,
    uint32_t *words,                # (TOGETHER, 4)   OUT
) noexcept nogil:
    """What `philox` makes of TOGETHER counters in a row.

    Loop order: rounds, then blocks. One block is a chain of ten multiplications, each waiting for the one before:
    64 draws one by one take 440 ns, side by side 65 with AVX-512, 160 with AVX2, 120 with SSE2. Products have a loop of
    their own, because only then are they compiled to those of 32 bits by 32.
    """
    cdef:
        uint32_t[TOGETHER] c0, c1, c2, c3
        uint64_t[TOGETHER] a, b
        Py_ssize_t i, _
    for i in range(TOGETHER):
        c0[i] = first + <uint32_t> i
        c1[i], c2[i], c3[i] = word_1, word_2, word_3
    for _ in range(10):
        for i in range(TOGETHER):
            a[i] = 0xD2511F53ULL * c0[i]
        for i in range(TOGETHER):
            b[i] = 0xCD9E8D57ULL * c2[i]
        for i in range(TOGETHER):
            c0[i] = <uint32_t> (b[i] >> 32) ^ c1[i] ^ key_0
            c1[i] = <uint32_t> b[i]
            c2[i] = <uint32_t> (a[i] >> 32) ^ c3[i] ^ key_1
            c3[i] = <uint32_t> a[i]
        key_0 += 0x9E3779B9U
        key_1 += 0xBB67AE85U
    for i in range(TOGETHER):
        words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3] = c0[i], c1[i], c2[i], c3[i]


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
        uint32_t[4 * TOGETHER] words
        uint32_t limit = <uint32_t> (rate * 4294967296.0)
        uint32_t key_0 = <uint32_t> seed
        uint32_t key_1 = (<uint32_t> (seed >> 32)) ^ (<uint32_t> layer * 0x9E3779B9U)
        real scale = <real> (1 / (1 - rate))
        Py_ssize_t start = 0, i
    while start < n:
        philox_blocks(<uint32_t> (first_block + start // 4), <uint32_t> sample, <uint32_t> (sample >> 32),
                      <uint32_t> epoch, key_0, key_1, words)
        for i in range(min(4 * TOGETHER, n - start)):
            y[start + i] = x[start + i] * scale if words[i] >= limit else 0
        start += 4 * TOGETHER
