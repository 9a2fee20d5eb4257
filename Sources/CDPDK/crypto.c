#define ALLOW_EXPERIMENTAL_API  // session pools
#define _GNU_SOURCE
#include "cdpdk_crypto.h"

#include <rte_cryptodev.h>
#include <rte_errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- devices --------------------------------------------------------------------------------------------------------

int cdpdk_crypto_by_name(const char *name) {
    size_t length = strlen(name);
    for (int device = 0; device < RTE_CRYPTO_MAX_DEVS; device++) {
        if (!rte_cryptodev_is_valid_dev((uint8_t)device)) continue;
        // A PCI device is called after its address and what of it this is: "0000:3d:01.0_qat_sym".
        const char *its = rte_cryptodev_name_get((uint8_t)device);
        if (its == NULL || strncmp(its, name, length) != 0 || (its[length] != 0 && its[length] != '_')) continue;
        struct rte_cryptodev_info info;
        rte_cryptodev_info_get((uint8_t)device, &info);
        if (info.feature_flags & RTE_CRYPTODEV_FF_SYMMETRIC_CRYPTO) return device;
    }
    return -ENODEV;
}

static bool failed(cdpdk_crypto_state *state, const char *step, int error) {
    if (error >= 0) return false;
    state->failed_step = step;
    state->error = error;
    return true;
}

static bool has_gcm(uint8_t device) {
    struct rte_cryptodev_sym_capability_idx index = {
        .type = RTE_CRYPTO_SYM_XFORM_AEAD, .algo.aead = RTE_CRYPTO_AEAD_AES_GCM};
    const struct rte_cryptodev_symmetric_capability *it = rte_cryptodev_sym_capability_get(device, &index);
    return it != NULL && rte_cryptodev_sym_capability_check_aead(it, 16, 16, 8, 12) == 0;
}

void cdpdk_crypto_start(
    uint8_t device, uint16_t queue_pairs, uint32_t descriptors, uint32_t sessions, cdpdk_crypto_state *state) {
    struct rte_cryptodev_info info;
    memset(state, 0, sizeof *state);
    rte_cryptodev_info_get(device, &info);
    snprintf(state->driver, sizeof state->driver, "%s", info.driver_name);
    if (!has_gcm(device)) {
        state->failed_step = "use AES-128-GCM with an ICV of 16 octets of";
        return;
    }
    if (info.max_nb_queue_pairs < queue_pairs) {
        state->failed_step = "get a queue pair for each worker of";
        return;
    }
    state->sessions = sessions;
    if (info.sym.max_nb_sessions != 0 && info.sym.max_nb_sessions < sessions)
        state->sessions = info.sym.max_nb_sessions;
    struct rte_cryptodev_config config = {
        .socket_id = rte_cryptodev_socket_id(device),
        .nb_queue_pairs = queue_pairs,
        .ff_disable = RTE_CRYPTODEV_FF_ASYMMETRIC_CRYPTO | RTE_CRYPTODEV_FF_SECURITY,
    };
    if (failed(state, "configure", rte_cryptodev_configure(device, &config))) return;
    struct rte_cryptodev_qp_conf queue = {.nb_descriptors = descriptors, .mp_session = NULL};
    for (uint16_t pair = 0; pair < queue_pairs; pair++) {
        int error = rte_cryptodev_queue_pair_setup(device, pair, &queue, config.socket_id);
        if (failed(state, "set up a queue pair of", error)) return;
    }
    failed(state, "start", rte_cryptodev_start(device));
}

void cdpdk_crypto_stop(uint8_t device) { rte_cryptodev_stop(device); }

void cdpdk_crypto_close(uint8_t device) { rte_cryptodev_close(device); }

// ---- sessions -------------------------------------------------------------------------------------------------------

typedef struct session {
    void *device_session;
    uint8_t salt[4];
} session;

