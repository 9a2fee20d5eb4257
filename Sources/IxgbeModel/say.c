#include "say.h"

#include <stdarg.h>
#include <stdio.h>

int failure(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char text[1024];
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "ixgbe-model: %s\n", text);
    return code;
}
