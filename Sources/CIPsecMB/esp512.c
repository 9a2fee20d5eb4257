// AES-128-GCM of whole ESP packets, where the processor has AES and carry-less multiplication for vectors of 64 octets:
// NIST SP 800-38D, RFC 4106. Keys are libipsec-mb's tables; key expansion and everything else stay with the library.
//
//             | SPI, sequence number, IV | text  …                                        | ICV |
//   vectors   | block 0                    block 1      2      3 |     4      5  …
//   counter     1                                2      3      4 |     5      6  …
//   hashed      SPI, sequence number, 0    ciphertext …                               and the lengths
//
// GCM masks the ICV with the key stream's block 1, encrypts text from block 2 on, and hashes what is authenticated
// besides before the ciphertext. In ESP all that is one row without gaps: the 16 octets before the text stand for
// block 1 in the stream, and in the hash for their first half. So packet, key stream, hash input and the powers of the
// hash key are read side by side, in vectors of four blocks from the SPI on, and no packet has a beginning of its own.
//
// Measured beside the library's own call in one run (Zen 5, TSC cycles a packet, out and in): 26 and 23 where it takes
// 71 and 63 at 64 octets, 73 and 70 for 127 and 112 at 512, 167 and 158 for 215 and 208 at 1420, 967 and 885 for 1001
// and 999 at 8900. What made it:
//
//   * the row above, in place of a header, a body and an end: of 64 octets nearly all are ends
//   * nothing between packets: no context in memory, no wiping of it; registers are wiped once a burst
//   * two short packets at a time, so that there are vectors enough to keep the processor busy
//   * eight vectors at a time through the rounds, so that no round waits for the one before, with the eight before them
//     being hashed meanwhile: what is hashed was encrypted long enough ago
//   * three multiplications a vector for four (Karatsuba), which are what long packets wait for; and text that the last
//     round adds with its key
//   * the lengths, which are hashed last, in the last vector's free place
//   * keys that are fetched four packets ahead: with 10 000 SAs in random order that halved the whole worker's cycles
//
// Nothing here branches on, or addresses memory by, anything but lengths.

#include "esp.h"

#include <immintrin.h>

#define WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,aes,pclmul,vaes,vpclmulqdq,bmi,bmi2")))
#define INLINE static inline __attribute__((always_inline)) WIDE

enum {
    BLOCK = 16,
    VECTOR = 64,
    ROUNDS = 10,
    // Powers of the hash key in the library's table, the highest first.
    POWERS = 48,
    // Vectors at a time, and how many blocks that is.
    MOST = 8,
    MOST_BLOCKS = 4 * MOST,
    // Packets at a time, and their vectors at most.
    TOGETHER = 2,
    SHORT = 3,
    // Keys are fetched so many packets before they are needed.
    KEYS_AHEAD = 4,
};

// A sum of products of 128 by 128 bits, before the reduction: lower and upper halves' products, and the products of the
// halves' sums.
struct products {
    __m512i lower, upper, middle;
};

// A packet on the way.
struct walk {
    const struct gcm_key_data *key;
    // Where the next vector lies, and its counters, the lowest octet first.
    uint8_t *next;
    __m512i counters;
    // Vectors to be hashed, and the power of the hash key for the first block of them.
    __m512i pending[MOST];
    const uint8_t *power;
    // Blocks from there on, without the lengths. Whether the table has a power for each of them.
    uint64_t blocks;
    bool is_last_sum;
    struct products sum;
    // The key stream's first block, which masks the ICV; what is authenticated besides and the text, in bits.
    __m128i mask, lengths;
};

INLINE __m512i in_each_block(__m128i block) { return _mm512_broadcast_i32x4(block); }

