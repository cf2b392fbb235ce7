# cython: language_level=3, freethreading_compatible=True
"""Memory-mapped files that become shorter while they are read.

The system answers a touch of the missing part by a signal, SIGBUS, that no Python function can
take: the touch would only be made again. What is left is to end as a command line should.
"""

cdef extern from * nogil:
    """
    #include <signal.h>
    #include <stdlib.h>
    #include <string.h>
    #ifdef SIGBUS
    #include <unistd.h>

    static char *batchpinv_message, *batchpinv_part;

    /* Only what a signal handler may call; by the first of the threads that come here. */
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
    """From now on, let such a touch print the message, remove the file and end with status 1."""
    batchpinv_end_on_sigbus(message, part)
