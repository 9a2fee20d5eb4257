// libipsec-mb's direct calls for the transforms of ESP and AH, which its macros hide from Swift, and the little around
// them.
//
// The direct AES-GCM calls were measured faster than the library's job API and than cryptodev's CPU crypto; for what
// nearly all packets are, code of our own is faster still (esp.c). The calls report misuse (a null pointer, a bad
// length) in a global word only; every argument here is made by us from checked lengths. HMAC alone goes by jobs,
// because the library hashes several messages at once there.
#pragma once
#include <intel-ipsec-mb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CIPSECMB_INLINE static inline __attribute__((always_inline))

// The longest IP packet (IPv6: 40 octets and 65535) and what goes before and behind it into an ICV.
#define CIPSECMB_MESSAGE_OCTETS (40 + 65535 + 16)

// An HMAC-SHA-256 key: the states of SHA-256 behind the two pads, and the pads for messages that jobs don't take.
struct cipsecmb_hmac_key {
    uint32_t inner[8], outer[8];
    uint8_t inner_pad[64], outer_pad[64];
};

// What one user's operations need beside a manager. Holds secrets while an operation runs.
struct cipsecmb_context {
    union {
        struct gcm_context_data gcm;
        struct chacha20_poly1305_context_data chacha;
    };
    // HMACs that wait, and how many octets of `scratch` hold their messages.
    IMB_JOB hashes[32];
    uint32_t hash_count;
    size_t scratch_used;
    // Vector stores may run up to a line past the end.
    uint8_t scratch[64 + CIPSECMB_MESSAGE_OCTETS + 64];
};

enum {
    CIPSECMB_GCM_KEY_OCTETS = sizeof(struct gcm_key_data),
    CIPSECMB_HMAC_KEY_OCTETS = sizeof(struct cipsecmb_hmac_key),
    CIPSECMB_CONTEXT_OCTETS = sizeof(struct cipsecmb_context),
};

// AES-GCM. IV: 12 octets (salt, then IV). AAD: AAD_LENGTH octets. ICV: ICV_LENGTH octets are written, 8, 12 or 16.
//
// Encrypts LENGTH octets in place.
CIPSECMB_INLINE void cipsecmb_gcm128_encrypt(IMB_MGR *manager, const void *key, struct cipsecmb_context *context,
                                             void *text, uint64_t length, const void *iv, const void *aad,
                                             uint64_t aad_length, void *icv, uint64_t icv_length) {
    IMB_AES128_GCM_ENC(manager, (const struct gcm_key_data *)key, &context->gcm, (uint8_t *)text,
                       (const uint8_t *)text, length, (const uint8_t *)iv, (const uint8_t *)aad, aad_length,
                       (uint8_t *)icv, icv_length);
}

CIPSECMB_INLINE void cipsecmb_gcm256_encrypt(IMB_MGR *manager, const void *key, struct cipsecmb_context *context,
                                             void *text, uint64_t length, const void *iv, const void *aad,
                                             uint64_t aad_length, void *icv, uint64_t icv_length) {
    IMB_AES256_GCM_ENC(manager, (const struct gcm_key_data *)key, &context->gcm, (uint8_t *)text,
                       (const uint8_t *)text, length, (const uint8_t *)iv, (const uint8_t *)aad, aad_length,
                       (uint8_t *)icv, icv_length);
}

// Decrypts LENGTH octets from TEXT to PLAIN, which may be the same, and writes the ICV that they should have had; the
// caller compares.
CIPSECMB_INLINE void cipsecmb_gcm128_decrypt(IMB_MGR *manager, const void *key, struct cipsecmb_context *context,
                                             void *plain, const void *text, uint64_t length, const void *iv,
                                             const void *aad, uint64_t aad_length, void *icv, uint64_t icv_length) {
    IMB_AES128_GCM_DEC(manager, (const struct gcm_key_data *)key, &context->gcm, (uint8_t *)plain,
                       (const uint8_t *)text, length, (const uint8_t *)iv, (const uint8_t *)aad, aad_length,
                       (uint8_t *)icv, icv_length);
}

CIPSECMB_INLINE void cipsecmb_gcm256_decrypt(IMB_MGR *manager, const void *key, struct cipsecmb_context *context,
                                             void *plain, const void *text, uint64_t length, const void *iv,
                                             const void *aad, uint64_t aad_length, void *icv, uint64_t icv_length) {
    IMB_AES256_GCM_DEC(manager, (const struct gcm_key_data *)key, &context->gcm, (uint8_t *)plain,
                       (const uint8_t *)text, length, (const uint8_t *)iv, (const uint8_t *)aad, aad_length,
                       (uint8_t *)icv, icv_length);
}

