/* Preloaded into ClickHouse: holds the rename of a new part while a file exists, or fails it when
   the file is not empty. By then a plain MergeTree has written the insert's deduplication token,
   and no query sees the part yet. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    const char *flag = getenv("HOLD_RENAMES");
    if (flag && strstr(from, "/tmp_insert_") && access(flag, F_OK) == 0) {
        char reached[PATH_MAX];
        snprintf(reached, sizeof reached, "%s.reached", flag);
        close(open(reached, O_CREAT | O_WRONLY, 0600));
        struct stat file;
        if (stat(flag, &file) == 0 && file.st_size > 0) {
            errno = EIO;
            return -1;
        }
        while (access(flag, F_OK) == 0) usleep(10000);
    }
    return real(from, to);
}
