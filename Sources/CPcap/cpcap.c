#include "cpcap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Large enough that system calls don't count, small enough that a dozen files stay in the second-level cache.
enum { BUFFER_OCTETS = 256 * 1024 };

static const uint64_t NANOSECONDS_PER_SECOND = 1000000000;

// MARK: - Reading

struct cpcap_reader {
    FILE *file;
    pcap_t *capture; // owns `file` once it is there
    char *buffer;
    int64_t offset_octets;
    cpcap_state state;
    int error_number;
    bool seekable;
    bool pcapng;
    char reason[PCAP_ERRBUF_SIZE];
};

static uint32_t number_at(int descriptor, int64_t offset_octets, bool swapped, bool *complete) {
    uint32_t number = 0;
    *complete = pread(descriptor, &number, sizeof number, offset_octets) == (ssize_t)sizeof number;
    return swapped ? __builtin_bswap32(number) : number;
}

// Where the pcapng block starts that libpcap stopped in. It reads several blocks in one call and never beyond the one
// it refuses, so the block is the one around the stream's position; START is where some earlier block starts.
static int64_t refused_block(const cpcap_reader *reader, int64_t start) {
    int descriptor = fileno(reader->file);
    int64_t stopped = ftello(reader->file);
    bool complete;
    bool swapped = number_at(descriptor, 8, false, &complete) == 0x4d3c2b1a;
    while (true) {
        uint32_t length = number_at(descriptor, start + 4, swapped, &complete);
        if (!complete || length < 12 || start + length >= stopped) return start;
        start += length;
    }
}

static cpcap_state fail(cpcap_reader *reader, int error_number, const char *reason) {
    reader->state = CPCAP_FAILED;
    if (reader->file != NULL && ferror(reader->file)) {
        reader->error_number = error_number != 0 ? error_number : EIO;
    } else if (!reader->seekable) {
        reader->offset_octets = -1;
    } else if (reader->pcapng) {
        reader->offset_octets = refused_block(reader, reader->offset_octets);
    }
    snprintf(reader->reason, sizeof reader->reason, "%s", reason);
    return CPCAP_FAILED;
}

static void refuse(cpcap_reader *reader, int error_number) {
    reader->state = CPCAP_FAILED;
    reader->error_number = error_number;
}

cpcap_reader *cpcap_reader_open(const char *path) {
    cpcap_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) return NULL;
    reader->buffer = malloc(BUFFER_OCTETS);
    if (reader->buffer == NULL) {
        free(reader);
        return NULL;
    }
    struct stat status;
    reader->file = fopen(path, "rbe");
    if (reader->file == NULL || fstat(fileno(reader->file), &status) != 0) {
        refuse(reader, errno);
        return reader;
    }
    if (S_ISDIR(status.st_mode)) {
        refuse(reader, EISDIR);
        return reader;
    }
    setvbuf(reader->file, reader->buffer, _IOFBF, BUFFER_OCTETS);
    __fsetlocking(reader->file, FSETLOCKING_BYCALLER);
    // A seek lets glibc know the offset, after which ftello costs no system call.
    reader->seekable = fseeko(reader->file, 0, SEEK_SET) == 0;
    // A section header block starts with a line feed, and no pcap file does.
    int first = getc(reader->file);
    reader->pcapng = first == '\n';
    if (first != EOF) ungetc(first, reader->file);

    char reason[PCAP_ERRBUF_SIZE] = "";
    errno = 0;
    reader->capture =
        pcap_fopen_offline_with_tstamp_precision(reader->file, PCAP_TSTAMP_PRECISION_NANO, reason);
    if (reader->capture == NULL) {
        fail(reader, errno, reason);
        return reader;
    }
    reader->state = CPCAP_READING;
    return reader;
}

static uint64_t nanoseconds(const cpcap_reader *reader, struct timeval time) {
    // libpcap hands out a pcap file's 32 bits of seconds as signed, which ends in 2038 instead of 2106. A pcapng file's
    // 64 bits are hostile until clamped. The fraction is a file's own number and may be more than a second, or
    // negative.
    int64_t seconds = reader->pcapng ? time.tv_sec : (int64_t)(uint32_t)time.tv_sec;
    if (seconds < 0) return 0;
    if (seconds > UINT32_MAX) return CPCAP_LAST_NANOSECONDS;
    uint64_t total = (uint64_t)seconds * NANOSECONDS_PER_SECOND;
    uint64_t fraction = time.tv_usec > 0 ? (uint64_t)time.tv_usec : 0;
    return fraction > CPCAP_LAST_NANOSECONDS - total ? CPCAP_LAST_NANOSECONDS : total + fraction;
}

