#include "cipsecmb.h"

#include <stdlib.h>
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

void *cipsecmb_secret_create(size_t octets) {
    size_t size = whole_pages(octets);
    void *secret = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (secret == MAP_FAILED) return NULL;
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

void cipsecmb_sha256(IMB_MGR *manager, const void *message, size_t octets, void *digest) {
    IMB_SHA256(manager, message, octets, digest);
}

const char *cipsecmb_version(void) { return imb_get_version_str(); }

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
