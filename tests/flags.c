/* The flags of a thread's floating-point unit, for test_floating_point.py. */
#include <fenv.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
uint64_t get_flags(void) {
    uint16_t control, status;
    __asm__ volatile("fnstcw %0" : "=m"(control));
    __asm__ volatile("fnstsw %0" : "=m"(status));
    return _mm_getcsr() | (uint64_t)control << 32 | (uint64_t)(status & 0x3f) << 48;
}
void flush_subnormals(void) { _mm_setcsr(_mm_getcsr() | 0x8040); }
#elif defined(__aarch64__)
uint64_t get_flags(void) {
    uint64_t control, status;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(status));
    return control << 32 | (status & 0xffffffff);
}
void flush_subnormals(void) {
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("msr fpcr, %0" : : "r"(control | 1ull << 24));
}
#endif

void round_up(void) { fesetround(FE_UPWARD); }
void round_down(void) { fesetround(FE_DOWNWARD); }
void trap(void) { feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW); }
void raise_inexact(void) { feraiseexcept(FE_INEXACT | FE_UNDERFLOW); }
void usual(void) { fesetenv(FE_DFL_ENV); }

#if defined(__x86_64__)
static void trap_all(void) { _mm_setcsr(_mm_getcsr() & ~_MM_MASK_MASK); }
#else
static void trap_all(void) { feenableexcept(FE_ALL_EXCEPT); }
#endif

typedef int64_t dpinv(int64_t, int64_t, int64_t, const double *, int64_t, int64_t, int64_t,
                      double *, int64_t, int64_t, int64_t, double, double, int, int64_t *, int *,
                      void *, int64_t);

/* Calls `pinv` for a 3x3 matrix with all traps unmasked. `tolerances` holds atol and rtol; `found`
   gets the flags before and after the call. */
int64_t call_trapped(dpinv *pinv, const double *a, double *x, const double *tolerances,
                     uint64_t *found) {
    trap_all();
    found[0] = get_flags();
    const int64_t result = pinv(1, 3, 3, a, 72, 24, 8, x, 72, 24, 8, tolerances[0], tolerances[1],
                                0, 0, 0, 0, 0);
    found[1] = get_flags();
    usual();
    return result;
}
