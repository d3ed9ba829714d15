/* Makes the disk of a process fail: preloaded, and told by the first byte of the file FAULT.
 *
 * s: every sync fails (EIO). w: every write at an offset fails (EIO). n: there is no space for it
 * (ENOSPC). Sockets and logs are not written at an offset. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static int fault(void) {
    char kind = 0;
    int file = open(getenv("FAULT"), O_RDONLY);
    if (file >= 0) {
        if (read(file, &kind, 1) != 1) kind = 0;
        close(file);
    }
    return kind;
}

static int failed(int error) {
    errno = error;
    return -1;
}

#define NEXT(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

int fdatasync(int file) {
    return fault() == 's' ? failed(EIO) : NEXT(int, "fdatasync", int)(file);
}

int fsync(int file) {
    return fault() == 's' ? failed(EIO) : NEXT(int, "fsync", int)(file);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    switch (fault()) {
    case 'w': return failed(EIO);
    case 'n': return failed(ENOSPC);
    default:
        return NEXT(ssize_t, "pwrite64", int, const void *, size_t, off64_t)(file, bytes, count, at);
    }
}
