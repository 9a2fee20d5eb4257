// Whole ESP packets: which code does them (esp512.c, esp256.c), by the processor, and whether that does what the
// library does.

#include "esp.h"

#include <string.h>

enum { BLOCK = 16, TEXT = 2048, PACKETS = 3 };

// Octets of stack that either code takes at most, registers that it saves and the red zone included: half of it was
// found. A test looks whether it is enough.
enum { FRAME = 768 };

// What the code that was called last kept on the stack, which is in core dumps: where registers are short the compiler
// puts round keys there. Its frame begins where this one does, and is smaller.
static __attribute__((noinline)) void forget_stack(void) {
    uint8_t frame[FRAME];
    memset(frame, 0, sizeof frame);
    __asm__ volatile("" ::"r"(frame) : "memory");
}

void cipsecmb_esp_encrypt(unsigned vector_octets, struct cipsecmb_esp *packets, size_t count) {
    if (vector_octets == 64) {
        cipsecmb_esp512_encrypt(packets, count);
    } else {
        cipsecmb_esp256_encrypt(packets, count);
    }
    forget_stack();
}

void cipsecmb_esp_decrypt(unsigned vector_octets, struct cipsecmb_esp *packets, size_t count) {
    if (vector_octets == 64) {
        cipsecmb_esp512_decrypt(packets, count);
    } else {
        cipsecmb_esp256_decrypt(packets, count);
    }
    forget_stack();
}

unsigned cipsecmb_esp_fits(const IMB_MGR *manager) {
    const uint64_t narrow = IMB_CPUFLAGS_AVX2 | IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ;
    const uint64_t wide = IMB_CPUFLAGS_AVX512_T2;
    if (manager->used_arch == IMB_ARCH_AVX512 && (manager->features & wide) == wide) return 64;
    if (manager->used_arch == IMB_ARCH_AVX2 && (manager->features & narrow) == narrow) return 32;
    return 0;
}

// Both ways, as the library does it.
static bool agrees(IMB_MGR *manager, unsigned vector_octets, const struct gcm_key_data *key, uint64_t length) {
    static const uint8_t nonce[BLOCK] = {0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88};
    struct gcm_context_data context;
    uint8_t clear[BLOCK + TEXT + BLOCK], theirs[sizeof clear], ours[PACKETS][sizeof clear];
    struct cipsecmb_esp packets[PACKETS];
    for (size_t index = 0; index < sizeof clear; index++) clear[index] = (uint8_t)(index * 167 + length);
    memcpy(theirs, clear, sizeof clear);
    uint8_t *end = theirs + BLOCK + length;
    IMB_AES128_GCM_ENC(manager, key, &context, theirs + BLOCK, theirs + BLOCK, length, nonce, theirs, 8, end, BLOCK);
    for (int packet = 0; packet < PACKETS; packet++) {
        memcpy(ours[packet], clear, sizeof clear);
        packets[packet] = (struct cipsecmb_esp){.key = key, .text = ours[packet] + BLOCK, .length = length};
        memcpy(packets[packet].nonce, nonce, sizeof nonce);
    }
    cipsecmb_esp_encrypt(vector_octets, packets, PACKETS);
    for (int packet = 0; packet < PACKETS; packet++)
        if (memcmp(ours[packet], theirs, sizeof theirs) != 0) return false;
    cipsecmb_esp_decrypt(vector_octets, packets, PACKETS);
    for (int packet = 0; packet < PACKETS; packet++)
        if (memcmp(ours[packet], clear, BLOCK + length) != 0 || memcmp(packets[packet].computed_icv, end, BLOCK) != 0)
            return false;
    return true;
}

unsigned cipsecmb_esp_works(IMB_MGR *manager) {
    const unsigned vector_octets = cipsecmb_esp_fits(manager);
    if (vector_octets == 0) return 0;
    static const uint8_t key[BLOCK] = {0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c,
                                       0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08};
    // One for each way through either, and a few more.
    static const uint64_t lengths[] = {4,   20,  36,  52,  68,  84,  100, 116, 132, 148, 160,  164,  180,  196,  212,
                                       228, 236, 244, 368, 432, 480, 496, 500, 600, 648, 736,  752,  900,  1280, 1384,
                                       1424, 1500, TEXT};
    // The library stores whole blocks there.
    _Alignas(64) struct gcm_key_data expanded;
    IMB_AES128_GCM_PRE(manager, key, &expanded);
    for (size_t index = 0; index < sizeof lengths / sizeof *lengths; index++)
        if (!agrees(manager, vector_octets, &expanded, lengths[index])) return 0;
    return vector_octets;
}
