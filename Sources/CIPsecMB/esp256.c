// AES-128-GCM of whole ESP packets as in esp512.c, with vectors of 32 octets, for processors that have AES and
// carry-less multiplication for those and no AVX-512: Zen 3, Alder Lake, and guests from whom it is hidden.
//
//             | SPI, sequence number, IV | text  …                                        | ICV |
//   vectors   | block 0                    block 1  |   2      3   |   4      5  …
//
// Other than there:
//
//   * the library's table has eight powers of the hash key, so four vectors are a sum
//   * no loads and stores by octets: what is read and written too much behind the text is the ICV's place, 15 octets of
//     it at most, and the ICV is written after that; a received one is put back
//   * four vectors at a time through the rounds, with the four before them being hashed meanwhile: sixteen registers
//     hold no more, and the processor begins the next four by itself
//
// Measured beside the library's own call in one run (Zen 4 without AVX-512, TSC cycles a packet, out and in): 48 and 49
// where it takes 120 and 121 at 64 octets, 200 and 201 for 420 and 424 at 512, 474 and 472 for 987 and 1002 at 1420,
// 2762 and 2735 for 5686 and 5811 at 8900. Four multiplications for three (no Karatsuba) took a tenth more, and hashing
// behind the rounds up to a quarter more for long packets.

#include "esp.h"

#include <immintrin.h>

#define WIDE __attribute__((target("avx2,aes,pclmul,vaes,vpclmulqdq,bmi,bmi2")))
#define INLINE static inline __attribute__((always_inline)) WIDE

enum {
    BLOCK = 16,
    VECTOR = 32,
    ROUNDS = 10,
    // Powers of the hash key in the library's table, the highest first.
    POWERS = 8,
    // Vectors at a time: as many as there are powers for.
    MOST = 4,
    // Packets at a time.
    TOGETHER = 2,
    // Keys are fetched so many packets before they are needed.
    KEYS_AHEAD = 4,
};

// A sum of products of 128 by 128 bits, before the reduction: lower and upper halves' products, and the products of the
// halves' sums.
struct products {
    __m256i lower, upper, middle;
};

// A packet on the way.
struct walk {
    const struct gcm_key_data *key;
    // Where the next vector lies, and its counters, the lowest octet first.
    uint8_t *next;
    __m256i counters;
    // What was just encrypted, or is decrypted, as it is hashed.
    __m256i ciphertext[MOST];
    // Of all before that, in the first block.
    __m256i hash;
    // The key stream's first block, which masks the ICV; what is authenticated besides and the text, in bits.
    __m128i mask, lengths;
    // As it was received.
    __m128i icv;
};

INLINE __m256i in_each_block(__m128i block) { return _mm256_broadcastsi128_si256(block); }

INLINE __m256i round_key(const struct gcm_key_data *key, int round) {
    return in_each_block(_mm_loadu_si128((const __m128i *)(key->expanded_keys + BLOCK * round)));
}