cpcap_state cpcap_reader_next(cpcap_reader *reader, cpcap_record *record) {
    if (reader->state != CPCAP_READING) return reader->state;
    if (reader->seekable) reader->offset_octets = ftello(reader->file);
    struct pcap_pkthdr *header;
    const u_char *octets;
    errno = 0;
    switch (pcap_next_ex(reader->capture, &header, &octets)) {
    case 1:
        break;
    case PCAP_ERROR_BREAK:
        reader->state = CPCAP_ENDED;
        return CPCAP_ENDED;
    default:
        return fail(reader, errno, pcap_geterr(reader->capture));
    }
    record->timestamp_nanoseconds = nanoseconds(reader, header->ts);
    record->octets = (void *)octets;
    record->captured_octets = header->caplen;
    record->original_octets = header->len;
    return CPCAP_READING;
}

cpcap_state cpcap_reader_state(const cpcap_reader *reader) { return reader->state; }

int cpcap_reader_link_type(const cpcap_reader *reader) {
    return reader->capture == NULL ? -1 : pcap_datalink(reader->capture);
}

int cpcap_reader_error_number(const cpcap_reader *reader) { return reader->error_number; }

int64_t cpcap_reader_offset_octets(const cpcap_reader *reader) { return reader->offset_octets; }

const char *cpcap_reader_reason(const cpcap_reader *reader) { return reader->reason; }

void cpcap_reader_free(cpcap_reader *reader) {
    if (reader->capture != NULL) {
        pcap_close(reader->capture);
    } else if (reader->file != NULL) {
        fclose(reader->file);
    }
    free(reader->buffer);
    free(reader);
}

// MARK: - Writing

struct cpcap_writer {
    FILE *file;
    pcap_t *dead; // stands for the link type, snap length and precision
    pcap_dumper_t *dumper;
    char *buffer;
    int error_number;
};

// A descriptor of an empty file of mode 0600, or -1 with errno.
static int open_private(const char *path) {
    int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0) return -1;
    struct stat status;
    bool fit = fstat(descriptor, &status) == 0;
    // O_CREAT's mode does nothing to a file that exists, and the umask takes from it. A file that may not be made
    // private keeps its content. A device such as /dev/null keeps its mode: it is everybody's.
    if (fit && S_ISREG(status.st_mode)) fit = fchmod(descriptor, 0600) == 0 && ftruncate(descriptor, 0) == 0;
    if (fit) return descriptor;
    int error_number = errno;
    close(descriptor);
    errno = error_number;
    return -1;
}

cpcap_writer *cpcap_writer_open(const char *path, int *error_number) {
    *error_number = ENOMEM;
    cpcap_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL) return NULL;
    writer->buffer = malloc(BUFFER_OCTETS);
    writer->dead =
        pcap_open_dead_with_tstamp_precision(DLT_EN10MB, CPCAP_SNAP_OCTETS, PCAP_TSTAMP_PRECISION_NANO);
    int descriptor = -1;
    if (writer->buffer == NULL || writer->dead == NULL) goto failed;
    descriptor = open_private(path);
    if (descriptor >= 0) writer->file = fdopen(descriptor, "wb");
    if (writer->file == NULL) {
        *error_number = errno;
        goto failed;
    }
    setvbuf(writer->file, writer->buffer, _IOFBF, BUFFER_OCTETS);
    __fsetlocking(writer->file, FSETLOCKING_BYCALLER);
    // The file header goes to the buffer, so that this fails for want of nothing.
    writer->dumper = pcap_dump_fopen(writer->dead, writer->file);
    if (writer->dumper != NULL) return writer;
    descriptor = -1; // libpcap closed the stream
failed:
    if (descriptor >= 0) close(descriptor);
    if (writer->dead != NULL) pcap_close(writer->dead);
    free(writer->buffer);
    free(writer);
    return NULL;
}

int cpcap_writer_write(cpcap_writer *writer, const void *octets, uint32_t captured_octets, uint32_t original_octets,
                       uint64_t timestamp_nanoseconds) {
    if (writer->error_number != 0) return writer->error_number;
    uint64_t time = timestamp_nanoseconds;
    if (time > CPCAP_LAST_NANOSECONDS) time = CPCAP_LAST_NANOSECONDS;
    struct pcap_pkthdr header = {
        .ts = {.tv_sec = (time_t)(time / NANOSECONDS_PER_SECOND),
               .tv_usec = (suseconds_t)(time % NANOSECONDS_PER_SECOND)},
        .caplen = captured_octets,
        .len = original_octets,
    };
    errno = 0;
    pcap_dump((u_char *)writer->dumper, &header, octets);
    if (ferror(writer->file)) writer->error_number = errno != 0 ? errno : EIO;
    return writer->error_number;
}

int cpcap_writer_close(cpcap_writer *writer) {
    // Not pcap_dump_close, which does the same and tells nobody how it went.
    errno = 0;
    int error_number = fclose(writer->file) == 0 ? 0 : (errno != 0 ? errno : EIO);
    if (writer->error_number != 0) error_number = writer->error_number;
    pcap_close(writer->dead);
    free(writer->buffer);
    free(writer);
    return error_number;
}
