#include "cpcap.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int64_t cpcap_offset_octets(pcap_t *capture) {
    FILE *file = pcap_file(capture);
    return file == NULL ? -1 : (int64_t)ftello(file);
}

pcap_dumper_t *cpcap_dump_open_private(pcap_t *dead, const char *path) {
    // O_CREAT's mode does nothing to a file that exists, hence the fchmod before the first octet.
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (descriptor < 0) return NULL;
    if (fchmod(descriptor, 0600) != 0) {
        close(descriptor);
        return NULL;
    }
    FILE *file = fdopen(descriptor, "wb");
    if (file == NULL) {
        close(descriptor);
        return NULL;
    }
    pcap_dumper_t *dumper = pcap_dump_fopen(dead, file);
    if (dumper == NULL) fclose(file);
    return dumper;
}
