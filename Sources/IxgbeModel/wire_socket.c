// Wires to the kernel: a tap interface of our own, or a packet socket on an interface that is there (one end of a veth
// pair). Frames come and go whole; offloads of the interface must be off, or they are not yet whole.
#define _GNU_SOURCE
#include "model.h"
#include "say.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAMES_A_TURN = 32 };

typedef struct state {
    int file;
} state;

static bool send_frame(port *it, const uint8_t *frame, uint32_t octets) {
    int file = ((state *)it->wire.state)->file;
    if (write(file, frame, octets) >= 0) return true;
    if (errno == EAGAIN || errno == ENOBUFS) return false;
    it->counters.wire_lost++;  // the interface is down, or gone
    return true;
}

static bool poll_frames(port *it) {
    int file = ((state *)it->wire.state)->file;
    bool busy = false;
    for (int turn = 0; turn < FRAMES_A_TURN; turn++) {
        if (it->unreceived.count == 0) {
            ssize_t octets = read(file, it->unreceived.octets, FRAME_OCTETS);
            if (octets <= 0) return busy;
            it->unreceived.count = (uint32_t)octets;
        }
        if (!receive(it, it->unreceived.octets, it->unreceived.count)) return busy;
        it->unreceived.count = 0;
        busy = true;
    }
    return busy;
}

static void close_file(port *it) {
    close(((state *)it->wire.state)->file);
    free(it->wire.state);
}

static int open_tap(const char *name) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    int file = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (file < 0 || ioctl(file, TUNSETIFF, &request) < 0) return -1;
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any >= 0 && ioctl(any, SIOCGIFFLAGS, &request) == 0) {
        request.ifr_flags |= IFF_UP;
        ioctl(any, SIOCSIFFLAGS, &request);
    }
    close(any);
    return file;
}

static int open_packet(const char *name) {
    int file = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    address.sll_ifindex = (int)if_nametoindex(name);
    struct packet_mreq all = {.mr_ifindex = address.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
    if (file < 0 || address.sll_ifindex == 0 ||
        setsockopt(file, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) < 0 ||
        setsockopt(file, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) < 0 ||
        bind(file, (struct sockaddr *)&address, sizeof address) < 0)
        return -1;
    int room = 64 << 20;
    setsockopt(file, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    return file;
}

int wire_open_socket(port *it, const char *kind, const char *name) {
    state *own = calloc(1, sizeof *own);
    if (own == NULL) return failure(71, "no memory");
    own->file = strcmp(kind, "tap") == 0 ? open_tap(name) : open_packet(name);
    if (own->file < 0) return failure(69, "cannot use %s:%s as a wire: %s", kind, name, strerror(errno));
    it->wire.send = send_frame;
    it->wire.poll = poll_frames;
    it->wire.close = close_file;
    it->wire.state = own;
    return 0;
}
