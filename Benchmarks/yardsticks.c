// What others' code takes for the same work, on this machine and in this minute: TSC cycles a packet of
//
//   libipsec-mb    AES-128-GCM alone, in bursts, nonces written ahead: what no ESP can be cheaper than
//   librte_ipsec   ESP in tunnel mode by DPDK's library on the processor (CPU crypto), window and all, without ports or lookups; also
//                  with packets that take turns on many SAs in random order
//
// A burst is 32 packets in buffers of their own; each is sent and then received, the two timed apart. Prints one JSON object a line,
// medians and minima over samples. Usage: yardsticks SAMPLES ASSOCIATIONS OCTETS... (inner IPv4 length)

#define ALLOW_EXPERIMENTAL_API  // of rte_cryptodev and rte_ipsec
#include <intel-ipsec-mb.h>
#include <rte_cryptodev.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_esp.h>
#include <rte_ip.h>
#include <rte_ipsec.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASSOCIATIONS_MOST = 65536, BURST = 32, BURSTS_IN_SAMPLE = 16, SAMPLES_MOST = 4000, OCTETS_MOST = 9000, ICV_OCTETS = 16, VECTOR_AT = 64 };

static const uint8_t key[16] = {0x4c, 0x80, 0xcd, 0xef, 0xbb, 0x5d, 0x10, 0xda, 0x90, 0x6a, 0xc7, 0x3c, 0x36, 0x13, 0xa6, 0x34};
static struct rte_mbuf *packets[BURST];
static double out[SAMPLES_MOST], in[SAMPLES_MOST];

static void fail(const char *what) {
    fprintf(stderr, "yardsticks: %s\n", what);
    exit(70);
}

