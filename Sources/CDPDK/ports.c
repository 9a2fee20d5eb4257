#include "cdpdk.h"

#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <stdio.h>
#include <string.h>

int cdpdk_port_by_name(const char *name) {
    uint16_t port;
    int error = rte_eth_dev_get_port_by_name(name, &port);
    return error < 0 ? error : port;
}

int cdpdk_port_from_rings(const char *name, void *rx, void *tx) {
    struct rte_ring *receive = rx, *transmit = tx;
    int port = rte_eth_from_rings(name, &receive, 1, &transmit, 1, 0);
    return port < 0 ? -rte_errno : port;
}

void cdpdk_port_driver(uint16_t port, char *name, uint32_t room) {
    struct rte_eth_dev_info info;
    snprintf(name, room, "%s", rte_eth_dev_info_get(port, &info) < 0 ? "" : info.driver_name);
}

static uint16_t lesser(uint16_t left, uint16_t right) { return left < right ? left : right; }

static bool failed(cdpdk_port_state *state, const char *step, int error) {
    if (error >= 0) return false;
    state->failed_step = step;
    state->error = error;
    return true;
}

void cdpdk_port_start(uint16_t port, const cdpdk_port_request *request, cdpdk_port_state *state) {
    struct rte_eth_dev_info info;
    struct rte_eth_conf conf;
    memset(state, 0, sizeof *state);
    memset(&conf, 0, sizeof conf);
    if (failed(state, "query", rte_eth_dev_info_get(port, &info))) return;
    snprintf(state->driver, sizeof state->driver, "%s", info.driver_name);
    state->max_mtu_octets = info.max_mtu;

    // Every worker needs a transmit queue of its own; receive queues may be fewer than workers.
    state->rx_queues = lesser(request->rx_queues, info.max_rx_queues);
    state->tx_queues = lesser(request->tx_queues, info.max_tx_queues);
    if (state->rx_queues > 1) {
        uint64_t wanted = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP |
                          RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP |
                          RTE_ETH_RSS_ESP;
        conf.rx_adv_conf.rss_conf.rss_hf = wanted & info.flow_type_rss_offloads;
        state->rss = conf.rx_adv_conf.rss_conf.rss_hf != 0;
        state->rss_spi = (conf.rx_adv_conf.rss_conf.rss_hf & RTE_ETH_RSS_ESP) != 0;
        if (state->rss) conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    }
    struct rte_eth_txconf transmit = info.default_txconf;
    if (request->secure) {
        conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SECURITY;
        conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_SECURITY | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
        transmit.offloads = conf.txmode.offloads;
        // Every descriptor reports, so that one can see when all that was given has been sent.
        transmit.tx_rs_thresh = 1;
    }
    if (request->loopback) conf.lpbk_mode = 1;
    if (info.max_mtu == 0 || request->mtu_octets <= info.max_mtu) conf.rxmode.mtu = request->mtu_octets;
    if (failed(state, "configure", rte_eth_dev_configure(port, state->rx_queues, state->tx_queues, &conf))) return;

    uint16_t rx_descriptors = request->rx_descriptors, tx_descriptors = request->tx_descriptors;
    if (failed(state, "size the rings of", rte_eth_dev_adjust_nb_rx_tx_desc(port, &rx_descriptors, &tx_descriptors)))
        return;
    for (uint16_t queue = 0; queue < state->rx_queues; queue++) {
        int error = rte_eth_rx_queue_setup(port, queue, rx_descriptors, SOCKET_ID_ANY, NULL, request->pools[queue]);
        if (failed(state, "set up a receive queue of", error)) return;
    }
    for (uint16_t queue = 0; queue < state->tx_queues; queue++) {
        int error = rte_eth_tx_queue_setup(port, queue, tx_descriptors, SOCKET_ID_ANY, &transmit);
        if (failed(state, "set up a transmit queue of", error)) return;
    }
    state->tx_descriptors = tx_descriptors;
    state->mtu_error = rte_eth_dev_set_mtu(port, request->mtu_octets);
    if (request->secure) {
        // A pause frame would hold packets in the device for as long as somebody else likes.
        struct rte_eth_fc_conf flow = {.mode = RTE_ETH_FC_NONE};
        if (rte_eth_dev_flow_ctrl_get(port, &flow) == 0) {
            flow.mode = RTE_ETH_FC_NONE;
            rte_eth_dev_flow_ctrl_set(port, &flow);
        }
    }
    if (failed(state, "start", rte_eth_dev_start(port))) return;

    struct rte_ether_addr mac;
    if (failed(state, "read the MAC address of", rte_eth_macaddr_get(port, &mac))) return;
    memcpy(state->mac, mac.addr_bytes, sizeof state->mac);
}

int cdpdk_port_join(uint16_t port, const uint64_t *groups, uint32_t count) {
    struct rte_ether_addr list[64];
    if (count <= RTE_DIM(list)) {
        for (uint32_t index = 0; index < count; index++)
            for (int octet = 0; octet < 6; octet++) list[index].addr_bytes[octet] = groups[index] >> (40 - 8 * octet);
        if (rte_eth_dev_set_mc_addr_list(port, list, count) == 0) return 0;
    }
    return rte_eth_allmulticast_enable(port);
}

void cdpdk_port_close(uint16_t port) {
    if (!rte_eth_dev_is_valid_port(port)) return;
    rte_eth_dev_stop(port);
    rte_eth_dev_close(port);
}

bool cdpdk_port_link_is_up(uint16_t port) {
    struct rte_eth_link link;
    memset(&link, 0, sizeof link);
    // A driver that can't tell (several vdevs) has a link that is always there.
    return rte_eth_link_get_nowait(port, &link) < 0 || link.link_status == RTE_ETH_LINK_UP;
}

void cdpdk_port_lost(uint16_t port, uint64_t *missed, uint64_t *errors, uint64_t *no_buffers) {
    struct rte_eth_stats stats;
    memset(&stats, 0, sizeof stats);
    rte_eth_stats_get(port, &stats);
    *missed = stats.imissed;
    *errors = stats.ierrors;
    *no_buffers = stats.rx_nombuf;
}
