// Capture files over libpcap: what Swift can't do itself, which is stdio with a buffer of its own, file offsets for
// error messages, timestamps as one number, dump files of mode 0600, and the errors of writing that pcap_dump keeps to
// itself.
//
// Readers and writers belong to one thread at a time: their streams are not locked.
#pragma once
#include <pcap/pcap.h>
#include <stdint.h>

// What libpcap reads at most of an Ethernet frame, and tcpdump's default: a file with this snap length is read by all.
#define CPCAP_SNAP_OCTETS 262144
// The last moment that a pcap record can carry: its seconds have 32 bits (2106-02-07).
#define CPCAP_LAST_NANOSECONDS 4294967295999999999ull

typedef struct cpcap_reader cpcap_reader;
typedef struct cpcap_writer cpcap_writer;

// One record of a capture file.
typedef struct {
    uint64_t timestamp_nanoseconds; // since 1970, 0 to CPCAP_LAST_NANOSECONDS
    void *octets;                   // valid until the reader's next call
    uint32_t captured_octets;
    uint32_t original_octets;
} cpcap_record;

// Where a reader stands.
typedef enum { CPCAP_FAILED = -1, CPCAP_ENDED = 0, CPCAP_READING = 1 } cpcap_state;

// Opens the pcap or pcapng file at PATH and reads its header; cpcap_reader_state tells whether that went well.
// NULL only without memory. Each reader is freed by cpcap_reader_free.
cpcap_reader *cpcap_reader_open(const char *path);
// Reads the next record into RECORD, which is left alone unless CPCAP_READING comes back. The end and a failure stay.
cpcap_state cpcap_reader_next(cpcap_reader *reader, cpcap_record *record);
cpcap_state cpcap_reader_state(const cpcap_reader *reader);
// The link type as a DLT_ number.
int cpcap_reader_link_type(const cpcap_reader *reader);
// After a failure: the errno when the system refused, and 0 when the file's content is to blame.
int cpcap_reader_error_number(const cpcap_reader *reader);
// After a failure by content: where the record, block or file header that failed starts, -1 for what can't seek (a
// pipe).
int64_t cpcap_reader_offset_octets(const cpcap_reader *reader);
// After a failure by content: libpcap's words for it, valid until the reader is freed.
const char *cpcap_reader_reason(const cpcap_reader *reader);
void cpcap_reader_free(cpcap_reader *reader);

// Creates or replaces the file at PATH as a pcap file of Ethernet frames with nanosecond timestamps, with mode 0600
// whatever the umask and the file's mode before. NULL with the errno in ERROR_NUMBER. Freed by cpcap_writer_close.
cpcap_writer *cpcap_writer_open(const char *path, int *error_number);
// Appends a record; at most CPCAP_SNAP_OCTETS. 0, or the errno of the first write that failed, after which it writes
// nothing more.
int cpcap_writer_write(cpcap_writer *writer, const void *octets, uint32_t captured_octets, uint32_t original_octets,
                       uint64_t timestamp_nanoseconds);
// Writes what is buffered, closes and frees. 0, or the errno of the first write that failed.
int cpcap_writer_close(cpcap_writer *writer);