static int by_value(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void print(const char *what, const char *direction, unsigned octets, unsigned associations, double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    printf("{\"what\": \"%s\", \"direction\": \"%s\", \"inner_octets\": %u, \"associations\": %u, "
           "\"cycles_per_packet_median\": %.2f, \"cycles_per_packet_min\": %.2f}\n",
           what, direction, octets, associations, values[count / 2], values[0]);
}

// Inner IPv4 packets of so many octets, in place of what the buffers held.
static void fill(unsigned octets) {
    for (int index = 0; index < BURST; index++) {
        rte_pktmbuf_reset(packets[index]);
        struct rte_ipv4_hdr *header = (struct rte_ipv4_hdr *)rte_pktmbuf_append(packets[index], (uint16_t)octets);
        if (header == NULL) fail("a packet does not fit its buffer");
        memset(header, 0x5a, octets);
        memset(header, 0, sizeof *header);
        header->version_ihl = 0x45;
        header->total_length = rte_cpu_to_be_16((uint16_t)octets);
        header->time_to_live = 64;
        header->next_proto_id = IPPROTO_UDP;
        packets[index]->l3_len = sizeof *header;
    }
}

static void measure_gcm(unsigned octets, int samples) {
    static struct gcm_key_data expanded;
    static struct gcm_context_data context;
    static uint8_t nonces[BURST][16], icvs[BURST][ICV_OCTETS], computed[BURST][ICV_OCTETS];
    static uint64_t counter;
    IMB_MGR *manager = alloc_mb_mgr(0);
    if (manager == NULL) fail("no memory for libipsec-mb");
    init_mb_mgr_auto(manager, NULL);
    IMB_AES128_GCM_PRE(manager, key, &expanded);
    // What ESP encrypts: padding and trailer too.
    const unsigned text = (octets + 2 + 3) & ~3u;
    fill(text);
    for (int sample = 0; sample < samples; sample++) {
        uint64_t sent = 0, received = 0;
        for (int burst = 0; burst < BURSTS_IN_SAMPLE; burst++) {
            for (int index = 0; index < BURST; index++) {
                counter++;
                memcpy(nonces[index] + 4, &counter, sizeof counter);
            }
            const uint64_t begun = rte_rdtsc();
            for (int index = 0; index < BURST; index++) {
                uint8_t *octet = rte_pktmbuf_mtod(packets[index], uint8_t *);
                IMB_AES128_GCM_ENC(manager, &expanded, &context, octet, octet, text, nonces[index], nonces[index] + 4, 8,
                                   icvs[index], ICV_OCTETS);
            }
            const uint64_t between = rte_rdtsc();
            for (int index = 0; index < BURST; index++) {
                uint8_t *octet = rte_pktmbuf_mtod(packets[index], uint8_t *);
                IMB_AES128_GCM_DEC(manager, &expanded, &context, octet, octet, text, nonces[index], nonces[index] + 4, 8,
                                   computed[index], ICV_OCTETS);
            }
            received += rte_rdtsc() - between;
            sent += between - begun;
            if (memcmp(icvs, computed, sizeof icvs) != 0) fail("libipsec-mb does not agree with itself");
        }
        out[sample] = (double)sent / (BURSTS_IN_SAMPLE * BURST);
        in[sample] = (double)received / (BURSTS_IN_SAMPLE * BURST);
    }
    print("libipsec-mb", "encap", octets, 1, out, samples);
    print("libipsec-mb", "decap", octets, 1, in, samples);
    free_mb_mgr(manager);
}

static uint8_t device;
static struct rte_mempool *sessions;

static void start_device(unsigned associations) {
    if (rte_cryptodev_count() == 0) fail("no crypto device: crypto_aesni_gcm of DPDK's ipsec_mb driver is wanted");
    struct rte_cryptodev_info info;
    rte_cryptodev_info_get(device, &info);
    if ((info.feature_flags & RTE_CRYPTODEV_FF_SYM_CPU_CRYPTO) == 0) fail("the crypto device does not work on the caller's core");
    sessions = rte_cryptodev_sym_session_pool_create("sessions", 2 * associations + 64, rte_cryptodev_sym_get_private_session_size(device), 0, 0,
                                                     SOCKET_ID_ANY);
    struct rte_cryptodev_config config = {.socket_id = 0, .nb_queue_pairs = 1};
    struct rte_cryptodev_qp_conf queue = {.nb_descriptors = 2048, .mp_session = sessions};
    if (sessions == NULL || rte_cryptodev_configure(device, &config) < 0 ||
        rte_cryptodev_queue_pair_setup(device, 0, &queue, SOCKET_ID_ANY) < 0 || rte_cryptodev_start(device) < 0)
        fail("the crypto device does not start");
}

static void make_association(struct rte_ipsec_session *association, unsigned number, bool is_egress) {
    struct rte_crypto_sym_xform transform = {.type = RTE_CRYPTO_SYM_XFORM_AEAD};
    transform.aead.op = is_egress ? RTE_CRYPTO_AEAD_OP_ENCRYPT : RTE_CRYPTO_AEAD_OP_DECRYPT;
    transform.aead.algo = RTE_CRYPTO_AEAD_AES_GCM;
    transform.aead.key.data = key;
    transform.aead.key.length = sizeof key;
    transform.aead.iv.offset = VECTOR_AT;
    transform.aead.iv.length = 12;
    transform.aead.digest_length = ICV_OCTETS;
    transform.aead.aad_length = 8;
    struct rte_ipv4_hdr outer = {.version_ihl = 0x45, .time_to_live = 64, .next_proto_id = IPPROTO_ESP,
                                 .src_addr = rte_cpu_to_be_32(0xc0000201), .dst_addr = rte_cpu_to_be_32(0xc0000202)};
    struct rte_ipsec_sa_prm parameters;
    memset(&parameters, 0, sizeof parameters);
    parameters.ipsec_xform.spi = 0x1001 + number;
    parameters.ipsec_xform.salt = 0xe40d8d35;
    parameters.ipsec_xform.direction =
        is_egress ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS;
    parameters.ipsec_xform.proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP;
    parameters.ipsec_xform.mode = RTE_SECURITY_IPSEC_SA_MODE_TUNNEL;
    parameters.ipsec_xform.tunnel.type = RTE_SECURITY_IPSEC_TUNNEL_IPV4;
    parameters.ipsec_xform.replay_win_sz = is_egress ? 0 : 1024;
    parameters.crypto_xform = &transform;
    parameters.tun.hdr_len = sizeof outer;
    parameters.tun.next_proto = IPPROTO_IPIP;
    parameters.tun.hdr = &outer;
    const int octets = rte_ipsec_sa_size(&parameters);
    association->sa = octets < 0 ? NULL : rte_zmalloc(NULL, (size_t)octets, RTE_CACHE_LINE_SIZE);
    if (association->sa == NULL || rte_ipsec_sa_init(association->sa, &parameters, (uint32_t)octets) < 0)
        fail("librte_ipsec does not take the SA");
    association->type = RTE_SECURITY_ACTION_TYPE_CPU_CRYPTO;
    association->crypto.dev_id = device;
    association->crypto.ses = rte_cryptodev_sym_session_create(device, &transform, sessions);
    if (association->crypto.ses == NULL || rte_ipsec_session_prepare(association) < 0) fail("no crypto session");
}

static struct rte_ipsec_session *egress, *ingress;
static uint32_t *order;  // of SAs, in whole bursts

// An order that no cache can guess, the same in every run: rounds of all SAs, each shuffled, until bursts come out even.
static unsigned shuffle(unsigned associations) {
    unsigned rounds = 1;
    while (rounds * associations % BURST != 0) rounds++;
    uint64_t state = 1;
    for (unsigned round = 0; round < rounds; round++) {
        uint32_t *part = order + round * associations;
        for (unsigned index = 0; index < associations; index++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            const unsigned place = (unsigned)((state >> 33) % (index + 1));
            part[index] = part[place];
            part[place] = index;
        }
    }
    return rounds * associations;
}

static void process(struct rte_ipsec_session *association, struct rte_mbuf **first, uint16_t count) {
    const uint16_t prepared = rte_ipsec_pkt_cpu_prepare(association, first, count);
    if (rte_ipsec_pkt_process(association, first, prepared) != count) fail("librte_ipsec lost a packet");
}

// One burst, in groups of one SA each as the library takes them.
static uint64_t pass(struct rte_ipsec_session *associations, const uint32_t *turns) {
    const uint64_t begun = rte_rdtsc();
    for (uint16_t first = 0, next; first < BURST; first = next) {
        for (next = first + 1; next < BURST && turns[next] == turns[first];) next++;
        process(&associations[turns[first]], packets + first, next - first);
    }
    const uint64_t cycles = rte_rdtsc() - begun;
    for (int index = 0; index < BURST; index++) {
        packets[index]->l2_len = 0;
        packets[index]->l3_len = sizeof(struct rte_ipv4_hdr);
    }
    return cycles;
}

static void measure_ipsec(unsigned associations, unsigned octets, int samples) {
    fill(octets);
    const unsigned turns = shuffle(associations);
    unsigned next = 0;
    for (int sample = 0; sample < samples; sample++) {
        uint64_t sent = 0, received = 0;
        for (int burst = 0; burst < BURSTS_IN_SAMPLE; burst++) {
            sent += pass(egress, order + next);
            received += pass(ingress, order + next);
            next = next + BURST < turns ? next + BURST : 0;
        }
        out[sample] = (double)sent / (BURSTS_IN_SAMPLE * BURST);
        in[sample] = (double)received / (BURSTS_IN_SAMPLE * BURST);
    }
    for (int index = 0; index < BURST; index++)
        if (packets[index]->pkt_len != octets) fail("librte_ipsec gave back another packet");
    print("librte_ipsec", "encap", octets, associations, out, samples);
    print("librte_ipsec", "decap", octets, associations, in, samples);
}

int main(int count, char **arguments) {
    const int used = rte_eal_init(count, arguments);
    if (used < 0) return 69;
    count -= used, arguments += used;
    const int samples = count > 1 ? atoi(arguments[1]) : 0, most = count > 2 ? atoi(arguments[2]) : 0;
    if (count < 4 || samples < 1 || samples > SAMPLES_MOST || most < 1 || most > ASSOCIATIONS_MOST) {
        fprintf(stderr, "usage: yardsticks EAL-ARGUMENTS -- SAMPLES ASSOCIATIONS OCTETS...\n");
        return 64;
    }
    const unsigned associations = (unsigned)most;
    struct rte_mempool *pool = rte_pktmbuf_pool_create("packets", 255, 0, 0, OCTETS_MOST + 512, SOCKET_ID_ANY);
    if (pool == NULL || rte_pktmbuf_alloc_bulk(pool, packets, BURST) < 0) fail("no packet buffers");
    start_device(associations);
    egress = calloc(associations, sizeof *egress);
    ingress = calloc(associations, sizeof *ingress);
    order = calloc((size_t)associations * BURST, sizeof *order);
    if (egress == NULL || ingress == NULL || order == NULL) fail("no memory for SAs");
    for (unsigned index = 0; index < associations; index++) {
        make_association(&egress[index], index, true);
        make_association(&ingress[index], index, false);
    }
    for (int index = 3; index < count; index++) {
        const unsigned octets = (unsigned)atoi(arguments[index]);
        if (octets < 20 || octets > OCTETS_MOST) fail("octets are 20 to 9000");
        measure_gcm(octets, samples);
        measure_ipsec(1, octets, samples);
        if (associations > 1) measure_ipsec(associations, octets, samples);
    }
    return 0;
}
