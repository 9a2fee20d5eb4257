#define _GNU_SOURCE
#include "control.h"
#include "say.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLIENTS = 8, LINE_OCTETS = 256, ANSWER_OCTETS = 1 << 20 };

typedef struct client {
    int file;
    uint32_t count;
    char line[LINE_OCTETS];
} client;

static int listener = -1;
static client clients[CLIENTS];
static char answer[ANSWER_OCTETS];

static bool address_of(const char *path, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    return snprintf(address->sun_path, sizeof address->sun_path, "%s", path) < (int)sizeof address->sun_path;
}

int control_open(const char *path) {
    struct sockaddr_un address;
    if (!address_of(path, &address)) return failure(64, "%s: too long for a socket", path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, CLIENTS) < 0)
        return failure(73, "%s: %s", path, strerror(errno));
    for (int index = 0; index < CLIENTS; index++) clients[index].file = -1;
    return 0;
}

static void drop(client *it) {
    close(it->file);
    it->file = -1;
    it->count = 0;
}

static void say_all(int file, const char *text) {
    size_t left = strlen(text);
    // A client that does not read is not waited for: packets would.
    struct timeval patience = {.tv_sec = 1};
    setsockopt(file, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    while (left > 0) {
        ssize_t sent = send(file, text, left, MSG_NOSIGNAL);
        if (sent <= 0) return;
        text += sent;
        left -= (size_t)sent;
    }
}

static void serve(client *it, model *model) {
    ssize_t octets = recv(it->file, it->line + it->count, LINE_OCTETS - 1 - it->count, MSG_DONTWAIT);
    if (octets < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (octets <= 0) {
        drop(it);
        return;
    }
    it->count += (uint32_t)octets;
    it->line[it->count] = 0;
    for (char *end = strchr(it->line, '\n'); end != NULL; end = strchr(it->line, '\n')) {
        *end = 0;
        char line[LINE_OCTETS];
        snprintf(line, sizeof line, "%s", it->line);
        it->count -= (uint32_t)(end + 1 - it->line);
        memmove(it->line, end + 1, it->count + 1);
        command(model, line, answer, sizeof answer);
        say_all(it->file, answer);
    }
    if (it->count == LINE_OCTETS - 1) drop(it);
}

void control_poll(model *model) {
    if (listener < 0) return;
    for (client *it = clients; it < clients + CLIENTS; it++) {
        if (it->file < 0) it->file = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (it->file >= 0) serve(it, model);
    }
}

void control_close(void) {
    if (listener < 0) return;
    for (client *it = clients; it < clients + CLIENTS; it++)
        if (it->file >= 0) drop(it);
    close(listener);
    listener = -1;
}

int control_ask(const char *path, const char *line) {
    struct sockaddr_un address;
    int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!address_of(path, &address) || file < 0 || connect(file, (struct sockaddr *)&address, sizeof address) < 0)
        return failure(69, "%s: %s: is a model running with --control?", path, strerror(errno));
    say_all(file, line);
    say_all(file, "\n");
    FILE *from = fdopen(file, "r");
    char *text = NULL;
    size_t room = 0;
    bool answered = getline(&text, &room, from) > 0;
    if (answered) fputs(text, stdout);
    int code = !answered ? failure(69, "%s: no answer", path) : strncmp(text, "error", 5) == 0;
    free(text);
    fclose(from);
    return code;
}
