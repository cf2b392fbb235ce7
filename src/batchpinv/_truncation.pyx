# cython: language_level=3, freethreading_compatible=True
"""Ends the command line if a memory-mapped file becomes shorter while it is read.

An access to the missing part raises the signal SIGBUS. No Python function can handle it: once that
returns, the access is made again. So the process says why, removes its output, and exits.
"""

cdef extern from * nogil:
    """
    #include <signal.h>
    #include <stdlib.h>
    #include <string.h>
    #ifdef SIGBUS
    #include <unistd.h>

    static char *batchpinv_message, *batchpinv_part;

    /* Calls only what a signal handler may call. The first thread here ends the process. */
    static void batchpinv_end(int) {
        static int ending = 0;
        while (__atomic_exchange_n(&ending, 1, __ATOMIC_SEQ_CST))
            pause();
        ssize_t ignored = write(2, batchpinv_message, strlen(batchpinv_message));
        (void)ignored;
        unlink(batchpinv_part);
        _exit(1);
    }

    static void batchpinv_end_on_sigbus(const char *message, const char *part) {
        batchpinv_message = strdup(message);
        batchpinv_part = strdup(part);
        if (batchpinv_message && batchpinv_part)
            signal(SIGBUS, batchpinv_end);
    }
    #else
    static void batchpinv_end_on_sigbus(const char *, const char *) {}
    #endif
    """
    void batchpinv_end_on_sigbus(const char *message, const char *part)


def end_where_truncated(message: bytes, part: bytes) -> None:
    """From now on, let such an access print `message`, remove the file `part`, and exit with 1."""
    batchpinv_end_on_sigbus(message, part)