// An ESP packet with 32-bit sequence numbers under AES-128-GCM: SPI, sequence number and an IV of 8 octets lie before
// LENGTH octets of text, and behind them is where an ICV of 16 goes.
struct cipsecmb_esp {
    // The ICV that it should have had, after it was decrypted.
    uint64_t computed_icv[2];
    // Salt, IV, and four zeros.
    uint64_t nonce[2];
    // Of a manager of this processor.
    const void *key;
    void *text;
    uint64_t length;
    // The caller's own.
    uint64_t rest[9];
};

// Octets of the vectors in which whole packets can be done here, 64 (AVX-512) or 32 (AVX2), or 0: the processor has
// no AES for vectors, or MANAGER expands keys for another one.
unsigned cipsecmb_esp_fits(const IMB_MGR *manager);
// The same, or 0 where that does not what the library does with its keys, tried out.
unsigned cipsecmb_esp_works(IMB_MGR *manager);
// Encrypt or decrypt packets in one piece each, in place, with vectors of so many octets: what `cipsecmb_esp_works`
// says of the manager that expanded the keys, and not 0.
//
// With 64 twice as fast as the library's calls at 64 octets, a fifth faster at 1420, hardly at 8900: see esp512.c. With
// 32 more than twice as fast as its AVX2 calls at all sizes: see esp256.c.
void cipsecmb_esp_encrypt(unsigned vector_octets, struct cipsecmb_esp *packets, size_t count);
void cipsecmb_esp_decrypt(unsigned vector_octets, struct cipsecmb_esp *packets, size_t count);

// ChaCha20-Poly1305 likewise; the key is its 32 octets.
void cipsecmb_chacha_encrypt(IMB_MGR *manager, const void *key, struct cipsecmb_context *context, void *text,
                             uint64_t length, const void *iv, const void *aad, uint64_t aad_length, void *icv,
                             uint64_t icv_length);
void cipsecmb_chacha_decrypt(IMB_MGR *manager, const void *key, struct cipsecmb_context *context, void *plain,
                             const void *text, uint64_t length, const void *iv, const void *aad, uint64_t aad_length,
                             void *icv, uint64_t icv_length);

// Fetches a cache line that is needed soon.
CIPSECMB_INLINE void cipsecmb_prefetch(const void *place) { __builtin_prefetch(place); }

// A message in three pieces, any of which may be empty; CIPSECMB_MESSAGE_OCTETS at most in all.
struct cipsecmb_message {
    const void *head;
    size_t head_length;
    const void *body;
    size_t body_length;
    const void *tail;
    size_t tail_length;
};

// AES-GMAC: the 16-octet ICV of AES-GCM over MESSAGE as associated data and no text.
void cipsecmb_gmac128(IMB_MGR *manager, const void *key, struct cipsecmb_context *context, const void *iv,
                      const struct cipsecmb_message *message, void *icv);
void cipsecmb_gmac256(IMB_MGR *manager, const void *key, struct cipsecmb_context *context, const void *iv,
                      const struct cipsecmb_message *message, void *icv);

// The first 16 octets of the HMAC-SHA-256 of MESSAGE, in ICV at the latest when `cipsecmb_hmac_finish` returns: key,
// body and ICV stay where they are until then.
void cipsecmb_hmac(IMB_MGR *manager, const struct cipsecmb_hmac_key *key, struct cipsecmb_context *context,
                   const struct cipsecmb_message *message, void *icv);
void cipsecmb_hmac_finish(IMB_MGR *manager, struct cipsecmb_context *context);

// A manager for this processor, NULL without memory or without an instruction set the library supports.
IMB_MGR *cipsecmb_manager_create(void);
void cipsecmb_manager_free(IMB_MGR *manager);

#define CIPSECMB_HUGE_PAGE_OCTETS 2097152
// A zeroed block of OCTETS at a page boundary, kept out of core dumps; NULL without memory. From the size of a huge
// page on it lies in such pages where the kernel has any.
void *cipsecmb_secret_create(size_t octets);
// Wipes the block before giving it back.
void cipsecmb_secret_free(void *secret, size_t octets);

// Expands a 16- or 32-octet AES key into CIPSECMB_GCM_KEY_OCTETS at a 16-octet boundary.
void cipsecmb_gcm128_expand(IMB_MGR *manager, const void *key, void *expanded);
void cipsecmb_gcm256_expand(IMB_MGR *manager, const void *key, void *expanded);
// Prepares a 32-octet key.
void cipsecmb_hmac_expand(IMB_MGR *manager, const void *key, struct cipsecmb_hmac_key *expanded);

// SHA-256 (FIPS 180-4) of a short message; 32 octets out.
void cipsecmb_sha256(IMB_MGR *manager, const void *message, size_t octets, void *digest);

// The name of the instruction set the manager uses.
const char *cipsecmb_architecture(const IMB_MGR *manager);
