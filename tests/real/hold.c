/* Holds memory in one way until it is killed: hold KIND COUNT. No library, so that it is small enough to send.
 *
 *   mlock MIB      anonymous memory, locked
 *   anonymous PAGES  anonymous memory, written
 *   keep PAGES     the same, in a pipe as well: held by more than the process that maps it
 *   pipe PAGES     anonymous pages in a pipe (vmsplice) that nobody maps any more: as pinned as those of a driver
 *   tables COUNT   page tables: a page read in each of COUNT areas of 2 MiB maps the page of zeros
 *   files COUNT    empty files in the working directory: each is a dentry and an inode
 */
#include <sys/syscall.h>

static long call(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 asm("r10") = d, r8 asm("r8") = e, r9 asm("r9") = f;
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

#define CALL3(number, a, b, c) call(number, (long)(a), (long)(b), (long)(c), 0, 0, 0)

static char *anonymous(long size) {
    long at = call(SYS_mmap, 0, size, 3, 0x4022, -1, 0); /* private, anonymous, no reserve */
    CALL3(SYS_madvise, at, size, 15);                     /* no huge pages */
    return (char *)at;
}

static void hold(char kind, long count) {
    long size = kind == 'm' ? count << 20 : kind == 't' ? count << 21 : count << 12;
    volatile char *at = anonymous(size);
    int ends[2];
    char name[12] = "f0000000000";
    if (kind == 'm') {
        CALL3(SYS_mlock, at, size, 0);
    } else if (kind == 't') {
        for (long i = 0; i < count; i++) (void)at[i << 21];
    } else if (kind == 'p' || kind == 'k' || kind == 'a') {
        struct { volatile char *base; long size; } piece = {at, size};
        for (long i = 0; i < count; i++) at[i << 12] = 1;
        if (kind == 'a') return;
        CALL3(SYS_pipe, ends, 0, 0);
        CALL3(SYS_fcntl, ends[1], 1031, size); /* as long as that */
        call(SYS_vmsplice, ends[1], (long)&piece, 1, 0, 0, 0);
        if (kind == 'p') CALL3(SYS_munmap, at, size, 0);
    } else {
        for (long i = 0; i < count; i++) {
            for (long digit = 10, rest = i; digit; digit--, rest /= 10) name[digit] = '0' + rest % 10;
            CALL3(SYS_close, CALL3(SYS_open, name, 0101, 0600), 0, 0);
        }
    }
}

__attribute__((used)) void started(long *stack) {
    char **words = (char **)(stack + 2);
    long count = 0;
    for (char *digit = words[1]; *digit; digit++) count = count * 10 + *digit - '0';
    hold(words[0][0], count);
    CALL3(SYS_write, 1, "held\n", 5);
    for (;;) CALL3(SYS_pause, 0, 0, 0);
}

asm(".globl _start\n_start: mov %rsp, %rdi\n call started");
