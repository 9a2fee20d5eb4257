#define ALLOW_EXPERIMENTAL_API  // rte_security_set_pkt_metadata
#include "cdpdk_security.h"

#include <rte_cryptodev.h>
#include <rte_errno.h>
#include <rte_esp.h>
#include <rte_flow.h>
#include <rte_ip.h>
#include <rte_mbuf_dyn.h>
#include <rte_security.h>
#include <stdio.h>
#include <string.h>

void *cdpdk_security_context(uint16_t port) { return rte_eth_dev_get_sec_ctx(port); }

void cdpdk_security_offloads(uint16_t port, bool *receive, bool *transmit) {
    struct rte_eth_dev_info info;
    *receive = *transmit = false;
    if (rte_eth_dev_info_get(port, &info) < 0) return;
    const uint64_t wanted = RTE_ETH_TX_OFFLOAD_SECURITY | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
    *receive = (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SECURITY) != 0;
    *transmit = (info.tx_offload_capa & wanted) == wanted;
}

static bool holds(const struct rte_crypto_param_range *range, uint16_t value) {
    if (value < range->min || value > range->max) return false;
    return range->increment == 0 ? value == range->min || value == range->max
                                 : (value - range->min) % range->increment == 0;
}

static void add(cdpdk_security_capability *row, const char *name) {
    size_t used = strlen(row->algorithms);
    snprintf(row->algorithms + used, sizeof row->algorithms - used, "%s%s", used ? " " : "", name);
}

static void add_algorithms(cdpdk_security_capability *row, const struct rte_cryptodev_capabilities *list) {
    for (; list != NULL && list->op != RTE_CRYPTO_OP_TYPE_UNDEFINED; list++) {
        if (list->op != RTE_CRYPTO_OP_TYPE_SYMMETRIC) continue;
        const struct rte_cryptodev_symmetric_capability *it = &list->sym;
        const char *name = NULL;
        if (it->xform_type == RTE_CRYPTO_SYM_XFORM_AEAD) {
            name = rte_crypto_aead_algorithm_strings[it->aead.algo];
            if (it->aead.algo == RTE_CRYPTO_AEAD_AES_GCM && holds(&it->aead.key_size, 16) &&
                holds(&it->aead.digest_size, 16) && holds(&it->aead.aad_size, 8))
                row->has_aes_128_gcm = true;
        } else if (it->xform_type == RTE_CRYPTO_SYM_XFORM_AUTH) {
            name = rte_crypto_auth_algorithm_strings[it->auth.algo];
        } else if (it->xform_type == RTE_CRYPTO_SYM_XFORM_CIPHER) {
            name = rte_crypto_cipher_algorithm_strings[it->cipher.algo];
        }
        if (name != NULL) add(row, name);
    }
}

uint32_t cdpdk_security_capabilities(void *context, cdpdk_security_capability *list, uint32_t room) {
    const struct rte_security_capability *it = rte_security_capabilities_get(context);
    const uint32_t trailers = RTE_SECURITY_TX_HW_TRAILER_OFFLOAD | RTE_SECURITY_RX_HW_TRAILER_OFFLOAD;
    uint32_t count = 0;
    for (; it != NULL && it->action != RTE_SECURITY_ACTION_TYPE_NONE && count < room; it++) {
        if (it->protocol != RTE_SECURITY_PROTOCOL_IPSEC) continue;
        cdpdk_security_capability *row = &list[count++];
        memset(row, 0, sizeof *row);
        row->is_inline_crypto = it->action == RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO;
        row->is_esp = it->ipsec.proto == RTE_SECURITY_IPSEC_SA_PROTO_ESP;
        row->is_tunnel = it->ipsec.mode == RTE_SECURITY_IPSEC_SA_MODE_TUNNEL;
        row->is_egress = it->ipsec.direction == RTE_SECURITY_IPSEC_SA_DIR_EGRESS;
        row->needs_metadata = (it->ol_flags & RTE_SECURITY_TX_OLOAD_NEED_MDATA) != 0;
        row->changes_trailer = (it->ol_flags & trailers) != 0;
        row->has_esn = it->ipsec.options.esn;
        row->has_udp_encapsulation = it->ipsec.options.udp_encap;
        row->replay_window_packets = it->ipsec.replay_win_sz_max;
        add_algorithms(row, it->crypto_capabilities);
    }
    return count;
}

