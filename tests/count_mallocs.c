// Preloaded by test_compiled.py: counts the calling thread's heap allocations, except OpenBLAS's.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

// Initial-exec, because other TLS models may call malloc.
static __thread long count __attribute__((tls_model("initial-exec")));

long mallocs(void) { return count; }

static void note(const void *caller) {
    Dl_info where;
    if (!dladdr(caller, &where) || !strstr(where.dli_fname, "openblas"))
        ++count;
}

void *malloc(size_t size) {
    static void *(*real)(size_t);
    if (!real)
        real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    note(__builtin_return_address(0));
    return real(size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    static void *(*real)(size_t, size_t);
    if (!real)
        real = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "aligned_alloc");
    note(__builtin_return_address(0));
    return real(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    static int (*real)(void **, size_t, size_t);
    if (!real)
        real = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    note(__builtin_return_address(0));
    return real(memory, alignment, size);
}
