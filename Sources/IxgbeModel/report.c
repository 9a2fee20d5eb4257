#define _GNU_SOURCE
#include "model.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void put_string(FILE *to, const char *text) {
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', to);
        if ((uint8_t)*text >= 0x20) fputc(*text, to);
    }
    fputc('"', to);
}

#define AS_MEMBER(name) fprintf(to, "%s\"" #name "\":%" PRIu64, separator, group->name), separator = ",";

static void put_counters(FILE *to, const counters *group) {
    const char *separator = "";
    COUNTERS(AS_MEMBER)
}
static void put_violations(FILE *to, const violations *group) {
    const char *separator = "";
    fputs(",\"violations\":{", to);
    VIOLATIONS(AS_MEMBER)
    fputs("}", to);
}
static void put_findings(FILE *to, const findings *group) {
    const char *separator = "";
    fputs(",\"findings\":{", to);
    FINDINGS(AS_MEMBER)
    fputs("}", to);
}

// Which entries are in use, without their keys: an outbound one shows its SPI when a packet has.
static void put_tables(FILE *to, const port *it) {
    const ixgbe_port *device = it->device;
    fprintf(to, ",\"tables\":{\"outbound_enabled\":%s,\"inbound_enabled\":%s,\"outbound\":[",
            device->outbound_enabled ? "true" : "false", device->inbound_enabled ? "true" : "false");
    const char *separator = "";
    for (int index = 0; index < TABLE_SAS; index++) {
        const ixgbe_sa *entry = &device->outbound[index];
        const cipher *with = &it->security.outbound[index];
        bool empty = true, is_current = with->context != NULL && with->version == entry->version;
        for (int octet = 0; octet < 16; octet++) empty = empty && entry->key[octet] == 0;
        if (empty) continue;
        fprintf(to, "%s{\"index\":%d,\"packets\":%" PRIu64, separator, index, is_current ? with->packets : 0);
        if (is_current && with->has_spi) fprintf(to, ",\"first_spi\":\"0x%08x\"", with->first_spi);
        fputs("}", to);
        separator = ",";
    }
    fputs("],\"inbound\":[", to);
    separator = "";
    for (int index = 0; index < TABLE_SAS; index++) {
        const ixgbe_sa *entry = &device->inbound[index];
        const cipher *with = &it->security.inbound[index];
        bool is_ipv6 = entry->mode & IPSRXMOD_IPV6;
        if (!(entry->mode & IPSRXMOD_VALID)) continue;
        const uint8_t *address = device->inbound_addresses[entry->address_index % TABLE_ADDRESSES];
        char text[INET6_ADDRSTRLEN];
        inet_ntop(is_ipv6 ? AF_INET6 : AF_INET, is_ipv6 ? address : address + 12, text, sizeof text);
        fprintf(to, "%s{\"index\":%d,\"spi\":\"0x%02x%02x%02x%02x\",\"destination\":\"%s\",\"packets\":%" PRIu64 "}",
                separator, index, entry->spi[0], entry->spi[1], entry->spi[2], entry->spi[3], text,
                with->context != NULL && with->version == entry->version ? with->packets : 0);
        separator = ",";
    }
    fputs("]}", to);
}

static void put_port(FILE *to, const port *it) {
    const ixgbe_port *device = it->device;
    fprintf(to, "{\"device\":\"%s\",\"wire\":", it->address);
    put_string(to, it->wire.text);
    fprintf(to, ",\"is_protected\":%s,\"link_is_up\":%s,", it->is_protected ? "true" : "false",
            device->link_is_up ? "true" : "false");
    put_counters(to, &it->counters);
    fprintf(to, ",\"wire_waiting\":%" PRIu64 ",\"register_traps\":%" PRIu64 ",\"resets\":%" PRIu64,
            it->wire.waiting((port *)it), device->traps, device->resets);
    fprintf(to, ",\"table_writes\":%" PRIu64 ",\"table_writes_lost\":%" PRIu64 ",\"faults_applied\":%" PRIu64,
            device->table_writes, device->table_writes_lost, it->faults.applied + device->table_writes_lost);
    put_violations(to, &it->violations);
    put_findings(to, &it->findings);
    put_tables(to, it);
    fputs("}", to);
}

void report(const model *model, int exit_code, char **text) {
    size_t octets;
    uint64_t sum = 0;
    FILE *to = open_memstream(text, &octets);
    for (uint32_t index = 0; index < model->count; index++) sum += violations_sum(model->ports[index]);
    fputs("{", to);
    if (exit_code >= 0) fprintf(to, "\"program_exit_code\":%d,", exit_code);
    fprintf(to, "\"violations\":%" PRIu64 ",\"ports\":[", sum);
    for (uint32_t index = 0; index < model->count; index++) {
        if (index) fputs(",", to);
        put_port(to, model->ports[index]);
    }
    fputs("]}", to);
    fclose(to);
}