void *cdpdk_session_pool_create(void *context, const char *name, uint32_t count) {
    // 22.11 keeps its own header before the driver's part and does not say how long that is.
    unsigned octets = rte_security_session_get_size(context) + 256;
    return rte_mempool_create(name, count, octets, 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
}

void cdpdk_session_pool_free(void *pool) { rte_mempool_free(pool); }

void *cdpdk_session_create(void *context, const cdpdk_session_request *request, void *pool) {
    struct rte_crypto_sym_xform transform;
    memset(&transform, 0, sizeof transform);
    transform.type = RTE_CRYPTO_SYM_XFORM_AEAD;
    transform.aead.op = request->is_egress ? RTE_CRYPTO_AEAD_OP_ENCRYPT : RTE_CRYPTO_AEAD_OP_DECRYPT;
    transform.aead.algo = RTE_CRYPTO_AEAD_AES_GCM;
    // net_ixgbe reads the salt from behind the key; others take it from ipsec.salt.
    transform.aead.key.data = request->keymat;
    transform.aead.key.length = 16;
    transform.aead.iv.length = 12;
    transform.aead.digest_length = 16;
    transform.aead.aad_length = 8;
    struct rte_security_session_conf conf;
    memset(&conf, 0, sizeof conf);
    conf.action_type = RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO;
    conf.protocol = RTE_SECURITY_PROTOCOL_IPSEC;
    conf.ipsec.spi = request->spi;
    memcpy(&conf.ipsec.salt, request->keymat + 16, 4);
    conf.ipsec.proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP;
    conf.ipsec.mode =
        request->is_tunnel ? RTE_SECURITY_IPSEC_SA_MODE_TUNNEL : RTE_SECURITY_IPSEC_SA_MODE_TRANSPORT;
    conf.ipsec.direction =
        request->is_egress ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS;
    conf.ipsec.tunnel.type =
        request->is_ipv6 ? RTE_SECURITY_IPSEC_TUNNEL_IPV6 : RTE_SECURITY_IPSEC_TUNNEL_IPV4;
    if (request->is_ipv6) {
        memcpy(&conf.ipsec.tunnel.ipv6.src_addr, request->source, 16);
        memcpy(&conf.ipsec.tunnel.ipv6.dst_addr, request->destination, 16);
    } else {
        memcpy(&conf.ipsec.tunnel.ipv4.src_ip, request->source, 4);
        memcpy(&conf.ipsec.tunnel.ipv4.dst_ip, request->destination, 4);
    }
    conf.crypto_xform = &transform;
    return rte_security_session_create(context, &conf, pool);
}

int cdpdk_session_attach(uint16_t port, void *session, const cdpdk_session_request *request) {
    struct rte_flow_item_ipv4 four, four_mask;
    struct rte_flow_item_ipv6 six, six_mask;
    struct rte_flow_item_esp esp, esp_mask;
    memset(&four, 0, sizeof four), memset(&four_mask, 0, sizeof four_mask);
    memset(&six, 0, sizeof six), memset(&six_mask, 0, sizeof six_mask);
    memset(&esp, 0, sizeof esp), memset(&esp_mask, 0, sizeof esp_mask);
    memcpy(&four.hdr.dst_addr, request->destination, 4);
    memset(&four_mask.hdr.dst_addr, 0xff, 4);
    memcpy(six.hdr.dst_addr, request->destination, 16);
    memset(six_mask.hdr.dst_addr, 0xff, 16);
    esp.hdr.spi = rte_cpu_to_be_32(request->spi);
    esp_mask.hdr.spi = UINT32_MAX;
    const struct rte_flow_item pattern[] = {
        {.type = RTE_FLOW_ITEM_TYPE_ETH},
        {.type = request->is_ipv6 ? RTE_FLOW_ITEM_TYPE_IPV6 : RTE_FLOW_ITEM_TYPE_IPV4,
         .spec = request->is_ipv6 ? (const void *)&six : &four,
         .mask = request->is_ipv6 ? (const void *)&six_mask : &four_mask},
        {.type = RTE_FLOW_ITEM_TYPE_ESP, .spec = &esp, .mask = &esp_mask},
        {.type = RTE_FLOW_ITEM_TYPE_END},
    };
    const struct rte_flow_action actions[] = {{.type = RTE_FLOW_ACTION_TYPE_SECURITY, .conf = session},
                                              {.type = RTE_FLOW_ACTION_TYPE_END}};
    const struct rte_flow_attr attributes = {.ingress = 1};
    struct rte_flow_error error;
    return rte_flow_create(port, &attributes, pattern, actions, &error) != NULL ? 0 : -rte_errno;
}

int cdpdk_session_destroy(void *context, void *session) { return rte_security_session_destroy(context, session); }

cdpdk_mark cdpdk_mark_make(uint16_t header_octets, bool is_ipv6) {
    struct rte_mbuf packet = {.tx_offload = 0};
    packet.l2_len = sizeof(struct rte_ether_hdr);
    packet.l3_len = header_octets;
    const uint64_t ip = is_ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
    return (cdpdk_mark){.flags = RTE_MBUF_F_TX_SEC_OFFLOAD | ip, .lengths = packet.tx_offload};
}

int cdpdk_session_tell(void *context, void *session, cdpdk_mbuf_ref buffer) {
    return rte_security_set_pkt_metadata(context, session, (struct rte_mbuf *)buffer, NULL);
}

uint32_t cdpdk_session_mark_all(
    void *context, void *session, cdpdk_mbuf_ref *buffers, uint32_t count, cdpdk_mark mark) {
    uint32_t taken = 0;
    while (taken < count && cdpdk_session_mark(context, session, buffers[taken], mark) == 0) taken++;
    return taken;
}

void *cdpdk_idle_engine(void) {
    static struct rte_security_ctx engine = {.flags = RTE_SEC_CTX_F_FAST_SET_MDATA};
    // What drivers with such sessions register.
    static const struct rte_mbuf_dynfield field = {
        .name = "rte_security_dynfield_metadata", .size = sizeof(rte_security_dynfield_t),
        .align = __alignof__(rte_security_dynfield_t)};
    if (rte_security_dynfield_offset < 0) rte_security_dynfield_offset = rte_mbuf_dynfield_register(&field);
    return rte_security_dynfield_offset < 0 ? NULL : &engine;
}

void *cdpdk_idle_session(void) {
    static uint64_t session[8] __attribute__((aligned(64)));
    return session;
}

int cdpdk_queue_is_idle(uint16_t port, uint16_t queue, uint16_t descriptors) {
    // The youngest descriptor: those before it went first.
    int status = rte_eth_tx_descriptor_status(port, queue, (uint16_t)(descriptors - 1));
    return status < 0 ? status : status == RTE_ETH_TX_DESC_DONE;
}

int cdpdk_port_stop(uint16_t port) { return rte_eth_dev_stop(port); }

int cdpdk_port_restart(uint16_t port) { return rte_eth_dev_start(port); }
