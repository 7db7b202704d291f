/* Holds so many bytes of anonymous memory locked until it is killed: lock BYTES. It says "locked" when it has them. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **words) {
    size_t size = count > 1 ? strtoul(words[1], NULL, 10) : 0;
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || mlock(at, size)) {
        perror("lock");
        return 1;
    }
    puts("locked");
    fflush(stdout);
    for (;;) pause();
}
