// The model's own side of the ports: what no register shows.
#pragma once

#include "ixgbe_device.h"

#include <openssl/evp.h>
#include <stddef.h>

enum { MAX_PORTS = 4, FRAME_OCTETS = 16384, MINIMUM_FRAME_OCTETS = 60, CRC_OCTETS = 4 };

typedef struct port port;

// ---- counters: one list makes field and name in the report ----------------------------------------------------------

#define COUNTERS(X)                                                                                                    \
    X(rx_frames) X(rx_octets) X(tx_frames) X(tx_octets) X(encrypted) X(decrypted) X(decrypt_failed) X(not_processed)   \
    X(context_descriptors) X(rx_filtered) X(rx_not_ready) X(rx_too_long) X(rx_no_descriptor) X(wire_lost)              \
    X(dma_faults) X(interrupts)

// Frames that should never have left a port that is protected.
#define VIOLATIONS(X)                                                                                                  \
    X(clear_text)       /* IP that is neither ESP nor AH nor UDP port 4500 */                                          \
    X(left_unencrypted) /* the descriptor asked for encryption and the engine was off */                               \
    X(empty_key)        /* encrypted under a table entry that holds no key */

// What a driver or program did that silicon would not like, or that says it is confused.
#define FINDINGS(X)                                                                                                    \
    X(legacy_descriptor) X(unknown_descriptor) X(context_index) X(segmentation_asked) X(header_lengths)                \
    X(ip_version_bit) X(ip_length) X(not_esp) X(esp_bits) X(esp_too_short) X(esp_length_field) X(esp_alignment)        \
    X(checksum_without_ipv4) X(sa_with_two_spis) X(frame_too_long)

#define AS_FIELD(name) uint64_t name;
typedef struct counters { COUNTERS(AS_FIELD) } counters;
typedef struct violations { VIOLATIONS(AS_FIELD) } violations;
typedef struct findings { FINDINGS(AS_FIELD) } findings;

// ---- a frame's headers ----------------------------------------------------------------------------------------------

typedef struct headers {
    bool is_vlan, is_ipv4, is_ipv6;
    bool is_fragment, is_plain;  // plain: neither options nor extension headers
    uint16_t vlan_tag, ether_type;
    uint32_t network, transport, end;  // offsets; end: of the packet by its own length, within the frame
    uint8_t protocol;                  // the IPv6 header's next header, if that is an extension
} headers;

headers headers_of(const uint8_t *frame, uint32_t octets);
uint16_t ones_sum(const uint8_t *octets, uint32_t count, uint32_t start);
// Over a TCP or UDP packet's pseudo header and all of the rest: 0xffff when its checksum is right.
uint16_t transport_sum(const uint8_t *frame, const headers *it);

// ---- inline IPsec ---------------------------------------------------------------------------------------------------

enum { NO_SA = -1 };

typedef struct cipher {
    uint32_t version;  // of the table entry it was made from
    EVP_CIPHER_CTX *context;
    uint8_t salt[4];
    bool is_empty;
    uint32_t first_spi;
    bool has_spi;
    uint64_t packets;
} cipher;

typedef struct security {
    cipher outbound[TABLE_SAS], inbound[TABLE_SAS];
    uint32_t inbound_version;
    int16_t buckets[2 * TABLE_SAS], following[TABLE_SAS];  // inbound SAs by SPI
} security;

typedef enum outcome { NOT_ASKED, ENCRYPTED, LEFT_UNENCRYPTED, EMPTY_KEY } outcome;

// Encrypts in place what a context descriptor with these words asks for.
outcome protect(port *it, uint8_t *frame, uint32_t octets, const uint32_t context[4]);
// Decrypts from `frame` into `room`. Returns the security bits of the receive descriptor; 0: not processed, and nothing
// was written.
uint32_t unprotect(port *it, const uint8_t *frame, uint32_t octets, const headers *headers, uint8_t *room);

enum {
    SECP = 0x00020000,
    ERROR_PROTOCOL = 0x08000000,
    ERROR_LENGTH = 0x10000000,
    ERROR_INTEGRITY = 0x18000000,
};

// ---- wires ----------------------------------------------------------------------------------------------------------

typedef struct wire {
    const char *text;  // as the command line has it
    // Sends one frame; false: not now, the same one again later.
    bool (*send)(port *it, const uint8_t *frame, uint32_t octets);
    // Gives what has come to receive(); whether anything did.
    bool (*poll)(port *it);
    void (*close)(port *it);
    uint64_t (*waiting)(port *it);  // frames that are still to come in, as far as that is known
    void *state;
} wire;

// 0, or an exit code with a line on standard error.
int wire_open(port *it, const char *text);
int wire_open_socket(port *it, const char *kind, const char *name);
int wire_open_file(port *it, const char *argument);
int wire_open_generator(port *it, const char *argument);

// ---- ports ----------------------------------------------------------------------------------------------------------

typedef struct pending {
    uint8_t octets[FRAME_OCTETS];
    uint32_t count;  // 0: none
} pending;

typedef struct transmit_queue {
    uint32_t contexts[2][4];
    uint32_t count, options, context_index, command;  // of the frame that is being gathered
    uint8_t frame[FRAME_OCTETS];
} transmit_queue;

typedef struct faults {
    uint64_t bad_icv_in;  // the nth encrypted packet from now; 0: none
    uint32_t rx_error;    // security bits, or 0 for "not processed"
    uint64_t rx_errors_left, frames_to_lose;
    bool is_stalled, stalls_armed;
    uint64_t applied;
} faults;

struct port {
    ixgbe_port *device;
    port *peer;  // wire "cross"
    uint32_t number;
    char address[16];  // PCI
    int interrupt;     // the FIFO
    bool is_protected, is_lossy;
    uint64_t may_bring;  // frames that the wire may still bring in; UINT64_MAX: as many as come
    wire wire;
    pending unsent;     // a frame that the wire did not take yet
    pending unreceived; // a frame from the wire that found no descriptor
    transmit_queue transmit[QUEUES];
    faults faults;
    security security;
    counters counters;
    violations violations;
    findings findings;
};

typedef struct model {
    port *ports[MAX_PORTS];
    uint32_t count;
} model;

// A frame from outside. False: no descriptor is free, the same frame again later.
bool receive(port *it, const uint8_t *frame, uint32_t octets);
// Gives the frame a queue: false when the address filters refuse it.
bool accepts(const port *it, const uint8_t *frame);
uint32_t receive_queue(const port *it, const uint8_t *frame, const headers *headers, uint32_t *hash, uint32_t *type);
// Works off descriptors; whether there were any.
bool transmit(port *it);
// Counts what a frame that leaves breaks.
void judge(port *it, const uint8_t *frame, uint32_t octets, outcome outcome);
uint64_t violations_sum(const port *it);

// Memory of the program at an address it put in a descriptor; NULL, counted, when there is none.
void *program_memory(port *it, uint64_t address, uint32_t octets);
// Lets go of all of it; at a reset, when no address is in use, because EAL gives pages back and takes others.
void program_memory_forget(void);

// Answers one line of the control socket; also what --fault takes, with "fault " in front. The answer ends in a
// newline.
void command(model *model, char *line, char *answer, size_t room);

// The report as JSON in one line.
void report(const model *model, int exit_code, char **text);
