#pragma once
#include <stdbool.h>
#include <stdint.h>

// Adds so many MiB of 2 MiB hugepages to the machine's, or as many as the kernel finds if that many are free then.
// Returns an exit code; `added` is what to give back.
int hugepages_take(uint32_t mebibytes, uint32_t *added);
void hugepages_give_back(uint32_t added);
