// Inline IPsec: AES-128-GCM as RFC 4106 has it, by OpenSSL, so that the gateway's own cipher is not its own judge.
#include "model.h"

#include <string.h>

enum { ESP = 50, ESP_HEADER = 8, IV = 8, ICV = 16, TRAILER = 2 };
// Words and bits of a context descriptor (ixgbe_rxtx.c, ixgbe_set_xmit_ctx).
enum { LENGTHS, SEED, COMMAND, TYPE_ESP = 0x2000, ENCRYPT = 0x4000, IPV4_BIT = 0x400, ESP_LENGTH = 0x1FF };

static uint32_t four(const uint8_t *octets) {
    return (uint32_t)octets[0] << 24 | octets[1] << 16 | octets[2] << 8 | octets[3];
}

// ---- from table entries to ciphers ----------------------------------------------------------------------------------

// The entry as it was at one moment, though the program may be writing it.
static uint32_t snapshot(ixgbe_sa *entry, ixgbe_sa *copy) {
    for (;;) {
        uint32_t before = atomic_load(&entry->version);
        memcpy(copy, entry, sizeof *copy);
        atomic_thread_fence(memory_order_seq_cst);
        if (before % 2 == 0 && atomic_load(&entry->version) == before) return before;
    }
}

static cipher *cipher_of(cipher *it, ixgbe_sa *entry, bool encrypts) {
    static const uint8_t nothing[20];
    if (it->context != NULL && it->version == atomic_load(&entry->version)) return it;
    ixgbe_sa copy;
    it->version = snapshot(entry, &copy);
    if (it->context == NULL) it->context = EVP_CIPHER_CTX_new();
    EVP_CipherInit_ex(it->context, EVP_aes_128_gcm(), NULL, copy.key, NULL, encrypts);
    memcpy(it->salt, copy.salt, sizeof it->salt);
    it->is_empty = memcmp(copy.key, nothing, 16) == 0 && memcmp(copy.salt, nothing, 4) == 0;
    it->has_spi = false;
    it->packets = 0;
    OPENSSL_cleanse(&copy, sizeof copy);
    return it;
}

static void begin(cipher *it, const uint8_t *esp) {
    uint8_t nonce[12];
    int count;
    memcpy(nonce, it->salt, 4);
    memcpy(nonce + 4, esp + ESP_HEADER, IV);
    EVP_CipherInit_ex(it->context, NULL, NULL, NULL, nonce, -1);
    EVP_CipherUpdate(it->context, NULL, &count, esp, ESP_HEADER);
}

// ---- outbound -------------------------------------------------------------------------------------------------------

// What the descriptor says, held against what the packet says. False: nothing there can be encrypted.
static bool agrees(port *it, const uint8_t *frame, uint32_t octets, const headers *at, const uint32_t context[4]) {
    findings *found = &it->findings;
    uint32_t network = context[LENGTHS] >> 9 & 0x7F, header = context[LENGTHS] & 0x1FF;
    if (!(context[COMMAND] & TYPE_ESP) || !(context[COMMAND] & ENCRYPT)) found->esp_bits++;
    if (!at->is_ipv4 && !at->is_ipv6) {
        found->ip_length++;
        return false;
    }
    if (network != at->network || network + header != at->transport) found->header_lengths++;
    if (at->is_ipv4 != !!(context[COMMAND] & IPV4_BIT)) found->ip_version_bit++;
    if (at->end != octets && octets > MINIMUM_FRAME_OCTETS) found->ip_length++;
    if (at->protocol != ESP || !at->is_plain || at->is_fragment) {
        found->not_esp++;
        return false;
    }
    uint32_t esp = at->end - at->transport;
    if (esp < ESP_HEADER + IV + TRAILER + ICV) {
        found->esp_too_short++;
        return false;
    }
    // IPS_ESP_LEN: what software appended, padding to ICV (P5, P14).
    if ((context[COMMAND] & ESP_LENGTH) != frame[at->end - ICV - TRAILER] + (uint32_t)(TRAILER + ICV))
        found->esp_length_field++;
    if ((esp - ESP_HEADER - IV - ICV) % 4) found->esp_alignment++;
    return true;
}

outcome protect(port *it, uint8_t *frame, uint32_t octets, const uint32_t context[4]) {
    headers at = headers_of(frame, octets);
    bool on = atomic_load(&it->device->outbound_enabled) &&
              !(ixgbe_peek(it->device, SECTXCTRL) & SECURITY_DISABLED);
    bool possible = agrees(it, frame, octets, &at, context);
    if (!on || !possible) return LEFT_UNENCRYPTED;

    uint32_t index = context[SEED] & (TABLE_SAS - 1), spi = four(frame + at.transport);
    cipher *with = cipher_of(&it->security.outbound[index], &it->device->outbound[index], true);
    // One entry, one SA: another SPI under the same key is the driver's short memory of SA indices (P4), or a dead
    // session whose entry was given away (P3).
    if (with->has_spi && with->first_spi != spi) it->findings.sa_with_two_spis++;
    with->first_spi = with->has_spi ? with->first_spi : spi;
    with->has_spi = true;
    with->packets++;

    uint8_t *esp = frame + at.transport, *icv = frame + at.end - ICV;
    uint8_t *text = esp + ESP_HEADER + IV;
    int count;
    begin(with, esp);
    EVP_CipherUpdate(with->context, text, &count, text, (int)(icv - text));
    EVP_CipherFinal_ex(with->context, icv, &count);
    EVP_CIPHER_CTX_ctrl(with->context, EVP_CTRL_AEAD_GET_TAG, ICV, icv);
    it->counters.encrypted++;
    if (it->faults.bad_icv_in && --it->faults.bad_icv_in == 0) {
        icv[ICV - 1] ^= 1;
        it->faults.applied++;
    }
    return with->is_empty ? EMPTY_KEY : ENCRYPTED;
}

