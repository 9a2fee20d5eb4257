#define _GNU_SOURCE
#include "control.h"
#include "run.h"
#include "say.h"
#include "stage.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "An Intel 82599 or X540 in software, under DPDK's own driver.\n"
    "\n"
    "ixgbe-model run [OPTIONS] -- PROGRAM ARGUMENTS...\n"
    "    --ports N                 1 to 4 devices, 0000:81:00.0 and up (2)\n"
    "    --device 82599|x540       what they say they are (82599)\n"
    "    --serial N                the fifth octet of their MAC addresses, 00:1b:21:82:N:PORT (89)\n"
    "    --wire [PORT=]WIRE        cross, sink, tap:NAME, packet:INTERFACE, file:IN.pcap,OUT.pcap,\n"
    "                              generator:OCTETS|FILE.pcap[,COUNT] (cross)\n"
    "    --protect PORT            a frame of IP that leaves it unprotected is a violation: exit code 76\n"
    "    --fault \"PORT WHAT ...\"   as \"ixgbe-model fault\", from the start\n"
    "    --hold                    wires bring nothing in until \"ixgbe-model tell ... release\"\n"
    "    --lossy                   a frame without a free descriptor is lost, as on silicon; otherwise it waits\n"
    "    --control PATH            a socket for the two commands below\n"
    "    --report FILE             the report as JSON (standard error)\n"
    "    --hugepages-mib N         to add to the machine's for the program (512)\n"
    "  The exit code is the program's.\n"
    "\n"
    "ixgbe-model fault --control PATH PORT WHAT ...\n"
    "    bad-icv [NTH]             a wrong ICV in the nth packet that is encrypted from now\n"
    "    rx-error protocol|length|integrity|not-processed [COUNT]\n"
    "    link up|down\n"
    "    lose-sa-write [COUNT]     the next writes of SA tables do nothing\n"
    "    lose-frame [COUNT]        the next frames never reach the wire\n"
    "    stall on|off|armed        takes no frames to send; armed: while the outbound engine is on\n"
    "    reset                     every register as after power up\n"
    "\n"
    "ixgbe-model tell --control PATH release [PORT [COUNT]] | stats\n";

static int usage(const char *what, const char *value) {
    return failure(64, "%s%s%s; see ixgbe-model --help", what, value ? " " : "", value ? value : "");
}

static bool number_up_to(const char *text, unsigned long most, uint32_t *value) {
    char *end;
    unsigned long read = strtoul(text, &end, 10);
    *value = (uint32_t)read;
    return *text != 0 && *end == 0 && read <= most;
}

static bool take_wire(run_options *options, const char *text) {
    if (text[0] >= '0' && text[0] <= '9' && text[1] == '=') {
        uint32_t number = (uint32_t)(text[0] - '0');
        if (number < MAX_PORTS) options->wires[number] = text + 2;
        return number < MAX_PORTS;
    }
    for (uint32_t number = 0; number < MAX_PORTS; number++) options->wires[number] = text;
    return true;
}

static bool take(run_options *options, int option, const char *value) {
    uint32_t number;
    switch (option) {
    case 'n': return number_up_to(value, MAX_PORTS, &options->ports) && options->ports > 0;
    case 'd':
        options->device = strcmp(value, "x540") == 0 ? DEVICE_X540 : DEVICE_82599;
        return strcmp(value, "x540") == 0 || strcmp(value, "82599") == 0;
    case 's':
        if (!number_up_to(value, UINT8_MAX, &number)) return false;
        options->serial = (uint8_t)number;
        return true;
    case 'w': return take_wire(options, value);
    case 'p':
        if (!number_up_to(value, MAX_PORTS - 1, &number)) return false;
        return options->is_protected[number] = true;
    case 'f':
        if (options->fault_count == sizeof options->faults / sizeof *options->faults) return false;
        options->faults[options->fault_count++] = value;
        return true;
    case 'h': return options->is_held = true;
    case 'l': return options->is_lossy = true;
    case 'c': return (options->control = value) != NULL;
    case 'r': return (options->report = value) != NULL;
    case 'm': return number_up_to(value, 1 << 20, &options->hugepages_mebibytes);
    default: return false;
    }
}

static int run_command(int count, char **arguments) {
    static const struct option names[] = {
        {"ports", required_argument, NULL, 'n'},   {"device", required_argument, NULL, 'd'},
        {"serial", required_argument, NULL, 's'},  {"wire", required_argument, NULL, 'w'},
        {"protect", required_argument, NULL, 'p'},
        {"fault", required_argument, NULL, 'f'},   {"hold", no_argument, NULL, 'h'},
        {"lossy", no_argument, NULL, 'l'},         {"control", required_argument, NULL, 'c'},
        {"report", required_argument, NULL, 'r'},  {"hugepages-mib", required_argument, NULL, 'm'},
        {NULL, 0, NULL, 0},
    };
    run_options options = {.ports = 2, .hugepages_mebibytes = 512, .device = DEVICE_82599, .serial = 0x59};
    for (uint32_t number = 0; number < MAX_PORTS; number++) options.wires[number] = "cross";
    int option, place = 0;
    while ((option = getopt_long(count, arguments, "+", names, &place)) != -1) {
        if (option == '?') return usage("an option that is not known, or without its value", NULL);
        if (!take(&options, option, optarg)) return usage("not a value for this option:", optarg ? optarg : "");
    }
    if (optind >= count) return usage("no program to run", NULL);
    options.program = arguments + optind;
    return run(&options);
}

static int ask_command(int count, char **arguments, const char *prefix) {
    char line[256] = "";
    if (count < 4 || strcmp(arguments[1], "--control") != 0) return usage("--control PATH, then what to say", NULL);
    size_t octets = (size_t)snprintf(line, sizeof line, "%s", prefix);
    for (int index = 3; index < count && octets < sizeof line; index++)
        octets += (size_t)snprintf(line + octets, sizeof line - octets, "%s%s", octets ? " " : "", arguments[index]);
    return control_ask(arguments[2], line);
}

int main(int count, char **arguments) {
    const char *verb = count > 1 ? arguments[1] : "";
    if (strcmp(verb, "run") == 0) return run_command(count - 1, arguments + 1);
    if (strcmp(verb, "fault") == 0) return ask_command(count - 1, arguments + 1, "fault");
    if (strcmp(verb, "tell") == 0) return ask_command(count - 1, arguments + 1, "");
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0) {
        fputs(help, stdout);
        return 0;
    }
    return usage(count > 1 ? "no command" : "run, fault or tell", count > 1 ? verb : NULL);
}
