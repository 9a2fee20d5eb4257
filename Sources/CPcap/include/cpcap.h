// libpcap with the few calls that Swift can't make itself: a dump file of mode 0600, and offsets for error messages.
#pragma once
#include <pcap/pcap.h>
#include <stdint.h>

// Where in the capture file the reader stands; what libpcap has buffered beyond it is not counted. -1 if unknown.
int64_t cpcap_offset_octets(pcap_t *capture);

// Opens PATH for writing with mode 0600 whatever the umask, replacing what was there; NULL with a text in pcap_geterr.
pcap_dumper_t *cpcap_dump_open_private(pcap_t *dead, const char *path);
