#include "cipsecmb.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

IMB_MGR *cipsecmb_manager_create(void) {
    IMB_MGR *manager = alloc_mb_mgr(0);
    if (manager == NULL) return NULL;
    init_mb_mgr_auto(manager, NULL);
    if (imb_get_errno(manager) != 0) {
        free_mb_mgr(manager);
        return NULL;
    }
    return manager;
}

void cipsecmb_manager_free(IMB_MGR *manager) {
    if (manager != NULL) free_mb_mgr(manager);
}

// Whole pages, because core dumps are refused by the page and a neighbour's data must not go with ours.
static size_t whole_pages(size_t octets) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (octets + page - 1) / page * page;
}

// At a multiple of `alignment`, a power of two: what is mapped too much at either end goes back.
static void *map_aligned(size_t size, size_t alignment) {
    char *whole = mmap(NULL, size + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED) return NULL;
    size_t before = -(uintptr_t)whole & (alignment - 1);
    if (before) munmap(whole, before);
    munmap(whole + before + size, alignment - before);
    return whole + before;
}

void *cipsecmb_secret_create(size_t octets) {
    size_t size = whole_pages(octets);
    bool is_huge = size >= CIPSECMB_HUGE_PAGE_OCTETS;
    void *secret = map_aligned(size, is_huge ? CIPSECMB_HUGE_PAGE_OCTETS : whole_pages(1));
    if (secret == NULL) return NULL;
    // A wish: a kernel without huge pages, or without a free one, maps small ones.
    if (is_huge) (void)madvise(secret, size, MADV_HUGEPAGE);
    if (madvise(secret, size, MADV_DONTDUMP) != 0) {
        munmap(secret, size);
        return NULL;
    }
    return secret;
}

void cipsecmb_secret_free(void *secret, size_t octets) {
    if (secret == NULL) return;
    imb_clear_mem(secret, octets);
    munmap(secret, whole_pages(octets));
}

void cipsecmb_gcm128_expand(IMB_MGR *manager, const void *key, void *expanded) {
    IMB_AES128_GCM_PRE(manager, key, (struct gcm_key_data *)expanded);
}

void cipsecmb_gcm256_expand(IMB_MGR *manager, const void *key, void *expanded) {
    IMB_AES256_GCM_PRE(manager, key, (struct gcm_key_data *)expanded);
}

// RFC 2104: the key, zeros behind it, under either pad.
void cipsecmb_hmac_expand(IMB_MGR *manager, const void *key, struct cipsecmb_hmac_key *expanded) {
    memset(expanded->inner_pad, 0x36, sizeof(expanded->inner_pad));
    memset(expanded->outer_pad, 0x5c, sizeof(expanded->outer_pad));
    for (size_t index = 0; index < 32; index++) {
        expanded->inner_pad[index] ^= ((const uint8_t *)key)[index];
        expanded->outer_pad[index] ^= ((const uint8_t *)key)[index];
    }
    IMB_SHA256_ONE_BLOCK(manager, expanded->inner_pad, expanded->inner);
    IMB_SHA256_ONE_BLOCK(manager, expanded->outer_pad, expanded->outer);
}

void cipsecmb_chacha_encrypt(IMB_MGR *manager, const void *key, struct cipsecmb_context *context, void *text,
                             uint64_t length, const void *iv, const void *aad, uint64_t aad_length, void *icv,
                             uint64_t icv_length) {
    IMB_CHACHA20_POLY1305_INIT(manager, key, &context->chacha, iv, aad, aad_length);
    IMB_CHACHA20_POLY1305_ENC_UPDATE(manager, key, &context->chacha, text, text, length);
    IMB_CHACHA20_POLY1305_ENC_FINALIZE(manager, &context->chacha, icv, icv_length);
}

void cipsecmb_chacha_decrypt(IMB_MGR *manager, const void *key, struct cipsecmb_context *context, void *plain,
                             const void *text, uint64_t length, const void *iv, const void *aad, uint64_t aad_length,
                             void *icv, uint64_t icv_length) {
    IMB_CHACHA20_POLY1305_INIT(manager, key, &context->chacha, iv, aad, aad_length);
    IMB_CHACHA20_POLY1305_DEC_UPDATE(manager, key, &context->chacha, plain, text, length);
    IMB_CHACHA20_POLY1305_DEC_FINALIZE(manager, &context->chacha, icv, icv_length);
}

void cipsecmb_gmac128(IMB_MGR *manager, const void *key, struct cipsecmb_context *context, const void *iv,
                      const struct cipsecmb_message *message, void *icv) {
    const struct gcm_key_data *expanded = key;
    IMB_AES128_GMAC_INIT(manager, expanded, &context->gcm, iv, 12);
    if (message->head_length != 0)
        IMB_AES128_GMAC_UPDATE(manager, expanded, &context->gcm, message->head, message->head_length);
    if (message->body_length != 0)
        IMB_AES128_GMAC_UPDATE(manager, expanded, &context->gcm, message->body, message->body_length);
    if (message->tail_length != 0)
        IMB_AES128_GMAC_UPDATE(manager, expanded, &context->gcm, message->tail, message->tail_length);
    IMB_AES128_GMAC_FINALIZE(manager, expanded, &context->gcm, icv, 16);
}