// The hash counts bits from the other end (SP 800-38D section 6.3).
INLINE __m256i reversed(__m256i blocks) {
    return _mm256_shuffle_epi8(
        blocks, in_each_block(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

// The last four octets of a block are the counter, the highest first.
INLINE __m256i counter_blocks(__m256i counters) {
    return _mm256_shuffle_epi8(
        counters, in_each_block(_mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)));
}

// Ones for the first so many octets, 32 at most.
INLINE __m256i first_octets(unsigned octets) {
    static const uint64_t ones_and_zeros[8] = {~0ull, ~0ull, ~0ull, ~0ull};
    return _mm256_loadu_si256((const __m256i *)((const uint8_t *)ones_and_zeros + VECTOR - octets));
}

// For the first of so many blocks, with the others' behind it.
INLINE const uint8_t *first_power(const struct gcm_key_data *key, unsigned blocks) {
    return key->ghash_keys.avx2_avx512.shifted_hkey + BLOCK * (POWERS - blocks);
}

INLINE void add_products(struct products *sum, __m256i blocks, const uint8_t *place) {
    const __m256i powers = _mm256_loadu_si256((const __m256i *)place);
    const __m256i halves = _mm256_xor_si256(blocks, _mm256_shuffle_epi32(blocks, 0x4e));
    const __m256i power_halves = _mm256_xor_si256(powers, _mm256_shuffle_epi32(powers, 0x4e));
    sum->lower = _mm256_xor_si256(sum->lower, _mm256_clmulepi64_epi128(blocks, powers, 0x00));
    sum->upper = _mm256_xor_si256(sum->upper, _mm256_clmulepi64_epi128(blocks, powers, 0x11));
    sum->middle = _mm256_xor_si256(sum->middle, _mm256_clmulepi64_epi128(halves, power_halves, 0x00));
}

// The sum over both blocks, modulo x^128 + x^7 + x^2 + x + 1, in the first; see esp512.c.
INLINE __m256i reduced(const struct products *sum) {
    const __m256i polynomial = _mm256_set1_epi64x((long long)0xc200000000000000);
    __m256i middle = _mm256_xor_si256(sum->middle, _mm256_xor_si256(sum->lower, sum->upper));
    middle = _mm256_xor_si256(middle, _mm256_clmulepi64_epi128(sum->lower, polynomial, 0x00));
    middle = _mm256_xor_si256(middle, _mm256_shuffle_epi32(sum->lower, 0x4e));
    __m256i upper = _mm256_xor_si256(sum->upper, _mm256_clmulepi64_epi128(middle, polynomial, 0x00));
    upper = _mm256_xor_si256(upper, _mm256_shuffle_epi32(middle, 0x4e));
    return _mm256_zextsi128_si256(_mm_xor_si128(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1)));
}

// Hashes COUNT vectors of the ciphertext, and the lengths behind them if asked to; BLOCKS is how many these are in all.
// A block that is zeros adds nothing, whatever lies where its power would be.
INLINE void hash(struct walk *walk, const int count, const bool with_lengths, unsigned blocks) {
    const __m256i zero = _mm256_setzero_si256();
    const uint8_t *powers = first_power(walk->key, blocks);
    struct products sum = {zero, zero, zero};
    add_products(&sum, _mm256_xor_si256(walk->ciphertext[0], walk->hash), powers);
#pragma GCC unroll 4
    for (int index = 1; index < count; index++) add_products(&sum, walk->ciphertext[index], powers + VECTOR * index);
    if (with_lengths) add_products(&sum, _mm256_zextsi128_si256(walk->lengths), powers + VECTOR * count);
    walk->hash = reduced(&sum);
}

// Of each of so many PACKETS, encrypts or decrypts COUNT vectors; the MOST before them, if these are not the packets'
// first, are hashed meanwhile. Of a last vector only so many OCTETS are text.
INLINE void advance(struct walk *walks, const int packets, const int count, const bool is_first, const bool is_last,
                    const unsigned *octets, const bool is_sealing) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i stream[TOGETHER][MOST];
    struct products sum = {zero, zero, zero};
    if (!is_first) walks->ciphertext[0] = _mm256_xor_si256(walks->ciphertext[0], walks->hash);
#pragma GCC unroll 2
    for (int packet = 0; packet < packets; packet++) {
        struct walk *walk = walks + packet;
        const __m256i first = round_key(walk->key, 0);
#pragma GCC unroll 4
        for (int index = 0; index < count; index++) {
            stream[packet][index] = _mm256_xor_si256(counter_blocks(walk->counters), first);
            walk->counters = _mm256_add_epi32(walk->counters, in_each_block(_mm_set_epi32(2, 0, 0, 0)));
        }
    }
#pragma GCC unroll 9
    for (int round = 1; round < ROUNDS; round++) {
#pragma GCC unroll 2
        for (int packet = 0; packet < packets; packet++) {
            const __m256i key = round_key(walks[packet].key, round);
#pragma GCC unroll 4
            for (int index = 0; index < count; index++)
                stream[packet][index] = _mm256_aesenc_epi128(stream[packet][index], key);
            // One in each second round.
            const int hashed = round / 2 - 1;
            if (!is_first && round % 2 == 0)
                add_products(&sum, walks->ciphertext[hashed], first_power(walks->key, POWERS) + VECTOR * hashed);
        }
    }
    if (!is_first) walks->hash = reduced(&sum);
#pragma GCC unroll 2
    for (int packet = 0; packet < packets; packet++) {
        struct walk *walk = walks + packet;
        // The last round adds its key, and so the text with it. SPI, sequence number and IV stay as they are.
        const __m256i key = round_key(walk->key, ROUNDS);
#pragma GCC unroll 4
        for (int index = 0; index < count; index++) {
            uint8_t *place = walk->next + VECTOR * index;
            const bool is_front = is_first && index == 0, is_end = is_last && index == count - 1;
            // Of an end of one block no more than that is read and written.
            const bool is_whole = !is_end || octets[packet] > BLOCK;
            const __m256i before = is_whole ? _mm256_loadu_si256((const __m256i *)place)
                                            : _mm256_zextsi128_si256(_mm_loadu_si128((const __m128i *)place));
            __m256i after;
            if (is_front) {
                const __m256i first = _mm256_aesenclast_epi128(stream[packet][0], key);
                walk->mask = _mm256_castsi256_si128(first);
                after = _mm256_xor_si256(before, _mm256_blend_epi32(_mm256_setzero_si256(), first, 0xf0));
            } else {
                after = _mm256_aesenclast_epi128(stream[packet][index], _mm256_xor_si256(before, key));
            }
            if (is_whole) {
                _mm256_storeu_si256((__m256i *)place, after);
            } else {
                _mm_storeu_si128((__m128i *)place, _mm256_castsi256_si128(after));
            }
            __m256i hashed = is_sealing ? after : before;
            if (is_end) hashed = _mm256_and_si256(hashed, first_octets(octets[packet]));
            // The IV is not authenticated by itself.
            if (is_front) hashed = _mm256_blend_epi32(hashed, _mm256_setzero_si256(), 0x0c);
            walk->ciphertext[index] = reversed(hashed);
        }
        walk->next += VECTOR * count;
    }
}

