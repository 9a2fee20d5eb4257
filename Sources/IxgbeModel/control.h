#pragma once
#include "model.h"

// A Unix socket that takes lines and answers each with one. Returns an exit code.
int control_open(const char *path);
// Reads what has come, answers.
void control_poll(model *model);
void control_close(void);
// The other end: one line, its answer on standard output. Exit code 1 when it is an error.
int control_ask(const char *path, const char *line);