void *cdpdk_crypto_pool_create(uint8_t device, const char *name, uint32_t count) {
    unsigned octets = rte_cryptodev_sym_get_private_session_size(device);
    return rte_cryptodev_sym_session_pool_create(name, count, octets, 0, 0, SOCKET_ID_ANY);
}

void cdpdk_crypto_pool_free(void *pool) { rte_mempool_free(pool); }

// Where in an operation what is ours lies: IV, associated data, and what to remember.
typedef struct room {
    uint8_t iv[16];
    uint8_t associated[16];  // in whole blocks: some devices fetch them so
    cdpdk_crossing crossing;
} room;

enum { room_offset = sizeof(struct rte_crypto_op) + sizeof(struct rte_crypto_sym_op) };

void *cdpdk_crypto_session_create(uint8_t device, const uint8_t *keymat, bool encrypts, void *pool) {
    struct rte_crypto_sym_xform transform;
    memset(&transform, 0, sizeof transform);
    transform.type = RTE_CRYPTO_SYM_XFORM_AEAD;
    transform.aead.op = encrypts ? RTE_CRYPTO_AEAD_OP_ENCRYPT : RTE_CRYPTO_AEAD_OP_DECRYPT;
    transform.aead.algo = RTE_CRYPTO_AEAD_AES_GCM;
    transform.aead.key.data = keymat;
    transform.aead.key.length = 16;
    transform.aead.iv.offset = room_offset + offsetof(room, iv);
    transform.aead.iv.length = 12;
    transform.aead.digest_length = 16;
    transform.aead.aad_length = 8;
    session *it = calloc(1, sizeof *it);
    if (it == NULL || (uintptr_t)it >> 48 != 0) {
        free(it);
        rte_errno = ENOMEM;
        return NULL;
    }
    it->device_session = rte_cryptodev_sym_session_create(device, &transform, pool);
    if (it->device_session == NULL) {
        free(it);
        return NULL;
    }
    memcpy(it->salt, keymat + 16, sizeof it->salt);
    return it;
}

void cdpdk_crypto_session_destroy(uint8_t device, void *address) {
    session *it = address;
    struct rte_mempool *pool = rte_mempool_from_obj(it->device_session);
    // Drivers leave expanded keys in what goes back to the pool; nobody takes from that but who called us.
    if (rte_cryptodev_sym_session_free(device, it->device_session) == 0)
        explicit_bzero(it->device_session, pool->elt_size);
    explicit_bzero(it, sizeof *it);
    free(it);
}

// ---- lanes ----------------------------------------------------------------------------------------------------------

enum { collected_limit = 32 };

struct cdpdk_lane {
    uint8_t device;
    uint16_t queue_pair;
    uint32_t count, unused_count, waiting_count;
    struct rte_mempool *pool;
    struct rte_crypto_op **all, **unused, **waiting;
    cdpdk_crossing collected[collected_limit];
};

cdpdk_lane *cdpdk_lane_create(uint8_t device, uint16_t queue_pair, const char *name, uint32_t count) {
    cdpdk_lane *lane = calloc(1, sizeof *lane);
    struct rte_crypto_op **lists = calloc(3 * (size_t)count, sizeof *lists);
    struct rte_mempool *pool = rte_crypto_op_pool_create(
        name, RTE_CRYPTO_OP_TYPE_SYMMETRIC, count, 0, sizeof(room), SOCKET_ID_ANY);
    if (lane == NULL || lists == NULL || pool == NULL ||
        rte_crypto_op_bulk_alloc(pool, RTE_CRYPTO_OP_TYPE_SYMMETRIC, lists, (uint16_t)count) != count) {
        rte_mempool_free(pool);
        free(lists);
        free(lane);
        return NULL;
    }
    lane->device = device;
    lane->queue_pair = queue_pair;
    lane->count = lane->unused_count = count;
    lane->pool = pool;
    lane->all = lists;
    lane->unused = lists + count;
    lane->waiting = lists + 2 * count;
    memcpy(lane->unused, lane->all, count * sizeof *lists);
    for (uint32_t index = 0; index < count; index++) lane->all[index]->sym->m_src = NULL;
    return lane;
}

