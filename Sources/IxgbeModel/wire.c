#include "model.h"
#include "say.h"

#include <string.h>

// ---- two ports joined -----------------------------------------------------------------------------------------------

static bool send_to_peer(port *it, const uint8_t *frame, uint32_t octets) { return receive(it->peer, frame, octets); }
static bool poll_nothing(port *it) {
    (void)it;
    return false;
}
static void close_nothing(port *it) { (void)it; }
static uint64_t none_waiting(port *it) {
    (void)it;
    return 0;
}

// ---- frames that go nowhere -----------------------------------------------------------------------------------------

static bool send_nowhere(port *it, const uint8_t *frame, uint32_t octets) {
    (void)it, (void)frame, (void)octets;
    return true;
}

// ---- by name --------------------------------------------------------------------------------------------------------

int wire_open(port *it, const char *text) {
    const char *colon = strchr(text, ':');
    it->wire = (wire){text, send_nowhere, poll_nothing, close_nothing, none_waiting, NULL};
    if (strcmp(text, "sink") == 0) return 0;
    if (strcmp(text, "cross") == 0) {
        if (it->peer == NULL) return failure(64, "port %u has no other port to cross with", it->number);
        it->wire.send = send_to_peer;
        return 0;
    }
    if (strncmp(text, "tap:", 4) == 0) return wire_open_socket(it, "tap", colon + 1);
    if (strncmp(text, "packet:", 7) == 0) return wire_open_socket(it, "packet", colon + 1);
    if (strncmp(text, "file:", 5) == 0) return wire_open_file(it, colon + 1);
    if (strncmp(text, "generator:", 10) == 0) return wire_open_generator(it, colon + 1);
    return failure(64, "no wire \"%s\": cross, sink, tap:NAME, packet:INTERFACE, file:IN.pcap,OUT.pcap or "
                       "generator:OCTETS[,COUNT]", text);
}
