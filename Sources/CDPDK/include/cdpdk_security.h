// rte_security for Swift: what a device's IPsec engine offers, and the sessions (SAs) it is given. Inline crypto only.
#pragma once
#include "cdpdk.h"

// One thing that a driver says it does.
typedef struct cdpdk_security_capability {
    bool is_inline_crypto;   // and not lookaside, nor the whole protocol in hardware
    bool is_esp;             // IPsec ESP
    bool is_tunnel;          // else transport
    bool is_egress;          // else ingress
    bool has_aes_128_gcm;    // AEAD AES-GCM with a key of 16 octets, an ICV of 16 and 8 octets of associated data
    bool needs_metadata;     // cdpdk_session_mark is needed for each packet
    bool changes_trailer;    // makes or removes trailers by itself
    bool has_esn, has_udp_encapsulation;
    uint32_t replay_window_packets;  // 0: does not look
    char algorithms[80];     // of all that it names, "aes-gcm aes-gmac"
} cdpdk_security_capability;

// The engine of a port; NULL when its driver has none.
void *cdpdk_security_context(uint16_t port);
// Returns how many capabilities were written.
uint32_t cdpdk_security_capabilities(void *context, cdpdk_security_capability *list, uint32_t room);
// Whether the port says that it can have SECURITY in both, and IPv4 checksums, among its offloads.
void cdpdk_security_offloads(uint16_t port, bool *receive, bool *transmit);

typedef struct cdpdk_session_request {
    bool is_egress, is_tunnel, is_ipv6;
    uint32_t spi;                   // in the processor's order
    const uint8_t *keymat;          // 16 octets of key and then 4 of salt; good until the session is destroyed
    uint8_t source[16], destination[16];  // as they are on the wire; IPv4 in the first four
} cdpdk_session_request;

// Memory for COUNT sessions of the engine; NULL and rte_errno on failure.
void *cdpdk_session_pool_create(void *context, const char *name, uint32_t count);
void cdpdk_session_pool_free(void *pool);
// A session; NULL and rte_errno when the driver refuses.
void *cdpdk_session_create(void *context, const cdpdk_session_request *request, void *pool);
// Attaches an ingress session to packets for its destination and SPI; -errno.
int cdpdk_session_attach(uint16_t port, void *session, const cdpdk_session_request *request);
int cdpdk_session_destroy(void *context, void *session);
// What a packet's buffer says of a packet that a device is to encrypt, with an IP header of so many octets.
typedef struct cdpdk_mark {
    uint64_t flags, lengths;
} cdpdk_mark;
cdpdk_mark cdpdk_mark_make(uint16_t header_octets, bool is_ipv6);
// Tells the driver which session a packet is for; -errno.
int cdpdk_session_tell(void *context, void *session, cdpdk_mbuf_ref buffer);
// Makes the device encrypt an ESP packet that is whole but for ciphertext and ICV, and perhaps for its Ethernet header.
// Returns -errno, and then the buffer's flags are as they were.
CDPDK_INLINE int cdpdk_session_mark(void *context, void *session, cdpdk_mbuf_ref buffer, cdpdk_mark mark) {
    const uint64_t before = buffer->ol_flags;
    ((struct rte_mbuf *)buffer)->tx_offload = mark.lengths;
    buffer->ol_flags = (before & (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL)) | mark.flags;
    const int error = cdpdk_session_tell(context, session, buffer);
    if (error != 0) buffer->ol_flags = before;
    return error;
}
// The same for COUNT packets; returns how many the driver took, from the first on.
uint32_t cdpdk_session_mark_all(
    void *context, void *session, cdpdk_mbuf_ref *buffers, uint32_t count, cdpdk_mark mark);

// What the device says of a received packet.
CDPDK_INLINE bool cdpdk_mbuf_is_opened(cdpdk_mbuf_ref buffer) {
    return (buffer->ol_flags & (RTE_MBUF_F_RX_SEC_OFFLOAD | RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED)) ==
           RTE_MBUF_F_RX_SEC_OFFLOAD;
}
CDPDK_INLINE bool cdpdk_mbuf_has_failed(cdpdk_mbuf_ref buffer) {
    return (buffer->ol_flags & RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED) != 0;
}
// For what stands in for a device: says what one would.
CDPDK_INLINE void cdpdk_mbuf_set_verdict(cdpdk_mbuf_ref buffer, bool opened, bool failed) {
    buffer->ol_flags = (opened ? RTE_MBUF_F_RX_SEC_OFFLOAD : 0) | (failed ? RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED : 0);
}
// Whether a packet to be sent still wants encryption: its payload is clear.
CDPDK_INLINE bool cdpdk_mbuf_wants_encryption(cdpdk_mbuf_ref buffer) {
    return (buffer->ol_flags & RTE_MBUF_F_TX_SEC_OFFLOAD) != 0;
}

// An engine and a session that do nothing, for measurements without a device: a packet that is marked for them costs
// what marking costs with a driver that needs no call of its own. NULL without room in packet buffers.
void *cdpdk_idle_engine(void);
void *cdpdk_idle_session(void);

// Whether the port has sent all that it was given on a queue, as far as the driver tells: 1 or 0, -errno.
int cdpdk_queue_is_idle(uint16_t port, uint16_t queue, uint16_t descriptors);
// Stops a port, which keeps its configuration, and starts it; -errno.
int cdpdk_port_stop(uint16_t port);
int cdpdk_port_restart(uint16_t port);
