#pragma once
#include "model.h"

#include <sys/types.h>

// Moves frames until `program` has ended; its status as waitpid() has it. Signals in `passed` go on to the program.
int engine_run(model *model, pid_t program);
