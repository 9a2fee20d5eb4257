// Three processes. The outer one lives in the machine's own namespace, changes what must be changed there (hugepages,
// the control socket) and undoes it, whatever the others die of. The inner one is the model. The third is the program.
#define _GNU_SOURCE
#include "run.h"

#include "control.h"
#include "engine.h"
#include "hugepages.h"
#include "say.h"
#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_VIOLATIONS = 76 };

// ---- signals --------------------------------------------------------------------------------------------------------

static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
static volatile pid_t next_process;

// A terminal tells the whole group; what was meant for one process goes on to the next.
static void pass_on(int number, siginfo_t *information, void *context) {
    (void)context;
    if (information->si_code <= 0 && next_process > 0) kill(next_process, number);
}

static void pass_signals_on(void) {
    struct sigaction action = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART};
    for (size_t index = 0; index < sizeof passed / sizeof *passed; index++) sigaction(passed[index], &action, NULL);
}

static void default_signals(void) {
    for (size_t index = 0; index < sizeof passed / sizeof *passed; index++) signal(passed[index], SIG_DFL);
}

static int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

// ---- the program ----------------------------------------------------------------------------------------------------

static bool trap_path(char path[PATH_MAX]) {
    char own[PATH_MAX] = "";
    if (readlink("/proc/self/exe", own, sizeof own - 1) < 0) return false;
    return snprintf(path, PATH_MAX, "%s/libIxgbeTrap.so", dirname(own)) < PATH_MAX && access(path, R_OK) == 0;
}

static pid_t start_program(char **program, const char *trap) {
    pid_t parent = getpid(), child = fork();
    if (child != 0) return child;
    default_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(70);
    const char *others = getenv("LD_PRELOAD");
    char preload[2 * PATH_MAX];
    snprintf(preload, sizeof preload, "%s%s%s", trap, others ? ":" : "", others ? others : "");
    setenv("LD_PRELOAD", preload, 1);
    setenv("SYSFS_PCI_DEVICES", STAGE_PCI, 1);
    execvp(program[0], program);
    int code = errno == ENOENT ? 127 : 126;
    _exit(failure(code, "%s: %s", program[0], strerror(errno)));
}

// What the program left behind is ours now (subreaper), and would keep the namespace.
static void end_the_rest(void) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    for (int round = 0; round < 100; round++) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t octets = file < 0 ? 0 : read(file, text, sizeof text - 1);
        close(file);
        if (octets <= 0) return;
        text[octets] = 0;
        char *place;
        for (char *word = strtok_r(text, " ", &place); word != NULL; word = strtok_r(NULL, " ", &place)) {
            pid_t child = atoi(word);
            if (child > 0) kill(child, SIGKILL);
            waitpid(child, NULL, 0);
        }
    }
}

// ---- the model ------------------------------------------------------------------------------------------------------

static int make_ports(model *model, const run_options *options) {
    for (uint32_t number = 0; number < options->ports; number++) {
        port *it = calloc(1, sizeof *it);
        if (it == NULL) return failure(71, "no memory");
        model->ports[number] = it;
        it->number = number;
        snprintf(it->address, sizeof it->address, "0000:81:00.%u", number);
        it->is_protected = options->is_protected[number];
        it->may_bring = options->is_held ? 0 : UINT64_MAX;
        it->is_lossy = options->is_lossy;
        model->count++;
    }
    for (uint32_t number = 0; number < model->count; number++)
        model->ports[number]->peer = (number ^ 1) < model->count ? model->ports[number ^ 1] : NULL;
    return 0;
}

static int set_faults(model *model, const run_options *options) {
    for (uint32_t index = 0; index < options->fault_count; index++) {
        char line[256], answer[256];
        snprintf(line, sizeof line, "fault %s", options->faults[index]);
        command(model, line, answer, sizeof answer);
        if (strncmp(answer, "ok", 2) != 0) return failure(64, "--fault \"%s\": %s", options->faults[index], answer);
    }
    return 0;
}

static int write_report(const model *model, const run_options *options, int code) {
    char *text;
    report(model, code, &text);
    FILE *to = options->report ? fopen(options->report, "we") : stderr;
    if (to == NULL) return failure(73, "%s: %s", options->report, strerror(errno));
    fprintf(to, "%s\n", text);
    if (options->report) fclose(to);
    free(text);
    return 0;
}

static int inner(const run_options *options, const char *trap) {
    static model model;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int code = make_ports(&model, options);
    if (code == 0) code = stage_build(options->ports, options->device);
    if (code == 0) code = stage_open(&model, options->serial);
    for (uint32_t number = 0; code == 0 && number < model.count; number++)
        code = wire_open(model.ports[number], options->wires[number]);
    if (code == 0) code = set_faults(&model, options);
    if (code == 0 && options->control) code = control_open(options->control);
    if (code != 0) return code;

    pass_signals_on();
    pid_t program = start_program(options->program, trap);
    if (program < 0) return failure(71, "cannot start a process: %s", strerror(errno));
    next_process = program;
    code = code_of(engine_run(&model, program));
    next_process = 0;
    end_the_rest();
    uint64_t sum = 0;
    int written = write_report(&model, options, code);
    for (uint32_t number = 0; number < model.count; number++) {
        port *it = model.ports[number];
        it->wire.close(it);
        sum += violations_sum(it);
    }
    control_close();
    if (code == 0 && sum > 0) {
        const char *plural = sum == 1 ? "" : "s";
        return failure(EXIT_VIOLATIONS, "%llu frame%s left a protected port unprotected", (unsigned long long)sum,
                       plural);
    }
    return code ? code : written;
}

// ---- what stays outside ---------------------------------------------------------------------------------------------

int run(const run_options *options) {
    char trap[PATH_MAX];
    uint32_t added;
    if (geteuid() != 0) return failure(77, "only root may make a mount namespace and see physical addresses");
    if (!trap_path(trap))
        return failure(69, "libIxgbeTrap.so is not beside ixgbe-model: swift build --product IxgbeTrap");
    int code = hugepages_take(options->hugepages_mebibytes, &added);
    if (code != 0) return code;
    pass_signals_on();
    pid_t own = getpid(), child = fork();
    if (child == 0) {
        // When the outer process is killed, the program is told to end, and the inner one tidies up in its place.
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        code = getppid() == own ? inner(options, trap) : 70;
        if (getppid() != own) {
            if (options->control) unlink(options->control);
            hugepages_give_back(added);
        }
        fflush(NULL);
        _exit(code);
    }
    next_process = child;
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    next_process = 0;
    if (options->control) unlink(options->control);
    hugepages_give_back(added);
    return child < 0 ? failure(71, "cannot start a process: %s", strerror(errno)) : code_of(status);
}
