#pragma once
#include "ixgbe_device.h"

// What a write to IPSTXIDX or IPSRXIDX does: takes the data registers into a table, and switches the direction.
void ixgbe_write_outbound_index(ixgbe_port *port, uint32_t value);
void ixgbe_write_inbound_index(ixgbe_port *port, uint32_t value);
