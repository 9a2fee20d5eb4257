// DPDK 22.11 for Swift: what its importer can't see (over-aligned structs, macros, static variables), nothing more.
//
// Per-packet calls are static inline and vanish into the Swift code that calls them. Set-up lives in the .c files.
#pragma once
#include <rte_config.h>  // first: DPDK's headers assume it

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_prefetch.h>
#include <rte_ring.h>
#include <rte_version.h>

#define CDPDK_INLINE static inline __attribute__((always_inline))

// ---- packet buffers -------------------------------------------------------------------------------------------------

// The part of rte_mbuf that we use, without the alignment that keeps the original from being imported.
typedef struct cdpdk_mbuf {
    uint8_t *buf_addr;
    uint64_t buf_iova;
    uint16_t data_off, refcnt, nb_segs, port;
    uint64_t ol_flags;
    uint32_t packet_type, pkt_len;
    uint16_t data_len, vlan_tci;
    uint32_t rss;
    uint32_t fdir_hi;
    uint16_t vlan_tci_outer, buf_len;
    void *pool;
} cdpdk_mbuf;

#define CDPDK_SAME_OFFSET(field) \
    _Static_assert(offsetof(cdpdk_mbuf, field) == offsetof(struct rte_mbuf, field), #field)
CDPDK_SAME_OFFSET(buf_addr);
CDPDK_SAME_OFFSET(data_off);
CDPDK_SAME_OFFSET(nb_segs);
CDPDK_SAME_OFFSET(port);
CDPDK_SAME_OFFSET(ol_flags);
CDPDK_SAME_OFFSET(pkt_len);
CDPDK_SAME_OFFSET(data_len);
CDPDK_SAME_OFFSET(buf_len);
CDPDK_SAME_OFFSET(pool);

typedef struct cdpdk_mbuf *cdpdk_mbuf_ref;

// A pool of COUNT buffers with ROOM octets each (headroom included), on NUMA node NODE if that has so much (-1: any);
// NULL and rte_errno on failure.
void *cdpdk_pool_create(const char *name, uint32_t count, uint32_t cache, uint16_t room, int node);
void cdpdk_pool_free(void *pool);
uint32_t cdpdk_pool_in_use(void *pool);

CDPDK_INLINE cdpdk_mbuf_ref cdpdk_mbuf_alloc(void *pool) {
    return (cdpdk_mbuf_ref)rte_pktmbuf_alloc((struct rte_mempool *)pool);
}
CDPDK_INLINE bool cdpdk_mbuf_alloc_bulk(void *pool, cdpdk_mbuf_ref *buffers, uint32_t count) {
    return rte_pktmbuf_alloc_bulk((struct rte_mempool *)pool, (struct rte_mbuf **)buffers, count) == 0;
}
CDPDK_INLINE void cdpdk_mbuf_free_bulk(cdpdk_mbuf_ref *buffers, uint32_t count) {
    rte_pktmbuf_free_bulk((struct rte_mbuf **)buffers, count);
}
// Gathers a chain of segments into its first; false when it has no room for that.
CDPDK_INLINE bool cdpdk_mbuf_linearize(cdpdk_mbuf_ref buffer) {
    return rte_pktmbuf_linearize((struct rte_mbuf *)buffer) == 0;
}
// A time stamp that travels with the packet (capture replay); reserved once by cdpdk_timestamp_register.
extern int cdpdk_timestamp_offset;
bool cdpdk_timestamp_register(void);
CDPDK_INLINE uint64_t cdpdk_mbuf_timestamp(cdpdk_mbuf_ref buffer) {
    return *RTE_MBUF_DYNFIELD(buffer, cdpdk_timestamp_offset, uint64_t *);
}
CDPDK_INLINE void cdpdk_mbuf_set_timestamp(cdpdk_mbuf_ref buffer, uint64_t timestamp) {
    *RTE_MBUF_DYNFIELD(buffer, cdpdk_timestamp_offset, uint64_t *) = timestamp;
}

// ---- ports and rings ------------------------------------------------------------------------------------------------

CDPDK_INLINE uint16_t cdpdk_rx_burst(uint16_t port, uint16_t queue, cdpdk_mbuf_ref *buffers, uint16_t count) {
    return rte_eth_rx_burst(port, queue, (struct rte_mbuf **)buffers, count);
}
CDPDK_INLINE uint16_t cdpdk_tx_burst(uint16_t port, uint16_t queue, cdpdk_mbuf_ref *buffers, uint16_t count) {
    return rte_eth_tx_burst(port, queue, (struct rte_mbuf **)buffers, count);
}

// A ring of COUNT - 1 places (COUNT a power of two); many producers unless SINGLE. NODE as above. NULL and rte_errno on
// failure.
void *cdpdk_ring_create(const char *name, uint32_t count, bool single, int node);
void cdpdk_ring_free(void *ring);
uint32_t cdpdk_ring_count(void *ring);
CDPDK_INLINE uint32_t cdpdk_ring_enqueue(void *ring, cdpdk_mbuf_ref *buffers, uint32_t count) {
    return rte_ring_enqueue_burst((struct rte_ring *)ring, (void *const *)buffers, count, NULL);
}
CDPDK_INLINE uint32_t cdpdk_ring_dequeue(void *ring, cdpdk_mbuf_ref *buffers, uint32_t count) {
    return rte_ring_dequeue_burst((struct rte_ring *)ring, (void **)buffers, count, NULL);
}

// An Ethernet port whose one receive queue is RX and whose one transmit queue is TX; -errno on failure.
int cdpdk_port_from_rings(const char *name, void *rx, void *tx);

typedef struct cdpdk_port_request {
    uint16_t rx_queues, tx_queues;  // wanted; the device may offer fewer
    uint16_t mtu_octets;
    uint16_t rx_descriptors, tx_descriptors;
    bool secure;    // with the device's IPsec engine, each way
    bool loopback;  // what is sent comes back and never reaches the wire
    void *const *pools;  // of each receive queue
} cdpdk_port_request;

typedef struct cdpdk_port_state {
    char driver[64];
    uint8_t mac[6];
    uint16_t rx_queues, tx_queues;  // what the device gave
    uint16_t tx_descriptors;
    uint32_t max_mtu_octets;
    int mtu_error;                  // 0, or -errno: the device keeps its own MTU
    bool rss;                       // received packets are spread over its queues
    bool rss_spi;                   // and ESP by its SPI
    int error;                      // -errno of the step that failed
    const char *failed_step;        // NULL when the port runs
} cdpdk_port_state;

// The port with this device name, or -errno.
int cdpdk_port_by_name(const char *name);
// Its driver's name.
void cdpdk_port_driver(uint16_t port, char *name, uint32_t room);
// Configures and starts a port as far as its driver allows.
void cdpdk_port_start(uint16_t port, const cdpdk_port_request *request, cdpdk_port_state *state);
// Makes a port receive frames to these multicast MAC addresses, or to any where its driver knows no list. -errno when
// it can do neither.
int cdpdk_port_join(uint16_t port, const uint64_t *groups, uint32_t count);
// Stops and closes it; buffers in its queues go back to their pool.
void cdpdk_port_close(uint16_t port);
bool cdpdk_port_link_is_up(uint16_t port);
// Packets the device lost by itself (rx_missed, rx_errors, rx_nombuf), for the operator.
void cdpdk_port_lost(uint16_t port, uint64_t *missed, uint64_t *errors, uint64_t *no_buffers);

// ---- environment ----------------------------------------------------------------------------------------------------

// rte_eal_init; with KEEP_AFFINITY the calling thread stays on the processors it was on. -rte_errno on failure.
int cdpdk_eal_init(int count, char **arguments, bool keep_affinity);
CDPDK_INLINE int cdpdk_errno(void) { return rte_errno; }
// Numbers of the processors this process may run on, ascending; returns how many were written.
int cdpdk_processors(int *numbers, int capacity);
// Makes the process undumpable (PR_SET_DUMPABLE); false when the kernel refuses.
bool cdpdk_hide_memory(void);
// Sets malloc up for much that comes and goes at once: what is freed is used again and not given back to the kernel,
// which would have to clear it for each use. Before there are threads.
void cdpdk_expect_large_heap(void);
// Whether the system clock follows another (adjtimex): 1 or 0, -1 when the kernel does not say.
int cdpdk_clock_synchronized(void);
// Version DPDK was built as, and the one the headers are.
bool cdpdk_version_matches(void);
// Waits until every worker lcore has returned.
CDPDK_INLINE void cdpdk_wait_lcores(void) { rte_eal_mp_wait_lcore(); }
CDPDK_INLINE void cdpdk_pause(void) { rte_pause(); }
// Rests for about so many ticks of the time-stamp counter: in a state that saves power where the processor has one that
// ends by itself (TPAUSE), else by pausing.
void cdpdk_rest(uint64_t ticks);
// Gives the processor to others for so many microseconds at least.
void cdpdk_sleep(uint32_t microseconds);

// ---- lookup ---------------------------------------------------------------------------------------------------------

// The fields of a packet that policies look at. Addresses and ports in network order, as rte_acl wants them.
typedef struct cdpdk_flow_key {
    uint8_t protocol;
    uint8_t zero[3];
    uint32_t source, destination;
    uint16_t source_port, destination_port;
    uint32_t ports_visible;  // 1 in network order, or 0: a later fragment, or a protocol without ports
} cdpdk_flow_key;

// One rule; the highest priority wins. Addresses and ports in the processor's order.
typedef struct cdpdk_rule {
    uint32_t source, destination;
    uint8_t source_length, destination_length;
    uint8_t protocol, protocol_mask;
    uint16_t source_port_low, source_port_high, destination_port_low, destination_port_high;
    uint8_t ports_visible, ports_visible_mask;
    int32_t priority;
    uint32_t result;  // not 0
} cdpdk_rule;

// The same of an IPv6 packet.
typedef struct cdpdk_flow_key6 {
    uint8_t protocol;
    uint8_t fragment;  // 1: a first or later one; no rule looks at it
    uint8_t zero[2];
    uint32_t source[4], destination[4];
    uint16_t source_port, destination_port;
    uint32_t ports_visible;
} cdpdk_flow_key6;

// One rule over IPv6. Each word of an address in the processor's order, the first word first.
typedef struct cdpdk_rule6 {
    uint32_t source[4], destination[4];
    uint8_t source_length, destination_length;
    uint8_t protocol, protocol_mask;
    uint16_t source_port_low, source_port_high, destination_port_low, destination_port_high;
    uint8_t ports_visible, ports_visible_mask;
    int32_t priority;
    uint32_t result;  // not 0
} cdpdk_rule6;

// Builds a classifier; NULL with *ERROR (-errno) on failure. COUNT is at least 1.
void *cdpdk_classifier_create(const char *name, const cdpdk_rule *rules, uint32_t count, int *error);
void *cdpdk_classifier6_create(const char *name, const cdpdk_rule6 *rules, uint32_t count, int *error);
void cdpdk_classifier_free(void *classifier);
// RESULTS[i] = result of the best rule for *KEYS[i], or 0.
void cdpdk_classify(void *classifier, const cdpdk_flow_key *const *keys, uint32_t *results, uint32_t count);
void cdpdk_classify6(void *classifier, const cdpdk_flow_key6 *const *keys, uint32_t *results, uint32_t count);

// A longest-prefix table over IPv4 for up to ROUTES routes; next hops below NEXT_HOPS, 32768 at most, of which 0 is
// none; TABLES is in how many blocks of 256 addresses there are routes for parts. NULL and rte_errno on failure.
void *cdpdk_fib_create(const char *name, uint32_t routes, uint32_t next_hops, uint32_t tables);
void cdpdk_fib_free(void *fib);
int cdpdk_fib_add(void *fib, uint32_t address, uint8_t length, uint64_t next_hop);
// Addresses in the processor's order.
void cdpdk_fib_lookup(void *fib, uint32_t *addresses, uint64_t *next_hops, uint32_t count);

// The same over IPv6, with room for ROUTES routes and TBL8S tables of 256 entries. Addresses as they are on the wire.
void *cdpdk_fib6_create(const char *name, uint32_t routes, uint32_t tbl8s);
void cdpdk_fib6_free(void *fib);
int cdpdk_fib6_add(void *fib, const uint8_t *address, uint8_t length, uint64_t next_hop);
void cdpdk_fib6_lookup(void *fib, void *addresses, uint64_t *next_hops, uint32_t count);
