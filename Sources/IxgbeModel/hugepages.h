#pragma once
#include <stdbool.h>
#include <stdint.h>

// Sees to it that so many MiB of 2 MiB hugepages are free, by adding to the machine's. Returns an exit code; `added` is
// what to give back.
int hugepages_take(uint32_t mebibytes, uint32_t *added);
void hugepages_give_back(uint32_t added);
