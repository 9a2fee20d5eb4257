#include "ixgbe_device.h"
#include "tables.h"

#include <sched.h>

static void acquire(ixgbe_port *port) {
    while (atomic_exchange_explicit(&port->lock, 1, memory_order_acquire)) sched_yield();
}
static void release(ixgbe_port *port) { atomic_store_explicit(&port->lock, 0, memory_order_release); }

// Waits until the engine has ended what it was doing with the registers as they were. Not forever: a model that was
// killed answers no more, and the program must be able to end.
static void fence(ixgbe_port *port) {
    enum { PATIENCE_YIELDS = 2000000 };
    uint64_t asked = atomic_fetch_add(&port->fences_asked, 1) + 1;
    for (int round = 0; round < PATIENCE_YIELDS && atomic_load(&port->fences_passed) < asked; round++) sched_yield();
}

static bool within(uint32_t offset, uint32_t first, uint32_t octets) {
    return offset >= first && offset < first + octets;
}

// Only what the model counts: a read of any other register must not change it.
static bool is_statistic(uint32_t offset) {
    if (within(offset, RX_QUEUES, QUEUES * QUEUE_STRIDE)) return (offset & 0x3F) >= 0x30 && (offset & 0x3F) <= 0x38;
    if (within(offset, TX_QUEUES, QUEUES * QUEUE_STRIDE)) return (offset & 0x3F) == 0x30;
    return within(offset, MPC, 32) || within(offset, PRC64, 0x40F8 - PRC64) || within(offset, QBTCL, 8 * QUEUES);
}

// The control register of a queue, of either direction.
static bool is_queue_control(uint32_t offset) {
    return (within(offset, RX_QUEUES, 0x1000) || within(offset, TX_QUEUES, 0x2000) ||
            within(offset, RX_QUEUES_HIGH, 0x1000)) && (offset & 0x3F) == DCTL;
}

static bool is_read_only(uint32_t offset) {
    return offset == STATUS || offset == LINKS || offset == ANLP1 || offset == SECTXSTAT || offset == SECRXSTAT ||
           offset == EEMNGCTL || is_statistic(offset);
}

uint32_t ixgbe_port_read(ixgbe_port *port, uint32_t offset) {
    if (is_statistic(offset)) return atomic_exchange(ixgbe_register(port, offset), 0);
    if (offset == EICR) {
        uint32_t causes = atomic_exchange(ixgbe_register(port, EICR), 0);
        atomic_store(&port->interrupt_sent, false);
        return causes;
    }
    return ixgbe_peek(port, offset);
}

static uint32_t read_eeprom(ixgbe_port *port, uint32_t command) {
    uint32_t address = command >> 2 & 0x3FFF;
    return address << 2 | EERD_DONE | (uint32_t)port->eeprom[address % EEPROM_WORDS] << 16;
}

// Whether a write switches something off whose memory the driver frees next.
static bool stops(uint32_t offset, uint32_t before, uint32_t value) {
    if (offset == RXCTRL) return before & ~value & RXCTRL_RXEN;
    if (offset == DMATXCTL) return before & ~value & DMATXCTL_TE;
    return is_queue_control(offset) && before & ~value & DCTL_ENABLE;
}

void ixgbe_port_write(ixgbe_port *port, uint32_t offset, uint32_t value) {
    acquire(port);
    uint32_t before = ixgbe_peek(port, offset);
    switch (offset) {
    case CTRL:
        if (value & (CTRL_RST | CTRL_LNK_RST)) {
            // Queues off first, then no descriptor in work, then the rest.
            ixgbe_poke(port, RXCTRL, 0);
            ixgbe_poke(port, DMATXCTL, 0);
            fence(port);
            ixgbe_port_reset(port);
        } else {
            ixgbe_poke(port, CTRL, value);
        }
        break;
    case EICR: atomic_fetch_and(ixgbe_register(port, EICR), ~value); break;
    case EICS: ixgbe_port_raise(port, value); break;
    case EIMS:
        ixgbe_poke(port, EIMS, before | value);
        atomic_store(&port->interrupt_sent, false);  // the line is looked at again
        break;
    case EIMC: ixgbe_poke(port, EIMS, ixgbe_peek(port, EIMS) & ~value); break;
    case EERD: ixgbe_poke(port, EERD, value & EERD_START ? read_eeprom(port, value) : value); break;
    case EEC: ixgbe_poke(port, EEC, value & EEC_REQ ? value | EEC_GNT : value & ~(uint32_t)EEC_GNT); break;
    case AUTOC: ixgbe_poke(port, AUTOC, value & ~(uint32_t)AUTOC_AN_RESTART); break;
    case MSCA:
        if (value & MSCA_COMMAND) ixgbe_poke(port, MSRWD, 0xFFFF0000);
        ixgbe_poke(port, MSCA, value & ~(uint32_t)MSCA_COMMAND);
        break;
    case IPSTXIDX: ixgbe_write_outbound_index(port, value); break;
    case IPSRXIDX: ixgbe_write_inbound_index(port, value); break;
    default:
        if (is_read_only(offset)) break;
        ixgbe_poke(port, offset, value);
        if (stops(offset, before, value)) fence(port);
    }
    release(port);
}