// The last COUNT vectors, the last of them of so many OCTETS; and the lengths, which end what is hashed.
INLINE void finish(struct walk *walks, const int packets, const int count, const bool is_first, const unsigned *octets,
                   const bool is_sealing) {
    advance(walks, packets, count, is_first, true, octets, is_sealing);
#pragma GCC unroll 2
    for (int packet = 0; packet < packets; packet++) {
        struct walk *walk = walks + packet;
        if (octets[packet] <= BLOCK) {
            walk->ciphertext[count - 1] = _mm256_inserti128_si256(walk->ciphertext[count - 1], walk->lengths, 1);
            hash(walk, count, false, 2 * count);
        } else if (count < MOST) {
            hash(walk, count, true, 2 * count + 1);
        } else {
            hash(walk, count, false, 2 * count);
            walk->ciphertext[0] = _mm256_zextsi128_si256(walk->lengths);
            hash(walk, 1, false, 1);
        }
    }
}

// The last so many VECTORS of each packet, as many for all.
INLINE void finish_any(struct walk *walks, const int packets, uint64_t vectors, const bool is_first,
                       const unsigned *octets, const bool is_sealing) {
    switch (vectors) {
        case 1: return finish(walks, packets, 1, is_first, octets, is_sealing);
        case 2: return finish(walks, packets, 2, is_first, octets, is_sealing);
        case 3: return finish(walks, packets, 3, is_first, octets, is_sealing);
        default: return finish(walks, packets, MOST, is_first, octets, is_sealing);
    }
}

INLINE void begin(struct walk *walk, const struct cipsecmb_esp *packet) {
    const __m256i all = _mm256_set_epi32(2, 0, 0, 0, 1, 0, 0, 0);
    walk->key = packet->key;
    walk->next = (uint8_t *)packet->text - BLOCK;
    walk->lengths = _mm_set_epi64x(8 * 8, (long long)(8 * packet->length));
    walk->hash = _mm256_setzero_si256();
    walk->counters = _mm256_add_epi32(in_each_block(_mm_loadu_si128((const __m128i *)packet->nonce)), all);
    walk->icv = _mm_loadu_si128((const __m128i *)((const uint8_t *)packet->text + packet->length));
}

// Writes the ICV: into the packet, or to be compared.
INLINE void end(struct walk *walk, struct cipsecmb_esp *packet, const bool is_sealing) {
    const __m128i icv = _mm_xor_si128(_mm256_castsi256_si128(reversed(walk->hash)), walk->mask);
    __m128i *place = (__m128i *)((uint8_t *)packet->text + packet->length);
    _mm_storeu_si128(place, is_sealing ? icv : walk->icv);
    if (!is_sealing) _mm_storeu_si128((__m128i *)packet->computed_icv, icv);
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
    if (octets <= most) {
        finish_any(&walk, 1, vectors(octets), true, &last, is_sealing);
    } else {
        advance(&walk, 1, MOST, true, false, NULL, is_sealing);
        for (octets -= most; octets > most; octets -= most) advance(&walk, 1, MOST, false, false, NULL, is_sealing);
        finish_any(&walk, 1, vectors(octets), false, &last, is_sealing);
    }
    end(&walk, packet, is_sealing);
}

INLINE bool go_together(const struct cipsecmb_esp *packets) {
    const uint64_t count = vectors(BLOCK + packets[0].length);
    return count <= MOST && count == vectors(BLOCK + packets[1].length);
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

// Three lines of round keys and two of powers.
INLINE void fetch_key(const struct cipsecmb_esp *packet) {
    const struct gcm_key_data *key = packet->key;
    const char *start = (const char *)key;
    const char *end = (const char *)key->ghash_keys.avx2_avx512.shifted_hkey + BLOCK * POWERS;
    for (const char *line = start; line < end; line += 64) _mm_prefetch(line, _MM_HINT_T0);
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
    // No key and no clear text stays in registers.
    _mm256_zeroall();
}

WIDE void cipsecmb_esp256_encrypt(struct cipsecmb_esp *packets, size_t count) { process_all(packets, count, true); }
WIDE void cipsecmb_esp256_decrypt(struct cipsecmb_esp *packets, size_t count) { process_all(packets, count, false); }
