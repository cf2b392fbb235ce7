// Sets the floating-point unit as the arithmetic here needs it, for the life of an object: rounding
// to nearest, subnormal numbers, no traps. The state of the unit belongs to the caller's thread, so
// the destructor restores all of it, sticky exception flags and traps included.
//
// PyTorch and XLA change that state: they flush subnormal numbers to zero, which changes ranks.
#pragma once

#include <cfenv>
#include <cstdint>

namespace batchpinv {

#if defined(__x86_64__)

class FloatingPoint {
    // The vector unit (MXCSR): all exceptions masked, none raised.
    static constexpr std::uint32_t usual_vectors = 0x1f80;
    // The x87 unit, which OpenBLAS uses for norms: the same, at its full precision; `raised` are
    // the exceptions in its status.
    static constexpr std::uint16_t usual_control = 0x37f, raised = 0x3f;
    struct X87 {
        std::uint32_t control, status, others[5];
    };

    std::uint32_t vectors;
    std::uint16_t control, status;

    static std::uint16_t find_status() {
        std::uint16_t found;
        asm volatile("fnstsw %0" : "=m"(found));
        return found;
    }

  public:
    FloatingPoint() : control(0), status(find_status()) {
        asm volatile("stmxcsr %0" : "=m"(vectors));
        asm volatile("fnstcw %0" : "=m"(control));
        asm volatile("ldmxcsr %0" : : "m"(usual_vectors) : "memory");
        if (control != usual_control)
            load(usual_control, 0);
    }

    ~FloatingPoint() {
        if (control != usual_control || ((find_status() ^ status) & raised))
            load(control, status);
        asm volatile("ldmxcsr %0" : : "m"(vectors) : "memory");
    }

    FloatingPoint(const FloatingPoint &) = delete;

  private:
    static void load(std::uint16_t control, std::uint16_t status) {
        X87 found;
        asm volatile("fnstenv %0" : "=m"(found));
        found.control = (found.control & ~std::uint32_t(0xffff)) | control;
        found.status = (found.status & ~std::uint32_t(raised)) | (status & raised);
        asm volatile("fldenv %0" : : "m"(found) : "memory");
    }
};

#elif defined(__aarch64__) && defined(__GNUC__)

class FloatingPoint {
    std::uint64_t control, status;

    static void load(std::uint64_t control, std::uint64_t status) {
        asm volatile("msr fpcr, %0" : : "r"(control) : "memory");
        asm volatile("msr fpsr, %0" : : "r"(status) : "memory");
    }

  public:
    FloatingPoint() {
        asm volatile("mrs %0, fpcr" : "=r"(control));
        asm volatile("mrs %0, fpsr" : "=r"(status));
        load(0, 0);
    }
    ~FloatingPoint() { load(control, status); }
    FloatingPoint(const FloatingPoint &) = delete;
};

#else

class FloatingPoint {
    std::fenv_t found;

  public:
    FloatingPoint() {
        std::feholdexcept(&found);
        std::fesetround(FE_TONEAREST);
    }
    ~FloatingPoint() { std::fesetenv(&found); }
    FloatingPoint(const FloatingPoint &) = delete;
};

#endif

} // namespace batchpinv
