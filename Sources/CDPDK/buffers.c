#include "cdpdk.h"

#include <rte_errno.h>
#include <rte_mbuf_dyn.h>

int cdpdk_timestamp_offset = -1;

void *cdpdk_pool_create(const char *name, uint32_t count, uint32_t cache, uint16_t room, int node) {
    void *pool = rte_pktmbuf_pool_create(name, count, cache, 0, room, node);
    if (pool != NULL || node == SOCKET_ID_ANY) return pool;
    return rte_pktmbuf_pool_create(name, count, cache, 0, room, SOCKET_ID_ANY);
}

void cdpdk_pool_free(void *pool) { rte_mempool_free(pool); }

uint32_t cdpdk_pool_in_use(void *pool) { return rte_mempool_in_use_count(pool); }

bool cdpdk_timestamp_register(void) {
    return rte_mbuf_dyn_rx_timestamp_register(&cdpdk_timestamp_offset, NULL) == 0;
}

void *cdpdk_ring_create(const char *name, uint32_t count, bool single, int node) {
    const unsigned flags = single ? RING_F_SP_ENQ | RING_F_SC_DEQ : RING_F_SC_DEQ;
    void *ring = rte_ring_create(name, count, node, flags);
    if (ring != NULL || node == SOCKET_ID_ANY) return ring;
    return rte_ring_create(name, count, SOCKET_ID_ANY, flags);
}

void cdpdk_ring_free(void *ring) { rte_ring_free(ring); }

uint32_t cdpdk_ring_count(void *ring) { return rte_ring_count(ring); }
