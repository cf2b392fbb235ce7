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
