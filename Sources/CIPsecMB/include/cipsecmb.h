// libipsec-mb's direct AES-128-GCM calls, which its macros hide from Swift, and the little around them.
//
// The direct calls were measured faster than the library's job API and than cryptodev's CPU crypto. They report misuse
// (a null pointer, a bad length) in a global word only; every argument here is made by us from checked lengths.
#pragma once
#include <intel-ipsec-mb.h>
#include <stddef.h>
#include <stdint.h>

#define CIPSECMB_INLINE static inline __attribute__((always_inline))

enum {
    CIPSECMB_GCM_KEY_OCTETS = sizeof(struct gcm_key_data),
    CIPSECMB_GCM_CONTEXT_OCTETS = sizeof(struct gcm_context_data),
};

// Encrypts LENGTH octets in place and writes the 16-octet ICV. IV: 12 octets (salt, then IV). AAD: AAD_LENGTH octets.
CIPSECMB_INLINE void cipsecmb_gcm128_encrypt(IMB_MGR *manager, const void *key, void *context, void *text,
                                             uint64_t length, const void *iv, const void *aad, uint64_t aad_length,
                                             void *icv) {
    IMB_AES128_GCM_ENC(manager, (const struct gcm_key_data *)key, (struct gcm_context_data *)context, (uint8_t *)text,
                       (const uint8_t *)text, length, (const uint8_t *)iv, (const uint8_t *)aad, aad_length,
                       (uint8_t *)icv, 16);
}

// Decrypts LENGTH octets in place and writes the ICV that they should have had; the caller compares.
CIPSECMB_INLINE void cipsecmb_gcm128_decrypt(IMB_MGR *manager, const void *key, void *context, void *text,
                                             uint64_t length, const void *iv, const void *aad, uint64_t aad_length,
                                             void *icv) {
    IMB_AES128_GCM_DEC(manager, (const struct gcm_key_data *)key, (struct gcm_context_data *)context, (uint8_t *)text,
                       (const uint8_t *)text, length, (const uint8_t *)iv, (const uint8_t *)aad, aad_length,
                       (uint8_t *)icv, 16);
}

// A manager for this processor, NULL without memory or without an instruction set the library supports.
IMB_MGR *cipsecmb_manager_create(void);
void cipsecmb_manager_free(IMB_MGR *manager);

// A zeroed block of OCTETS at a 64-octet boundary, kept out of core dumps; NULL without memory.
void *cipsecmb_secret_create(size_t octets);
// Wipes the block before giving it back.
void cipsecmb_secret_free(void *secret, size_t octets);

// Expands a 16-octet AES key into CIPSECMB_GCM_KEY_OCTETS at a 16-octet boundary.
void cipsecmb_gcm128_expand(IMB_MGR *manager, const void *key, void *expanded);

// SHA-256 (FIPS 180-4) of a short message; 32 octets out.
void cipsecmb_sha256(IMB_MGR *manager, const void *message, size_t octets, void *digest);

// The library's version text and the name of the instruction set the manager uses.
const char *cipsecmb_version(void);
const char *cipsecmb_architecture(const IMB_MGR *manager);
