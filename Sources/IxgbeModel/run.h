#pragma once
#include "model.h"

typedef struct run_options {
    uint32_t ports, hugepages_mebibytes;
    uint16_t device;
    uint8_t serial;
    const char *wires[MAX_PORTS];
    bool is_protected[MAX_PORTS], is_held, is_lossy;
    const char *faults[16], *control, *report;
    uint32_t fault_count;
    char **program;
} run_options;

// Runs the program on the model; the exit code of all.
int run(const run_options *options);
