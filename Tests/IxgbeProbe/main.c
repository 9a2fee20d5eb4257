#include "probe.h"

#include <inttypes.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_OCTETS = 40000, FRAME_OCTETS = 10000, WORDS = 8, DESCRIPTORS = 512, BURST = 32 };

struct rte_mempool *packets;
static uint16_t queues_of[RTE_MAX_ETHPORTS];
static volatile int link_events;

static int on_link(uint16_t port, enum rte_eth_event_type type, void *argument, void *more) {
    (void)port, (void)type, (void)argument, (void)more;
    link_events++;
    return 0;
}

static int hex(const char *text, uint8_t *octets, int room) {
    int count = 0;
    unsigned value;
    for (; count < room && sscanf(text + 2 * count, "%2x", &value) == 1; count++) octets[count] = (uint8_t)value;
    return count;
}

// start PORT QUEUES [security] [loopback] [lsc]
static void start(uint16_t port, uint16_t queues, char **words) {
    struct rte_eth_conf conf;
    memset(&conf, 0, sizeof conf);
    for (; *words != NULL; words++) {
        if (strcmp(*words, "security") == 0) {
            conf.rxmode.offloads = RTE_ETH_RX_OFFLOAD_SECURITY;
            conf.txmode.offloads = RTE_ETH_TX_OFFLOAD_SECURITY | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
        }
        if (strcmp(*words, "loopback") == 0) conf.lpbk_mode = 1;
        if (strcmp(*words, "lsc") == 0) conf.intr_conf.lsc = 1;
    }
    if (queues > 1) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_IPV6;
    }
    if (conf.intr_conf.lsc) rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_LSC, on_link, NULL);
    int error = rte_eth_dev_configure(port, queues, queues, &conf);
    for (uint16_t queue = 0; error == 0 && queue < queues; queue++) {
        error = rte_eth_rx_queue_setup(port, queue, DESCRIPTORS, SOCKET_ID_ANY, NULL, packets);
        if (error == 0) error = rte_eth_tx_queue_setup(port, queue, DESCRIPTORS, SOCKET_ID_ANY, NULL);
    }
    queues_of[port] = queues;
    uint64_t begun = rte_get_timer_cycles();
    if (error == 0) error = rte_eth_dev_start(port);
    printf("start error=%d milliseconds=%" PRIu64 "\n", error,
           (rte_get_timer_cycles() - begun) * 1000 / rte_get_timer_hz());
}

// send PORT QUEUE SESSION|-1 IP_HEADER_OCTETS FRAME
static void send_frame(uint16_t port, uint16_t queue, int session, uint16_t header, const char *text) {
    static uint8_t octets[FRAME_OCTETS];
    int count = hex(text, octets, FRAME_OCTETS);
    struct rte_mbuf *packet = rte_pktmbuf_alloc(packets);
    memcpy(rte_pktmbuf_append(packet, (uint16_t)count), octets, (size_t)count);
    int error = session < 0 ? 0 : session_mark(session, packet, header);
    uint16_t sent = error ? 0 : rte_eth_tx_burst(port, queue, &packet, 1);
    if (sent == 0) rte_pktmbuf_free(packet);
    printf("send error=%d sent=%u\n", error, sent);
}