void cipsecmb_gmac256(IMB_MGR *manager, const void *key, struct cipsecmb_context *context, const void *iv,
                      const struct cipsecmb_message *message, void *icv) {
    const struct gcm_key_data *expanded = key;
    IMB_AES256_GMAC_INIT(manager, expanded, &context->gcm, iv, 12);
    if (message->head_length != 0)
        IMB_AES256_GMAC_UPDATE(manager, expanded, &context->gcm, message->head, message->head_length);
    if (message->body_length != 0)
        IMB_AES256_GMAC_UPDATE(manager, expanded, &context->gcm, message->body, message->body_length);
    if (message->tail_length != 0)
        IMB_AES256_GMAC_UPDATE(manager, expanded, &context->gcm, message->tail, message->tail_length);
    IMB_AES256_GMAC_FINALIZE(manager, expanded, &context->gcm, icv, 16);
}

static uint8_t *append(uint8_t *end, const void *octets, size_t length) {
    if (length != 0) memcpy(end, octets, length);
    return end + length;
}

static uint8_t *append_message(uint8_t *end, const struct cipsecmb_message *message) {
    end = append(end, message->head, message->head_length);
    end = append(end, message->body, message->body_length);
    return append(end, message->tail, message->tail_length);
}

// The messages of a length that a job refuses: none, or the longest of all. No key stays behind.
static void hmac_whole(IMB_MGR *manager, const struct cipsecmb_hmac_key *key, struct cipsecmb_context *context,
                       const struct cipsecmb_message *message, void *icv) {
    uint8_t *end = append(context->scratch, key->inner_pad, sizeof(key->inner_pad));
    end = append_message(end, message);
    uint8_t digest[32];
    IMB_SHA256(manager, context->scratch, (uint64_t)(end - context->scratch), digest);
    end = append(context->scratch, key->outer_pad, sizeof(key->outer_pad));
    end = append(end, digest, sizeof(digest));
    IMB_SHA256(manager, context->scratch, (uint64_t)(end - context->scratch), digest);
    memcpy(icv, digest, 16);
    imb_clear_mem(context->scratch, (size_t)(end - context->scratch));
}

void cipsecmb_hmac(IMB_MGR *manager, const struct cipsecmb_hmac_key *key, struct cipsecmb_context *context,
                   const struct cipsecmb_message *message, void *icv) {
    // A job counts in 16 bits, and not to the end of them.
    const size_t longest = 65534, room = sizeof(context->scratch);
    size_t length = message->head_length + message->body_length + message->tail_length;
    if (length > CIPSECMB_MESSAGE_OCTETS) __builtin_trap();
    bool is_split = length != message->body_length;
    if (context->hash_count == sizeof(context->hashes) / sizeof(context->hashes[0]) || length > longest ||
        length == 0 || (is_split && length > room - context->scratch_used))
        cipsecmb_hmac_finish(manager, context);
    if (length == 0 || length > longest) {
        hmac_whole(manager, key, context, message, icv);
        return;
    }
    const uint8_t *source = message->body;
    if (is_split) {
        source = context->scratch + context->scratch_used;
        append_message(context->scratch + context->scratch_used, message);
        context->scratch_used += length;
    }
    // All other fields are zero since the context was made, or what a job like this one put there.
    IMB_JOB *job = &context->hashes[context->hash_count++];
    job->src = source;
    job->msg_len_to_hash_in_bytes = length;
    job->auth_tag_output = icv;
    job->auth_tag_output_len_in_bytes = 16;
    job->u.HMAC._hashed_auth_key_xor_ipad = (const uint8_t *)key->inner;
    job->u.HMAC._hashed_auth_key_xor_opad = (const uint8_t *)key->outer;
    job->cipher_mode = IMB_CIPHER_NULL;
    job->cipher_direction = IMB_DIR_ENCRYPT;
    job->hash_alg = IMB_AUTH_HMAC_SHA_256;
    job->chain_order = IMB_ORDER_HASH_CIPHER;
}

void cipsecmb_hmac_finish(IMB_MGR *manager, struct cipsecmb_context *context) {
    uint32_t count = context->hash_count;
    context->hash_count = 0;
    context->scratch_used = 0;
    // An ICV that was not computed could be one that somebody guessed; every job here is one the library takes.
    if (count != 0 && IMB_SUBMIT_HASH_BURST(manager, context->hashes, count, IMB_AUTH_HMAC_SHA_256) != count)
        __builtin_trap();
}

void cipsecmb_sha256(IMB_MGR *manager, const void *message, size_t octets, void *digest) {
    IMB_SHA256(manager, message, octets, digest);
}

const char *cipsecmb_architecture(const IMB_MGR *manager) {
    switch (manager->used_arch) {
        case IMB_ARCH_NOAESNI: return "no AES-NI";
        case IMB_ARCH_SSE: return "SSE";
        case IMB_ARCH_AVX: return "AVX";
        case IMB_ARCH_AVX2: return "AVX2";
        case IMB_ARCH_AVX512: return "AVX-512";
        default: return "unknown";
    }
}