// ---- inbound --------------------------------------------------------------------------------------------------------

static uint32_t bucket_of(const uint8_t *spi) { return (four(spi) * 0x9E3779B1u) >> 21; }

static void index_inbound(port *it) {
    security *own = &it->security;
    uint32_t version = atomic_load(&it->device->inbound_version);
    if (version == own->inbound_version && version != 0) return;
    memset(own->buckets, 0xFF, sizeof own->buckets);
    // From the end, so that the first entry of an SPI is found first.
    for (int index = TABLE_SAS - 1; index >= 0; index--) {
        ixgbe_sa *entry = &it->device->inbound[index];
        if (!(entry->mode & IPSRXMOD_VALID)) continue;
        uint32_t bucket = bucket_of(entry->spi);
        own->following[index] = own->buckets[bucket];
        own->buckets[bucket] = (int16_t)index;
    }
    own->inbound_version = version;
}

// SPI, destination and IP version (the mode's bit) all match.
static int find_inbound(port *it, const uint8_t *frame, const headers *at) {
    uint8_t address[16] = {0};
    if (at->is_ipv6) memcpy(address, frame + at->network + 24, 16);
    else memcpy(address + 12, frame + at->network + 16, 4);
    index_inbound(it);
    int index = it->security.buckets[bucket_of(frame + at->transport)];
    for (; index != NO_SA; index = it->security.following[index]) {
        const ixgbe_sa *entry = &it->device->inbound[index];
        if (memcmp(entry->spi, frame + at->transport, 4) == 0 && at->is_ipv6 == !!(entry->mode & IPSRXMOD_IPV6) &&
            memcmp(it->device->inbound_addresses[entry->address_index], address, 16) == 0)
            return index;
    }
    return NO_SA;
}

static uint32_t failed(port *it, uint32_t error) {
    it->counters.decrypt_failed++;
    return SECP | error;
}

uint32_t unprotect(port *it, const uint8_t *frame, uint32_t octets, const headers *at, uint8_t *room) {
    bool looks = at->protocol == ESP && at->is_plain && !at->is_fragment && at->end >= at->transport + ESP_HEADER;
    bool on = atomic_load(&it->device->inbound_enabled) &&
              !(ixgbe_peek(it->device, SECRXCTRL) & SECURITY_DISABLED);
    int index = looks && on ? find_inbound(it, frame, at) : NO_SA;
    if (index == NO_SA) {
        if (at->protocol == ESP) it->counters.not_processed++;
        return 0;
    }
    if (it->faults.rx_errors_left) {
        it->faults.rx_errors_left--;
        it->faults.applied++;
        memcpy(room, frame, octets);
        if (it->faults.rx_error) return failed(it, it->faults.rx_error);
        it->counters.not_processed++;
        return 0;
    }
    // What silicon leaves of a packet that fails is a guess: here it stays as it came.
    memcpy(room, frame, octets);
    ixgbe_sa *entry = &it->device->inbound[index];
    uint32_t esp = at->end - at->transport;
    if (!(entry->mode & IPSRXMOD_ESP)) return failed(it, ERROR_PROTOCOL);
    if (esp < ESP_HEADER + IV + 4 + ICV || (esp - ESP_HEADER - IV - ICV) % 4) return failed(it, ERROR_LENGTH);

    cipher *with = cipher_of(&it->security.inbound[index], entry, false);
    const uint8_t *from = frame + at->transport;
    const int text = (int)(esp - ESP_HEADER - IV - ICV);
    uint8_t *plain = room + at->transport + ESP_HEADER + IV, end[16], icv[ICV];
    int count;
    memcpy(icv, frame + at->end - ICV, ICV);
    begin(with, from);
    if (entry->mode & IPSRXMOD_DECRYPT)
        EVP_CipherUpdate(with->context, plain, &count, from + ESP_HEADER + IV, text);
    EVP_CIPHER_CTX_ctrl(with->context, EVP_CTRL_AEAD_SET_TAG, ICV, icv);
    if (EVP_CipherFinal_ex(with->context, end, &count) <= 0) {
        memcpy(room, frame, octets);
        return failed(it, ERROR_INTEGRITY);
    }
    with->packets++;
    it->counters.decrypted++;
    return SECP;
}
