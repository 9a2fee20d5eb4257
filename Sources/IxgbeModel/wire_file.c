// Wires to capture files and from a generator. What is to come in is read before the program starts.
#define _GNU_SOURCE
#include "model.h"
#include "say.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FRAMES_A_TURN = 32, MAGIC_MICROSECONDS = (int)0xA1B2C3D4, MAGIC_NANOSECONDS = (int)0xA1B23C4D, ETHERNET = 1 };

typedef struct stored {
    uint8_t *octets;
    uint32_t count;
} stored;

typedef struct state {
    stored *frames;
    uint64_t count, next, left;  // left: still to come, over all rounds
    FILE *output;
} state;

// ---- reading --------------------------------------------------------------------------------------------------------

static uint32_t word(const uint8_t *octets, bool swapped) {
    uint32_t value;
    memcpy(&value, octets, 4);
    return swapped ? __builtin_bswap32(value) : value;
}

static int add(state *own, const uint8_t *octets, uint32_t count) {
    stored *more = realloc(own->frames, (own->count + 1) * sizeof *more);
    uint8_t *copy = malloc(count);
    if (more == NULL || copy == NULL) return failure(71, "no memory for frames");
    memcpy(copy, octets, count);
    own->frames = more;
    own->frames[own->count++] = (stored){copy, count};
    return 0;
}

static int read_capture(state *own, const char *path) {
    uint8_t header[24], octets[FRAME_OCTETS];
    FILE *file = fopen(path, "re");
    if (file == NULL) return failure(66, "%s: %s", path, strerror(errno));
    bool whole = fread(header, sizeof header, 1, file) == 1;
    uint32_t magic = whole ? word(header, false) : 0;
    bool swapped = magic == __builtin_bswap32((uint32_t)MAGIC_MICROSECONDS) ||
                   magic == __builtin_bswap32((uint32_t)MAGIC_NANOSECONDS);
    if (swapped) magic = __builtin_bswap32(magic);
    int code = 0;
    if ((magic != (uint32_t)MAGIC_MICROSECONDS && magic != (uint32_t)MAGIC_NANOSECONDS) ||
        word(header + 20, swapped) != ETHERNET)
        code = failure(65, "%s: not a pcap file of Ethernet frames", path);
    while (code == 0 && fread(header, 16, 1, file) == 1) {
        uint32_t count = word(header + 8, swapped);
        if (count > FRAME_OCTETS || fread(octets, count, 1, file) != 1)
            code = failure(65, "%s: a broken record behind frame %llu", path, (unsigned long long)own->count);
        else
            code = add(own, octets, count);
    }
    fclose(file);
    return code;
}

static bool poll_frames(port *it) {
    state *own = it->wire.state;
    bool busy = false;
    for (int turn = 0; turn < FRAMES_A_TURN && own->left && it->may_bring; turn++) {
        const stored *frame = &own->frames[own->next];
        // A port that does not receive yet gets them later.
        if (!(ixgbe_peek(it->device, RXCTRL) & RXCTRL_RXEN) || !atomic_load(&it->device->link_is_up)) return busy;
        if (!receive(it, frame->octets, frame->count)) return busy;
        own->next = (own->next + 1) % own->count;
        own->left--;
        if (it->may_bring != UINT64_MAX) it->may_bring--;
        busy = true;
    }
    return busy;
}

static uint64_t frames_left(port *it) { return ((state *)it->wire.state)->left; }

// ---- writing --------------------------------------------------------------------------------------------------------

static bool write_frame(port *it, const uint8_t *frame, uint32_t octets) {
    state *own = it->wire.state;
    if (own->output == NULL) return true;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const uint32_t header[4] = {(uint32_t)now.tv_sec, (uint32_t)now.tv_nsec, octets, octets};
    fwrite(header, sizeof header, 1, own->output);
    fwrite(frame, octets, 1, own->output);
    return true;
}

static int start_capture(state *own, const char *path) {
    own->output = fopen(path, "we");
    if (own->output == NULL) return failure(73, "%s: %s", path, strerror(errno));
    const uint32_t header[6] = {(uint32_t)MAGIC_NANOSECONDS, 2 | 4 << 16, 0, 0, 262144, ETHERNET};
    fwrite(header, sizeof header, 1, own->output);
    return 0;
}

static void close_files(port *it) {
    state *own = it->wire.state;
    if (own->output != NULL && fclose(own->output) != 0) failure(74, "cannot write the capture of %s", it->wire.text);
    for (uint64_t index = 0; index < own->count; index++) free(own->frames[index].octets);
    free(own->frames);
    free(own);
}

static state *open_wire(port *it) {
    state *own = calloc(1, sizeof *own);
    it->wire.send = write_frame;
    it->wire.poll = poll_frames;
    it->wire.close = close_files;
    it->wire.waiting = frames_left;
    return it->wire.state = own;
}

int wire_open_file(port *it, const char *argument) {
    state *own = open_wire(it);
    char *input = strdup(argument), *output = input == NULL ? NULL : strchr(input, ',');
    if (own == NULL || input == NULL) return failure(71, "no memory");
    if (output != NULL) *output++ = 0;
    int code = *input ? read_capture(own, input) : 0;
    if (code == 0 && output != NULL && *output) code = start_capture(own, output);
    own->left = own->count;
    free(input);
    return code;
}

// One UDP packet to the port's own address: 198.18.0.2 to 198.18.0.1, the addresses of RFC 2544.
static int make_frame(port *it, state *own, uint32_t octets) {
    uint8_t frame[FRAME_OCTETS] = {0}, *packet = frame + 14;
    memcpy(frame, it->device->mac, 6);
    memcpy(frame + 6, "\x02\0\0\0\0\x09\x08\x00", 8);
    uint32_t length = octets - 14, datagram = length - 20;
    const uint8_t header[28] = {0x45, 0, (uint8_t)(length >> 8), (uint8_t)length, 0, 0, 0, 0, 64, 17, 0, 0,
                                198, 18, 0, 2, 198, 18, 0, 1,
                                0x10, 0, 0x10, 1, (uint8_t)(datagram >> 8), (uint8_t)datagram, 0, 0};
    memcpy(packet, header, sizeof header);
    uint16_t sum = (uint16_t)~ones_sum(packet, 20, 0);
    packet[10] = (uint8_t)(sum >> 8);
    packet[11] = (uint8_t)sum;
    return add(own, frame, octets);
}

int wire_open_generator(port *it, const char *argument) {
    state *own = open_wire(it);
    char *source = strdup(argument), *count = source == NULL ? NULL : strchr(source, ','), *end;
    if (own == NULL || source == NULL) return failure(71, "no memory");
    if (count != NULL) *count++ = 0;
    unsigned long octets = strtoul(source, &end, 10);
    int code;
    if (*source && *end == 0)
        code = octets < MINIMUM_FRAME_OCTETS || octets > 9216
                   ? failure(64, "generator: frames have 60 to 9216 octets without CRC")
                   : make_frame(it, own, (uint32_t)octets);
    else
        code = read_capture(own, source);
    own->left = count != NULL ? strtoull(count, NULL, 10) : UINT64_MAX;
    if (own->count == 0) own->left = 0;
    free(source);
    return code;
}
