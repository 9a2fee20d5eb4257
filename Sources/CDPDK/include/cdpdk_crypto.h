// rte_cryptodev for Swift: devices that encrypt and decrypt beside a packet's way (lookaside), AES-128-GCM in place.
#pragma once
#include "cdpdk.h"

typedef struct cdpdk_crypto_state {
    char driver[64];
    uint32_t sessions;        // room for as many
    int error;                // -errno of the step that failed, or 0 where nothing but the device's own word says no
    const char *failed_step;  // NULL when the device runs
} cdpdk_crypto_state;

// The device of this name, or of this PCI address; -errno.
int cdpdk_crypto_by_name(const char *name);
// Starts a device with one queue pair for each worker. SESSIONS are wanted; the device may have room for fewer.
void cdpdk_crypto_start(
    uint8_t device, uint16_t queue_pairs, uint32_t descriptors, uint32_t sessions, cdpdk_crypto_state *state);
// Nothing is under way after that.
void cdpdk_crypto_stop(uint8_t device);
void cdpdk_crypto_close(uint8_t device);

// Memory for COUNT sessions; NULL and rte_errno on failure.
void *cdpdk_crypto_pool_create(uint8_t device, const char *name, uint32_t count);
void cdpdk_crypto_pool_free(void *pool);
// A session of ESP's AES-128-GCM with an ICV of 16 octets. KEYMAT is 16 octets of key and then 4 of salt; nobody looks
// at it later. NULL and rte_errno on failure. Its address has 48 bits.
void *cdpdk_crypto_session_create(uint8_t device, const uint8_t *keymat, bool encrypts, void *pool);
// Nothing may be under way under it. Leaves nothing of the key.
void cdpdk_crypto_session_destroy(uint8_t device, void *session);

// ---- a worker's way to a device: one queue pair, and operations that are its own ------------------------------------

typedef struct cdpdk_lane cdpdk_lane;

enum { cdpdk_crossing_right, cdpdk_crossing_forged, cdpdk_crossing_failed };

// What is remembered of a packet until the device has done its work.
typedef struct cdpdk_crossing {
    cdpdk_mbuf_ref buffer;
    uint64_t handle;       // below its upper 16 bits the session's address
    uint32_t tag, epoch;   // the caller's own
    uint16_t start;        // where ESP begins in the packet
    uint16_t text_octets;  // between IV and ICV
    uint8_t is_outbound;   // the caller's own
    uint8_t status;        // cdpdk_crossing_…, when it comes back
} cdpdk_crossing;

// COUNT operations for a queue pair; NULL and rte_errno on failure.
cdpdk_lane *cdpdk_lane_create(uint8_t device, uint16_t queue_pair, const char *name, uint32_t count);
// After the device was stopped. Frees the buffers that never came back; returns how many.
uint32_t cdpdk_lane_free(cdpdk_lane *lane);
// Makes an operation of a packet, to go with the next cdpdk_lane_send. False when none is left.
bool cdpdk_lane_add(cdpdk_lane *lane, const cdpdk_crossing *crossing);
// Gives the device what was added; what it does not take goes first the next time.
void cdpdk_lane_send(cdpdk_lane *lane);
// What came back, oldest first, at most 32; it stays where it is until the next call.
const cdpdk_crossing *cdpdk_lane_collect(cdpdk_lane *lane, uint32_t *count);
