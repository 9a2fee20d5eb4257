// The loop: descriptors, wires, interrupts; every millisecond or so the control socket and the program's end.
#define _GNU_SOURCE
#include "engine.h"

#include "control.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_BETWEEN_LOOKS = 512, IDLE_ROUNDS = 256, IDLE_NANOSECONDS = 20000 };

static void deliver_interrupts(port *it) {
    ixgbe_port *device = it->device;
    if (!(ixgbe_peek(device, EICR) & ixgbe_peek(device, EIMS))) return;
    if (atomic_exchange(&device->interrupt_sent, true)) return;
    uint32_t one = 1;
    if (write(it->interrupt, &one, sizeof one) == sizeof one) it->counters.interrupts++;
}

static bool poll_wire(port *it) { return it->may_bring && it->wire.poll(it); }

static bool turn(model *model) {
    static uint64_t resets;
    uint64_t asked[MAX_PORTS], resets_now = 0;
    bool busy = false;
    for (uint32_t index = 0; index < model->count; index++) {
        port *it = model->ports[index];
        resets_now += atomic_load(&it->device->resets);
        asked[index] = atomic_load(&it->device->fences_asked);
    }
    if (resets_now != resets) program_memory_forget();
    resets = resets_now;
    // Who asked saw its registers changed before: nothing of the turn that has ended knew the old ones longer.
    for (uint32_t index = 0; index < model->count; index++)
        atomic_store(&model->ports[index]->device->fences_passed, asked[index]);
    for (uint32_t index = 0; index < model->count; index++) {
        port *it = model->ports[index];
        busy |= transmit(it);
        busy |= poll_wire(it);
        deliver_interrupts(it);
    }
    return busy;
}

int engine_run(model *model, pid_t program) {
    const struct timespec idle_time = {.tv_nsec = IDLE_NANOSECONDS};
    int status = 0, idle = 0;
    prctl(PR_SET_TIMERSLACK, 1000ul);
    for (uint64_t round = 1;; round++) {
        idle = turn(model) ? 0 : idle + 1;
        bool look = round % ROUNDS_BETWEEN_LOOKS == 0;
        if (idle > IDLE_ROUNDS) {
            nanosleep(&idle_time, NULL);
            look |= round % 16 == 0;
        }
        if (!look) continue;
        control_poll(model);
        if (waitpid(program, &status, WNOHANG) == program) return status;
    }
}
