#define ALLOW_EXPERIMENTAL_API
#include "probe.h"

#include <arpa/inet.h>
#include <rte_cryptodev.h>
#include <rte_esp.h>
#include <rte_flow.h>
#include <rte_ip.h>
#include <rte_security.h>
#include <stdio.h>
#include <string.h>

session sessions[SESSIONS];
static int used;

static struct rte_security_ctx *context_of(uint16_t port) { return rte_eth_dev_get_sec_ctx(port); }

static struct rte_mempool *pool_of(uint16_t port) {
    static struct rte_mempool *pool;
    if (pool == NULL)
        pool = rte_mempool_create("sessions", 4095, rte_security_session_get_size(context_of(port)) + 256, 64, 0, NULL,
                                  NULL, NULL, NULL, SOCKET_ID_ANY, 0);
    return pool;
}

// How the 82599 learns of an inbound SA: a flow whose destination address counts, and nothing else.
static bool attach(uint16_t port, void *handle, uint32_t spi, const char *destination) {
    bool is_ipv6 = strchr(destination, ':') != NULL;
    struct rte_flow_item_ipv4 four = {0}, four_mask = {0};
    struct rte_flow_item_ipv6 six = {0}, six_mask = {0};
    struct rte_flow_item_esp esp = {0}, esp_mask = {0};
    inet_pton(is_ipv6 ? AF_INET6 : AF_INET, destination, is_ipv6 ? (void *)six.hdr.dst_addr : &four.hdr.dst_addr);
    four_mask.hdr.dst_addr = UINT32_MAX;
    memset(six_mask.hdr.dst_addr, 0xFF, 16);
    esp.hdr.spi = rte_cpu_to_be_32(spi);
    esp_mask.hdr.spi = UINT32_MAX;
    struct rte_flow_item pattern[] = {
        {.type = RTE_FLOW_ITEM_TYPE_ETH},
        {.type = is_ipv6 ? RTE_FLOW_ITEM_TYPE_IPV6 : RTE_FLOW_ITEM_TYPE_IPV4,
         .spec = is_ipv6 ? (void *)&six : &four, .mask = is_ipv6 ? (void *)&six_mask : &four_mask},
        {.type = RTE_FLOW_ITEM_TYPE_ESP, .spec = &esp, .mask = &esp_mask},
        {.type = RTE_FLOW_ITEM_TYPE_END},
    };
    struct rte_flow_action actions[] = {{.type = RTE_FLOW_ACTION_TYPE_SECURITY, .conf = handle},
                                        {.type = RTE_FLOW_ACTION_TYPE_END}};
    struct rte_flow_attr attributes = {.ingress = 1};
    struct rte_flow_error error;
    return rte_flow_create(port, &attributes, pattern, actions, &error) != NULL;
}

int session_create(uint16_t port, bool egress, uint32_t spi, const uint8_t *keymat, const char *destination) {
    if (used == SESSIONS || context_of(port) == NULL) return -1;
    session *own = &sessions[used];
    memcpy(own->keymat, keymat, KEYMAT_OCTETS);
    struct rte_crypto_sym_xform transform = {.type = RTE_CRYPTO_SYM_XFORM_AEAD};
    transform.aead.op = egress ? RTE_CRYPTO_AEAD_OP_ENCRYPT : RTE_CRYPTO_AEAD_OP_DECRYPT;
    transform.aead.algo = RTE_CRYPTO_AEAD_AES_GCM;
    transform.aead.key.data = own->keymat;
    transform.aead.key.length = 16;
    transform.aead.iv.length = 12;
    transform.aead.digest_length = 16;
    transform.aead.aad_length = 8;
    struct rte_security_session_conf conf = {.action_type = RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO,
                                             .protocol = RTE_SECURITY_PROTOCOL_IPSEC};
    conf.ipsec.spi = spi;
    memcpy(&conf.ipsec.salt, keymat + 16, 4);
    conf.ipsec.proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP;
    conf.ipsec.mode = RTE_SECURITY_IPSEC_SA_MODE_TUNNEL;
    conf.ipsec.direction = egress ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS;
    conf.crypto_xform = &transform;
    own->port = port;
    own->handle = rte_security_session_create(context_of(port), &conf, pool_of(port));
    if (own->handle == NULL || (!egress && !attach(port, own->handle, spi, destination))) return -1;
    return used++;
}

int session_destroy(int number) {
    return rte_security_session_destroy(context_of(sessions[number].port), sessions[number].handle);
}

int session_mark(int number, struct rte_mbuf *packet, uint16_t header) {
    packet->l2_len = sizeof(struct rte_ether_hdr);
    packet->l3_len = header;
    packet->ol_flags |= RTE_MBUF_F_TX_SEC_OFFLOAD;
    packet->ol_flags |= header == 40 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
    session *own = &sessions[number];
    return rte_security_set_pkt_metadata(context_of(own->port), own->handle, packet, NULL);
}
