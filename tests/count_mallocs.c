// Preloaded: counts what the calling thread takes from the heap.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

// Initial-exec, since other ways to reach it call malloc.
static __thread long count __attribute__((tls_model("initial-exec")));

long mallocs(void) { return count; }

void *malloc(size_t size) {
    static void *(*real)(size_t);
    if (!real)
        real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    ++count;
    return real(size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    static void *(*real)(size_t, size_t);
    if (!real)
        real = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "aligned_alloc");
    ++count;
    return real(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    static int (*real)(void **, size_t, size_t);
    if (!real)
        real = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    ++count;
    return real(memory, alignment, size);
}