uint32_t cdpdk_lane_free(cdpdk_lane *lane) {
    uint32_t kept = 0;
    for (uint32_t index = 0; index < lane->count; index++) {
        if (lane->all[index]->sym->m_src == NULL) continue;
        rte_pktmbuf_free(lane->all[index]->sym->m_src);
        kept++;
    }
    rte_mempool_free(lane->pool);
    free(lane->all);
    free(lane);
    return kept;
}

static room *room_of(struct rte_crypto_op *op) { return rte_crypto_op_ctod_offset(op, room *, room_offset); }

bool cdpdk_lane_add(cdpdk_lane *lane, const cdpdk_crossing *crossing) {
    if (lane->unused_count == 0) return false;
    struct rte_crypto_op *op = lane->unused[--lane->unused_count];
    struct rte_mbuf *packet = (struct rte_mbuf *)crossing->buffer;
    const session *it = (const session *)(uintptr_t)(crossing->handle & 0xffffffffffff);
    const uint8_t *esp = rte_pktmbuf_mtod_offset(packet, const uint8_t *, crossing->start);
    room *own = room_of(op);
    // RFC 4106 section 4: salt and IV; section 5: SPI and sequence number.
    memcpy(own->iv, it->salt, 4);
    memcpy(own->iv + 4, esp + 8, 8);
    memcpy(own->associated, esp, 8);
    memset(own->associated + 8, 0, 8);
    own->crossing = *crossing;

    op->status = RTE_CRYPTO_OP_STATUS_NOT_PROCESSED;
    op->sess_type = RTE_CRYPTO_OP_WITH_SESSION;
    struct rte_crypto_sym_op *sym = op->sym;
    const uint32_t text = crossing->start + 16u, digest = text + crossing->text_octets;
    sym->m_src = packet;
    sym->m_dst = NULL;
    sym->session = it->device_session;
    sym->aead.data.offset = text;
    sym->aead.data.length = crossing->text_octets;
    sym->aead.digest.data = rte_pktmbuf_mtod_offset(packet, uint8_t *, digest);
    sym->aead.digest.phys_addr = rte_pktmbuf_iova_offset(packet, digest);
    sym->aead.aad.data = own->associated;
    sym->aead.aad.phys_addr = rte_crypto_op_ctophys_offset(op, room_offset + offsetof(room, associated));
    lane->waiting[lane->waiting_count++] = op;
    return true;
}

void cdpdk_lane_send(cdpdk_lane *lane) {
    if (lane->waiting_count == 0) return;
    uint32_t taken =
        rte_cryptodev_enqueue_burst(lane->device, lane->queue_pair, lane->waiting, (uint16_t)lane->waiting_count);
    lane->waiting_count -= taken;
    if (taken > 0) memmove(lane->waiting, lane->waiting + taken, lane->waiting_count * sizeof *lane->waiting);
}

const cdpdk_crossing *cdpdk_lane_collect(cdpdk_lane *lane, uint32_t *count) {
    struct rte_crypto_op *ops[collected_limit];
    uint32_t taken = rte_cryptodev_dequeue_burst(lane->device, lane->queue_pair, ops, collected_limit);
    for (uint32_t index = 0; index < taken; index++) {
        struct rte_crypto_op *op = ops[index];
        lane->collected[index] = room_of(op)->crossing;
        lane->collected[index].status = op->status == RTE_CRYPTO_OP_STATUS_SUCCESS       ? cdpdk_crossing_right
                                        : op->status == RTE_CRYPTO_OP_STATUS_AUTH_FAILED ? cdpdk_crossing_forged
                                                                                         : cdpdk_crossing_failed;
        op->sym->m_src = NULL;
        lane->unused[lane->unused_count++] = op;
    }
    *count = taken;
    return lane->collected;
}
