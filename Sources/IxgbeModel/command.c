// The lines of the control socket. Faults act between two descriptors, because the engine's own thread reads them.
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool number(const char *text, uint64_t otherwise, uint64_t *value) {
    char *end;
    *value = otherwise;
    if (text == NULL) return true;
    *value = strtoull(text, &end, 10);
    return *text != 0 && *end == 0;
}

static bool is(const char *word, const char *name) { return word != NULL && strcmp(word, name) == 0; }

static bool rx_error(port *it, const char *kind, uint64_t count) {
    if (is(kind, "protocol")) it->faults.rx_error = ERROR_PROTOCOL;
    else if (is(kind, "length")) it->faults.rx_error = ERROR_LENGTH;
    else if (is(kind, "integrity")) it->faults.rx_error = ERROR_INTEGRITY;
    else if (is(kind, "not-processed")) it->faults.rx_error = 0;
    else return false;
    it->faults.rx_errors_left = count;
    return true;
}

static const char usage[] =
    "error: fault PORT bad-icv [NTH] | rx-error protocol|length|integrity|not-processed [COUNT] | link up|down | "
    "lose-sa-write [COUNT] | lose-frame [COUNT] | stall on|off|armed | reset\n";

static const char *fault(port *it, const char *what, const char *first, const char *second) {
    uint64_t count;
    if (is(what, "rx-error")) return number(second, 1, &count) && rx_error(it, first, count) ? "ok\n" : usage;
    if (is(what, "link") && (is(first, "up") || is(first, "down"))) {
        ixgbe_port_set_link(it->device, is(first, "up"));
        return "ok\n";
    }
    if (is(what, "stall") && (is(first, "on") || is(first, "off") || is(first, "armed"))) {
        it->faults.is_stalled = is(first, "on");
        it->faults.stalls_armed = is(first, "armed");
        return "ok\n";
    }
    if (is(what, "reset") && first == NULL) {
        ixgbe_port_reset(it->device);
        return "ok\n";
    }
    if (!number(first, 1, &count) || second != NULL) return usage;
    if (is(what, "bad-icv")) it->faults.bad_icv_in = count;
    else if (is(what, "lose-sa-write")) atomic_store(&it->device->lose_table_writes, (uint32_t)count);
    else if (is(what, "lose-frame")) it->faults.frames_to_lose = count;
    else return usage;
    return "ok\n";
}

void command(model *model, char *line, char *answer, size_t room) {
    char *words[6] = {NULL}, *place;
    int count = 0;
    for (char *word = strtok_r(line, " \t\r\n", &place); word != NULL && count < 6;
         word = strtok_r(NULL, " \t\r\n", &place))
        words[count++] = word;
    const char *text = "error: fault PORT WHAT | release [PORT [COUNT]] | stats\n";
    uint64_t index, frames;
    bool has_port = number(words[1], model->count, &index) && index < model->count;
    if (is(words[0], "fault") && count < 6) {
        text = has_port ? fault(model->ports[index], words[2], words[3], words[4]) : "error: no such port\n";
    } else if (is(words[0], "release") && (has_port || words[1] == NULL) &&
               number(words[2], UINT64_MAX, &frames)) {
        for (uint32_t each = 0; each < model->count; each++)
            if (!has_port || each == index) model->ports[each]->may_bring = frames;
        text = "ok\n";
    } else if (is(words[0], "stats")) {
        char *json;
        report(model, -1, &json);
        snprintf(answer, room, "%s\n", json);
        free(json);
        return;
    }
    snprintf(answer, room, "%s", text);
}
