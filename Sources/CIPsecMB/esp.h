// AES-128-GCM of whole ESP packets, for two kinds of processors; see `cipsecmb_esp_encrypt`.

#pragma once

#include "cipsecmb.h"

// With vectors of 64 octets, and keys that the library expanded for AVX-512 with VAES.
void cipsecmb_esp512_encrypt(struct cipsecmb_esp *packets, size_t count);
void cipsecmb_esp512_decrypt(struct cipsecmb_esp *packets, size_t count);

// With vectors of 32 octets, and keys that the library expanded for AVX2.
void cipsecmb_esp256_encrypt(struct cipsecmb_esp *packets, size_t count);
void cipsecmb_esp256_decrypt(struct cipsecmb_esp *packets, size_t count);