static void print_frame(uint16_t queue, const struct rte_mbuf *packet) {
    uint64_t flags = packet->ol_flags;
    printf("frame queue=%u opened=%d failed=%d bad_checksum=%d hash=%u octets=", queue,
           !!(flags & RTE_MBUF_F_RX_SEC_OFFLOAD), !!(flags & RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED),
           (flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_BAD, packet->hash.rss);
    for (uint32_t index = 0; index < packet->data_len; index++)
        printf("%02x", rte_pktmbuf_mtod(packet, const uint8_t *)[index]);
    printf("\n");
}

// receive PORT COUNT MILLISECONDS: until so many frames came, each on a line, then how many.
static void receive(uint16_t port, int count, uint64_t milliseconds) {
    uint64_t until = rte_get_timer_cycles() + milliseconds * rte_get_timer_hz() / 1000;
    int got = 0;
    for (uint16_t queue = 0; got < count && rte_get_timer_cycles() < until; queue = (queue + 1) % queues_of[port]) {
        // The driver's vector path gives nothing to who asks for fewer than four.
        struct rte_mbuf *burst[BURST];
        uint16_t arrived = rte_eth_rx_burst(port, queue, burst, BURST);
        for (uint16_t index = 0; index < arrived; index++) print_frame(queue, burst[index]);
        rte_pktmbuf_free_bulk(burst, arrived);
        got += arrived;
    }
    printf("receive count=%d\n", got);
}

static void show(uint16_t port) {
    struct rte_eth_stats stats;
    struct rte_eth_link link;
    struct rte_eth_dev_info info;
    rte_eth_stats_get(port, &stats);
    rte_eth_link_get_nowait(port, &link);
    rte_eth_dev_info_get(port, &info);
    printf("show driver=%s link=%d speed=%u events=%d rx=%" PRIu64 " tx=%" PRIu64 " rx_octets=%" PRIu64
           " tx_octets=%" PRIu64 " missed=%" PRIu64 "\n",
           info.driver_name, link.link_status, link.link_speed, link_events, stats.ipackets, stats.opackets,
           stats.ibytes, stats.obytes, stats.imissed);
}

static bool obey(char **words) {
    const char *verb = words[0] ? words[0] : "";
    uint16_t port = words[1] ? (uint16_t)atoi(words[1]) : 0;
    uint8_t keymat[KEYMAT_OCTETS];
    if (strcmp(verb, "start") == 0) start(port, (uint16_t)atoi(words[2]), words + 3);
    else if (strcmp(verb, "show") == 0) show(port);
    else if (strcmp(verb, "stop") == 0) printf("stop error=%d\n", rte_eth_dev_stop(port));
    else if (strcmp(verb, "promiscuous") == 0) printf("promiscuous error=%d\n", rte_eth_promiscuous_enable(port));
    else if (strcmp(verb, "egress") == 0 || strcmp(verb, "ingress") == 0) {
        hex(words[3], keymat, KEYMAT_OCTETS);
        uint32_t spi = (uint32_t)strtoul(words[2], NULL, 0);
        printf("session number=%d\n", session_create(port, verb[0] == 'e', spi, keymat, words[4]));
    } else if (strcmp(verb, "destroy") == 0) printf("destroy error=%d\n", session_destroy(atoi(words[1])));
    else if (strcmp(verb, "send") == 0)
        send_frame(port, (uint16_t)atoi(words[2]), atoi(words[3]), (uint16_t)atoi(words[4]), words[5]);
    else if (strcmp(verb, "receive") == 0) receive(port, atoi(words[2]), strtoull(words[3], NULL, 10));
    else if (strcmp(verb, "load") == 0)
        load(port, (uint16_t)atoi(words[2]), atoi(words[3]), (uint32_t)strtoul(words[4], NULL, 0),
             strtoull(words[5], NULL, 10));
    else if (strcmp(verb, "quit") == 0) return false;
    else printf("unknown\n");
    return true;
}

int main(int count, char **arguments) {
    static char line[LINE_OCTETS];
    setvbuf(stdout, NULL, _IOLBF, 0);
    rte_openlog_stream(stderr);
    if (rte_eal_init(count, arguments) < 0) return 69;
    packets = rte_pktmbuf_pool_create("packets", 8191, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (packets == NULL) return 69;
    printf("ready ports=%u pid=%d\n", rte_eth_dev_count_avail(), getpid());
    bool more = true;
    while (more && fgets(line, sizeof line, stdin) != NULL) {
        char *words[WORDS] = {NULL}, *place;
        int found = 0;
        for (char *word = strtok_r(line, " \n", &place); word != NULL && found < WORDS - 1;
             word = strtok_r(NULL, " \n", &place))
            words[found++] = word;
        more = obey(words);
    }
    uint16_t port;
    RTE_ETH_FOREACH_DEV(port) {
        rte_eth_dev_stop(port);
        rte_eth_dev_close(port);
    }
    rte_eal_cleanup();
    return 0;
}