// The hash counts bits from the other end (SP 800-38D section 6.3).
INLINE __m512i reversed(__m512i blocks) {
    return _mm512_shuffle_epi8(
        blocks, in_each_block(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

// The last four octets of a block are the counter, the highest first.
INLINE __m512i counter_blocks(__m512i counters) {
    return _mm512_shuffle_epi8(
        counters, in_each_block(_mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)));
}

INLINE void add_products(struct products *sum, __m512i blocks, __m512i powers) {
    const __m512i halves = _mm512_xor_si512(blocks, _mm512_shuffle_epi32(blocks, 0x4e));
    const __m512i power_halves = _mm512_xor_si512(powers, _mm512_shuffle_epi32(powers, 0x4e));
    sum->lower = _mm512_xor_si512(sum->lower, _mm512_clmulepi64_epi128(blocks, powers, 0x00));
    sum->upper = _mm512_xor_si512(sum->upper, _mm512_clmulepi64_epi128(blocks, powers, 0x11));
    sum->middle = _mm512_xor_si512(sum->middle, _mm512_clmulepi64_epi128(halves, power_halves, 0x00));
}

// The sum over all four blocks, modulo x^128 + x^7 + x^2 + x + 1; SUM begins anew. With its bits reversed the
// polynomial is 1 at one end and 0xc2 at the other, and the table's powers are multiplied by x for that: 64 bits at a
// time, from the lowest on, what is too low is added two places above, and its product with 0xc2… one place above.
INLINE __m128i take_sum(struct products *sum) {
    const __m512i polynomial = _mm512_set1_epi64((long long)0xc200000000000000);
    __m512i middle = _mm512_ternarylogic_epi64(sum->middle, sum->lower, sum->upper, 0x96);
    middle = _mm512_ternarylogic_epi64(
        middle, _mm512_clmulepi64_epi128(sum->lower, polynomial, 0x00), _mm512_shuffle_epi32(sum->lower, 0x4e), 0x96);
    const __m512i upper = _mm512_ternarylogic_epi64(
        sum->upper, _mm512_clmulepi64_epi128(middle, polynomial, 0x00), _mm512_shuffle_epi32(middle, 0x4e), 0x96);
    const __m256i two = _mm256_xor_si256(_mm512_castsi512_si256(upper), _mm512_extracti64x4_epi64(upper, 1));
    sum->lower = sum->upper = sum->middle = _mm512_setzero_si512();
    return _mm_xor_si128(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
}

// The blocks that are left are one sum, when there is a power for each and the lengths; else a sum of as many as go
// through the rounds at a time.
INLINE void begin_sum(struct walk *walk) {
    walk->is_last_sum = walk->blocks < POWERS;
    const uint64_t highest = walk->is_last_sum ? walk->blocks + 1 : MOST_BLOCKS;
    walk->power = walk->key->ghash_keys.vaes_avx512.shifted_hkey + BLOCK * (POWERS - highest);
}

// Of each of so many PACKETS, encrypts or decrypts COUNT vectors, which become pending; the MOST that were, if these
// are not the packets' first, are hashed meanwhile. Of a last vector only the PRESENT octets are touched.
INLINE void advance(struct walk *walks, const int packets, const int count, const bool is_first,
                    const __mmask64 *present, const bool is_sealing) {
    __m512i stream[TOGETHER][MOST], key[TOGETHER];
    const uint8_t *keys[TOGETHER];
#pragma GCC unroll 2
    for (int packet = 0; packet < packets; packet++) {
        struct walk *walk = walks + packet;
        keys[packet] = walk->key->expanded_keys;
        // One load for each round: kept over vectors they would be all the registers there are.
        __asm__ volatile("" : "+r"(keys[packet]));
        const __m512i first = in_each_block(_mm_loadu_si128((const __m128i *)keys[packet]));
#pragma GCC unroll 8
        for (int index = 0; index < count; index++) {
            stream[packet][index] = _mm512_xor_si512(counter_blocks(walk->counters), first);
            walk->counters = _mm512_add_epi32(walk->counters, in_each_block(_mm_set_epi32(4, 0, 0, 0)));
        }
    }
#pragma GCC unroll 9
    for (int round = 1; round < ROUNDS; round++) {
#pragma GCC unroll 2
        for (int packet = 0; packet < packets; packet++) {
            struct walk *walk = walks + packet;
            const __m512i next = in_each_block(_mm_loadu_si128((const __m128i *)(keys[packet] + BLOCK * round)));
#pragma GCC unroll 8
            for (int index = 0; index < count; index++)
                stream[packet][index] = _mm512_aesenc_epi128(stream[packet][index], next);
            // One in each round but the first: the last of them are only just encrypted.
            const int hashed = round - 2;
            if (!is_first && hashed >= 0)
                add_products(&walk->sum, walk->pending[hashed], _mm512_loadu_si512(walk->power + VECTOR * hashed));
        }
    }
#pragma GCC unroll 2
    for (int packet = 0; packet < packets; packet++) {
        struct walk *walk = walks + packet;
        // The last round adds its key, and so the text with it. SPI, sequence number and IV stay as they are.
        key[packet] = in_each_block(_mm_loadu_si128((const __m128i *)(keys[packet] + BLOCK * ROUNDS)));
        if (is_first) {
            stream[packet][0] = _mm512_aesenclast_epi128(stream[packet][0], key[packet]);
            walk->mask = _mm512_castsi512_si128(stream[packet][0]);
            stream[packet][0] = _mm512_maskz_mov_epi64(0xfc, stream[packet][0]);
        }
#pragma GCC unroll 8
        for (int index = 0; index < count; index++) {
            uint8_t *place = walk->next + VECTOR * index;
            const __mmask64 octets = index == count - 1 ? present[packet] : ~(__mmask64)0;
            __m512i before = _mm512_maskz_loadu_epi8(octets, place);
            const __m512i after =
                is_first && index == 0
                    ? _mm512_xor_si512(before, stream[packet][0])
                    : _mm512_aesenclast_epi128(stream[packet][index], _mm512_xor_si512(before, key[packet]));
            _mm512_mask_storeu_epi8(place, octets, after);
            if (is_sealing) before = _mm512_maskz_mov_epi8(octets, after);
            // The IV is not authenticated by itself.
            if (is_first && index == 0) before = _mm512_maskz_mov_epi8(0xffffffffffff00ff, before);
            walk->pending[index] = reversed(before);
        }
        walk->next += VECTOR * count;
        if (is_first) continue;
        walk->blocks -= MOST_BLOCKS;
        if (!walk->is_last_sum) {
            const __m512i before = _mm512_zextsi128_si512(take_sum(&walk->sum));
            walk->pending[0] = _mm512_xor_si512(walk->pending[0], before);
            begin_sum(walk);
        } else {
            walk->power += VECTOR * MOST;
        }
    }
}

// The last COUNT vectors, the last of them of so many OCTETS; and the lengths, which end what is hashed.
INLINE void finish(struct walk *walks, const int packets, const int count, const bool is_first, const unsigned *octets,
                   const bool is_sealing) {
    __mmask64 present[TOGETHER];
#pragma GCC unroll 2
    for (int packet = 0; packet < packets; packet++) present[packet] = _bzhi_u64(~0ull, octets[packet]);
    advance(walks, packets, count, is_first, present, is_sealing);
#pragma GCC unroll 2
    for (int packet = 0; packet < packets; packet++) {
        struct walk *walk = walks + packet;
#pragma GCC unroll 8
        for (int index = 0; index < count - 1; index++)
            add_products(&walk->sum, walk->pending[index], _mm512_loadu_si512(walk->power + VECTOR * index));
        // Behind the last block there is a place for the lengths, in this vector or the next.
        const unsigned blocks = (octets[packet] + BLOCK - 1) / BLOCK;
        const __mmask8 up_to_lengths = (__mmask8)_bzhi_u32(0xff, 2 * (blocks + 1));
        const __mmask8 up_to_text = (__mmask8)_bzhi_u32(0xff, 2 * blocks);
        const __m512i lengths = in_each_block(walk->lengths);
        const uint8_t *power = walk->power + VECTOR * (count - 1);
        const __m512i last = _mm512_mask_mov_epi64(walk->pending[count - 1], up_to_lengths & ~up_to_text, lengths);
        add_products(&walk->sum, last, _mm512_maskz_loadu_epi64(up_to_lengths, power));
        if (blocks == VECTOR / BLOCK)
            add_products(&walk->sum, lengths, _mm512_maskz_loadu_epi64(0x03, power + VECTOR));
    }
}

// The last so many VECTORS of each packet, as many for all.
INLINE void finish_any(struct walk *walks, const int packets, uint64_t vectors, const bool is_first,
                       const unsigned *octets, const bool is_sealing) {
    switch (vectors) {
        case 1: return finish(walks, packets, 1, is_first, octets, is_sealing);
        case 2: return finish(walks, packets, 2, is_first, octets, is_sealing);
        case 3: return finish(walks, packets, 3, is_first, octets, is_sealing);
    }
    if (packets > 1) __builtin_unreachable();
    switch (vectors) {
        case 4: return finish(walks, packets, 4, is_first, octets, is_sealing);
        case 5: return finish(walks, packets, 5, is_first, octets, is_sealing);
        case 6: return finish(walks, packets, 6, is_first, octets, is_sealing);
        case 7: return finish(walks, packets, 7, is_first, octets, is_sealing);
        default: return finish(walks, packets, MOST, is_first, octets, is_sealing);
    }
}

INLINE void begin(struct walk *walk, const struct cipsecmb_esp *packet) {
    const __m512i zero = _mm512_setzero_si512(), all = _mm512_set_epi32(4, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0);
    walk->key = packet->key;
    walk->next = (uint8_t *)packet->text - BLOCK;
    walk->blocks = (BLOCK + packet->length + BLOCK - 1) / BLOCK;
    walk->lengths = _mm_set_epi64x(8 * 8, (long long)(8 * packet->length));
    walk->sum = (struct products){zero, zero, zero};
    walk->counters = _mm512_add_epi32(in_each_block(_mm_loadu_si128((const __m128i *)packet->nonce)), all);
    begin_sum(walk);
}

// Writes the ICV: into the packet, or to be compared.
INLINE void end(struct walk *walk, struct cipsecmb_esp *packet, const bool is_sealing) {
    const __m512i hash = reversed(_mm512_castsi128_si512(take_sum(&walk->sum)));
    void *icv = is_sealing ? (uint8_t *)packet->text + packet->length : (uint8_t *)packet->computed_icv;
    _mm_storeu_si128(icv, _mm_xor_si128(_mm512_castsi512_si128(hash), walk->mask));
}

INLINE uint64_t vectors(uint64_t octets) { return (octets + VECTOR - 1) / VECTOR; }
INLINE unsigned in_last_vector(uint64_t octets) { return (unsigned)(octets - 1) % VECTOR + 1; }

// Encrypts or decrypts the text of a packet, and writes the ICV.
INLINE void process(struct cipsecmb_esp *packet, const bool is_sealing) {
    struct walk walk;
    begin(&walk, packet);
    uint64_t octets = BLOCK + packet->length;
    const unsigned last = in_last_vector(octets);
    const uint64_t most = VECTOR * MOST;
    const __mmask64 present = ~(__mmask64)0;
    if (octets <= most) {
        finish_any(&walk, 1, vectors(octets), true, &last, is_sealing);
    } else {
        advance(&walk, 1, MOST, true, &present, is_sealing);
        for (octets -= most; octets > most; octets -= most) advance(&walk, 1, MOST, false, &present, is_sealing);
        finish_any(&walk, 1, vectors(octets), false, &last, is_sealing);
    }
    end(&walk, packet, is_sealing);
}

INLINE bool go_together(const struct cipsecmb_esp *packets) {
    const uint64_t count = vectors(BLOCK + packets[0].length);
    return count <= SHORT && count == vectors(BLOCK + packets[1].length);
}

// Two short packets of as many vectors each: one alone has too few to keep the processor busy through the rounds.
INLINE void process_two(struct cipsecmb_esp *packets, const bool is_sealing) {
    struct walk walks[TOGETHER];
    unsigned last[TOGETHER];
#pragma GCC unroll 2
    for (int packet = 0; packet < TOGETHER; packet++) {
        begin(walks + packet, packets + packet);
        last[packet] = in_last_vector(BLOCK + packets[packet].length);
    }
    finish_any(walks, TOGETHER, vectors(BLOCK + packets[0].length), true, last, is_sealing);
#pragma GCC unroll 2
    for (int packet = 0; packet < TOGETHER; packet++) end(walks + packet, packets + packet, is_sealing);
}

// Three lines of round keys, and the powers of the hash key for so much text, the lowest, which end the table.
INLINE void fetch_key(const struct cipsecmb_esp *packet) {
    const char *start = packet->key, *end = start + sizeof(struct gcm_key_data);
    const uint64_t blocks = packet->length / BLOCK + 3;
    for (int line = 0; line < 3; line++) _mm_prefetch(start + VECTOR * line, _MM_HINT_T0);
    for (const char *power = end - BLOCK * (blocks < POWERS ? blocks : POWERS); power < end; power += VECTOR)
        _mm_prefetch(power, _MM_HINT_T0);
}

// No key and no clear text stays in registers.
static WIDE void forget(void) {
    __asm__ volatile(
        "vzeroall\n"
        "vpxorq %%zmm16, %%zmm16, %%zmm16\n vpxorq %%zmm17, %%zmm17, %%zmm17\n vpxorq %%zmm18, %%zmm18, %%zmm18\n"
        "vpxorq %%zmm19, %%zmm19, %%zmm19\n vpxorq %%zmm20, %%zmm20, %%zmm20\n vpxorq %%zmm21, %%zmm21, %%zmm21\n"
        "vpxorq %%zmm22, %%zmm22, %%zmm22\n vpxorq %%zmm23, %%zmm23, %%zmm23\n vpxorq %%zmm24, %%zmm24, %%zmm24\n"
        "vpxorq %%zmm25, %%zmm25, %%zmm25\n vpxorq %%zmm26, %%zmm26, %%zmm26\n vpxorq %%zmm27, %%zmm27, %%zmm27\n"
        "vpxorq %%zmm28, %%zmm28, %%zmm28\n vpxorq %%zmm29, %%zmm29, %%zmm29\n vpxorq %%zmm30, %%zmm30, %%zmm30\n"
        "vpxorq %%zmm31, %%zmm31, %%zmm31\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
              "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
              "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
}

INLINE void process_all(struct cipsecmb_esp *packets, size_t count, const bool is_sealing) {
    size_t index = 0, fetched = 0;
    while (index < count) {
        for (; fetched < count && fetched < index + KEYS_AHEAD; fetched++)
            if (fetched > 0 && packets[fetched].key != packets[fetched - 1].key) fetch_key(packets + fetched);
        if (index + 1 < count && go_together(packets + index)) {
            process_two(packets + index, is_sealing);
            index += TOGETHER;
        } else {
            process(packets + index, is_sealing);
            index += 1;
        }
    }
    forget();
}

WIDE void cipsecmb_esp512_encrypt(struct cipsecmb_esp *packets, size_t count) { process_all(packets, count, true); }
WIDE void cipsecmb_esp512_decrypt(struct cipsecmb_esp *packets, size_t count) { process_all(packets, count, false); }
