/* Steps the time of day of the process that preloads it, by the seconds in the file that STEP_CLOCK
 * names. libchdb asks the kernel's vDSO without the C library, so its functions are replaced there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *file;

/* Without the C library's own functions, some of which may ask for the time. */
static long step(void) {
    char text[32];
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    long bytes = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    long seconds = 0, sign = 1;
    for (long at = 0; at < bytes; at++) {
        if (text[at] == '-') sign = -1;
        if (text[at] >= '0' && text[at] <= '9') seconds = seconds * 10 + (text[at] - '0');
    }
    return sign * seconds;
}

static int stepped_clock_gettime(clockid_t clock, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, clock, now);
    if (failed) return (int)failed;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += step();
    return 0;
}

static int stepped_gettimeofday(struct timeval *now, void *zone) {
    struct timespec time;
    (void)zone;
    stepped_clock_gettime(CLOCK_REALTIME, &time);
    if (now) {
        now->tv_sec = time.tv_sec;
        now->tv_usec = time.tv_nsec / 1000;
    }
    return 0;
}

static time_t stepped_time(time_t *now) {
    struct timespec time;
    stepped_clock_gettime(CLOCK_REALTIME, &time);
    if (now) *now = time.tv_sec;
    return time.tv_sec;
}

/* Waits until a deadline of the stepped clock. The kernel knows only the true one: after a step back
 * every deadline is over, and a thread that waits again and again takes a whole core. A deadline of
 * CLOCK_MONOTONIC counts from the machine's start, so it is below a billion seconds. */
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           const struct timespec *deadline) {
    typedef int wait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    static wait *true_wait;
    if (!true_wait) true_wait = (wait *)dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec until = *deadline;
    if (until.tv_sec > 1000000000) until.tv_sec -= step();
    return true_wait(condition, mutex, &until);
}

/* Writes a jump to `target` at `code`. */
static void replace(unsigned char *code, const void *target) {
    uint64_t address = (uint64_t)(uintptr_t)target;
#if defined(__x86_64__)
    unsigned char jump[12] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};
    memcpy(jump + 2, &address, 8);
#elif defined(__aarch64__)
    unsigned char jump[16] = {0x50, 0, 0, 0x58, 0, 0x02, 0x1f, 0xd6};
    memcpy(jump + 8, &address, 8);
#else
    unsigned char jump[1];
    (void)address;
    return;
#endif
    memcpy(code, jump, sizeof jump);
    __builtin___clear_cache((char *)code, (char *)code + sizeof jump);
}

__attribute__((constructor)) static void begin(void) {
    unsigned char *vdso = (unsigned char *)getauxval(AT_SYSINFO_EHDR);
    file = getenv("STEP_CLOCK");
    if (!vdso || !file) return;
    const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)vdso;
    const ElfW(Phdr) *segment = (const ElfW(Phdr) *)(vdso + header->e_phoff);
    const ElfW(Dyn) *dynamic = NULL;
    size_t bytes = 0;
    for (int at = 0; at < header->e_phnum; at++) {
        if (segment[at].p_type == PT_LOAD) bytes = segment[at].p_memsz;
        if (segment[at].p_type == PT_DYNAMIC)
            dynamic = (const ElfW(Dyn) *)(vdso + segment[at].p_offset);
    }
    /* The kernel lets the mapping be changed as a whole only. */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    bytes = (bytes + page - 1) & ~(page - 1);
    if (mprotect(vdso, bytes, PROT_READ | PROT_WRITE | PROT_EXEC)) return;
    const ElfW(Sym) *symbols = NULL;
    const char *names = NULL;
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_SYMTAB) symbols = (const void *)(vdso + dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_STRTAB) names = (const char *)(vdso + dynamic->d_un.d_ptr);
    }
    if (!symbols || !names) return;
    /* The names follow the symbols. */
    for (; (const char *)(symbols + 1) <= names; symbols++) {
        const char *name = names + symbols->st_name;
        unsigned char *code = vdso + symbols->st_value;
        if (symbols->st_size < 16) continue;
        if (!strcmp(name, "__vdso_clock_gettime") || !strcmp(name, "__kernel_clock_gettime"))
            replace(code, stepped_clock_gettime);
        if (!strcmp(name, "__vdso_gettimeofday") || !strcmp(name, "__kernel_gettimeofday"))
            replace(code, stepped_gettimeofday);
        if (!strcmp(name, "__vdso_time")) replace(code, stepped_time);
    }
}
