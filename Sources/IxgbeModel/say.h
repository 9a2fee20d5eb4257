#pragma once

// Says on standard error why something failed and returns `code`, one of sysexits.h.
int failure(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
