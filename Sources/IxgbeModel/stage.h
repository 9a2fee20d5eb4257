#pragma once
#include "model.h"

// What the driver finds of a device: where, and as what.
enum { DEVICE_82599 = 0x10F7, DEVICE_X540 = 0x1528 };
#define STAGE "/dev/ixgbe-model"
#define STAGE_PCI STAGE "/pci"

// Moves the calling process into a mount namespace of its own, with a /dev and a /sys/class in which `count` devices
// are. All of it is gone with the namespace's last process. Returns an exit code.
int stage_build(uint32_t count, uint16_t device);
// The ports' shared state, powered up, and their interrupts.
int stage_open(model *model, uint8_t serial);
