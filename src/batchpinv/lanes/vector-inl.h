// Vectors of lanes, real and complex, with the few operations that the kernels need.
//
// Included by kernels.cpp and table.cpp only, inside their unnamed namespaces, so that each
// instruction set has a copy of its own.
#pragma once

#define BATCHPINV_INLINE inline __attribute__((always_inline))
#define BATCHPINV_INLINE_LAMBDA __attribute__((always_inline))

// 32 vector registers instead of 16. The widest registers tell, since narrower ones must round
// alike.
constexpr bool many_registers = BATCHPINV_VECTOR_BYTES == 64;

template <class R, int lanes> struct vector_of {
    typedef R type __attribute__((vector_size(sizeof(R) * lanes)));
};

template <class R> struct Format;
template <> struct Format<double> {
    using Int = std::int64_t;
    static constexpr int mantissa = 52, bias = 1023;
    static constexpr int ordinary = 200; // see scale_factor
    static constexpr double epsilon = 0x1p-52;
    static constexpr double up = 0x1p300, directed = 0x1p-484; // see polar
};
template <> struct Format<float> {
    using Int = std::int32_t;
    static constexpr int mantissa = 23, bias = 127;
    static constexpr int ordinary = 16;
    static constexpr float epsilon = 0x1p-23f;
    static constexpr float up = 0x1p40f, directed = 0x1p-50f;
};

// A real number in each lane is the vector itself; a complex one is a pair.
template <class V> struct Pair {
    V re, im;
};

template <class V> struct element_of {
    using real = V;
    static constexpr int parts = 1;
};
template <class V> struct element_of<Pair<V>> {
    using real = V;
    static constexpr int parts = 2;
};

template <class V> BATCHPINV_INLINE V square_root(V x) {
    V root;
    for (unsigned lane = 0; lane < sizeof(V) / sizeof(x[0]); ++lane)
        root[lane] = sizeof(x[0]) == 8 ? __builtin_sqrt(x[lane]) : __builtin_sqrtf(x[lane]);
    return root;
}

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define BATCHPINV_FUSES 1
#endif

// s + a b, with one rounding if the processor has such an instruction. Of the sums below the
// compiler fuses those that it can, which depends on what stands around them.
template <class V> BATCHPINV_INLINE V fused(V a, V b, V s) {
#if defined(__FMA__) // gcc makes vectors of most loops over lanes, but not of all
    constexpr bool is_single = sizeof(a[0]) == sizeof(float);
    if constexpr (sizeof(V) == 16 && is_single)
        return _mm_fmadd_ps(a, b, s);
    else if constexpr (sizeof(V) == 16)
        return _mm_fmadd_pd(a, b, s);
    else if constexpr (sizeof(V) == 32 && is_single)
        return _mm256_fmadd_ps(a, b, s);
    else if constexpr (sizeof(V) == 32)
        return _mm256_fmadd_pd(a, b, s);
#if defined(__AVX512F__)
    else if constexpr (is_single)
        return _mm512_fmadd_ps(a, b, s);
    else
        return _mm512_fmadd_pd(a, b, s);
#endif
#elif BATCHPINV_FUSES
    for (unsigned lane = 0; lane < sizeof(V) / sizeof(a[0]); ++lane)
        s[lane] = sizeof(a[0]) == 8 ? __builtin_fma(a[lane], b[lane], s[lane])
                                    : __builtin_fmaf(a[lane], b[lane], s[lane]);
    return s;
#else
    return s + a * b;
#endif
}

// s + |a|^2
template <class V> BATCHPINV_INLINE V add_square(V s, V a) { return s + a * a; }
template <class V> BATCHPINV_INLINE V add_square(V s, Pair<V> a) {
    return (s + a.re * a.re) + a.im * a.im;
}

// s + conj(a) b
template <class V> BATCHPINV_INLINE V add_inner(V s, V a, V b) { return s + a * b; }
template <class V> BATCHPINV_INLINE Pair<V> add_inner(Pair<V> s, Pair<V> a, Pair<V> b) {
    return {(s.re + a.re * b.re) + a.im * b.im, (s.im + a.re * b.im) - a.im * b.re};
}

// s + a b
template <class V> BATCHPINV_INLINE V add_product(V s, V a, V b) { return s + a * b; }
template <class V> BATCHPINV_INLINE Pair<V> add_product(Pair<V> s, Pair<V> a, Pair<V> b) {
    return {(s.re + a.re * b.re) - a.im * b.im, (s.im + a.re * b.im) + a.im * b.re};
}

// s - a b
template <class V> BATCHPINV_INLINE V subtract_product(V s, V a, V b) { return s - a * b; }
template <class V> BATCHPINV_INLINE Pair<V> subtract_product(Pair<V> s, Pair<V> a, Pair<V> b) {
    return {(s.re - a.re * b.re) + a.im * b.im, (s.im - a.re * b.im) - a.im * b.re};
}

// s - conj(a) b
template <class V> BATCHPINV_INLINE V subtract_inner(V s, V a, V b) { return s - a * b; }
template <class V> BATCHPINV_INLINE Pair<V> subtract_inner(Pair<V> s, Pair<V> a, Pair<V> b) {
    return {(s.re - a.re * b.re) - a.im * b.im, (s.im - a.re * b.im) + a.im * b.re};
}

template <class V> BATCHPINV_INLINE V plus(V a, V b) { return a + b; }
template <class V> BATCHPINV_INLINE Pair<V> plus(Pair<V> a, Pair<V> b) {
    return {a.re + b.re, a.im + b.im};
}

// s <- s + x. Returns the rounding error of the sum (Knuth's TwoSum).
template <class V> BATCHPINV_INLINE V accumulate(V &s, V x) {
    const V sum = s + x, part = sum - s, lost = (s - (sum - part)) + (x - part);
    s = sum;
    return lost;
}
template <class V> BATCHPINV_INLINE Pair<V> accumulate(Pair<V> &s, Pair<V> x) {
    return {accumulate(s.re, x.re), accumulate(s.im, x.im)};
}

template <class V> BATCHPINV_INLINE V product(V a, V b) { return a * b; }
template <class V> BATCHPINV_INLINE Pair<V> product(Pair<V> a, Pair<V> b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

template <class V> BATCHPINV_INLINE V times(V a, V real) { return a * real; }
template <class V> BATCHPINV_INLINE Pair<V> times(Pair<V> a, V real) {
    return {a.re * real, a.im * real};
}

template <class V> BATCHPINV_INLINE V reciprocal(V a) { return 1 / a; }
template <class V> BATCHPINV_INLINE Pair<V> reciprocal(Pair<V> a) {
    const V square = a.re * a.re + a.im * a.im;
    return {a.re / square, -a.im / square};
}

template <class V> BATCHPINV_INLINE V conjugate(V a) { return a; }
template <class V> BATCHPINV_INLINE Pair<V> conjugate(Pair<V> a) { return {a.re, -a.im}; }

template <class V> BATCHPINV_INLINE V real_part(V a) { return a; }
template <class V> BATCHPINV_INLINE Pair<V> real_part(Pair<V> a) { return {a.re, V{}}; }

template <class V> BATCHPINV_INLINE V magnitude(V a) {
    using Bits = decltype(a < a);
    constexpr auto all_but_sign = std::numeric_limits<decltype(Bits{}[0] + 0)>::max();
    return reinterpret_cast<V>(reinterpret_cast<Bits>(a) & all_but_sign);
}

// |a| and the direction a / |a|, which is 1 if |a| is negligible beside a matrix of ordinary size.
// Squares of small numbers lose digits, and the direction would not have length 1. So `up` times a
// is squared; if its size does not exceed `directed`, the direction is 1.
template <class E, class V> struct Polar {
    V size;
    E direction;
};
template <class V> BATCHPINV_INLINE Polar<V, V> polar(V a) {
    return {magnitude(a), a < 0 ? V{} - 1 : V{} + 1};
}
template <class V> BATCHPINV_INLINE Polar<Pair<V>, V> polar(Pair<V> a) {
    using F = Format<std::remove_reference_t<decltype(a.re[0] + 0)>>;
    const Pair<V> b = times(a, V{} + F::up);
    const V size = square_root(b.re * b.re + b.im * b.im), reciprocal = 1 / size;
    const auto directed = size > F::directed;
    return {size * (1 / F::up), choose(directed, times(b, reciprocal), Pair<V>{V{} + 1, V{}})};
}

// max(s, |re a|, |im a|); NaN is ignored
template <class V> BATCHPINV_INLINE V max_part(V s, V a) {
    const V size = magnitude(a);
    return size > s ? size : s;
}
template <class V> BATCHPINV_INLINE V max_part(V s, Pair<V> a) {
    return max_part(max_part(s, a.re), a.im);
}

// `yes` in the lanes where the mask is set, `no` in the others.
template <class Mask, class V> BATCHPINV_INLINE V choose(Mask mask, V yes, V no) {
    return mask ? yes : no;
}
template <class Mask, class V> BATCHPINV_INLINE Pair<V> choose(Mask mask, Pair<V> yes, Pair<V> no) {
    return {mask ? yes.re : no.re, mask ? yes.im : no.im};
}

template <int step, class Mask, int... lane>
BATCHPINV_INLINE Mask combine_lanes(Mask bits, std::integer_sequence<int, lane...> all) {
    if constexpr (step < sizeof...(lane))
        return combine_lanes<2 * step>(bits | __builtin_shufflevector(bits, bits, (lane ^ step)...),
                                       all);
    else
        return bits;
}

// The lanes in which the mask is set, as bits.
template <class Mask> BATCHPINV_INLINE unsigned lanes_of(Mask mask) {
    constexpr int lanes = sizeof(Mask) / sizeof(mask[0]);
    Mask bits{};
    for (int lane = 0; lane < lanes; ++lane)
        bits[lane] = 1 << lane;
    return static_cast<unsigned>(
        combine_lanes<1>(mask & bits, std::make_integer_sequence<int, lanes>{})[0]);
}

// The mask that is set in those lanes.
template <class Mask> BATCHPINV_INLINE Mask mask_of(unsigned lanes) {
    Mask bits{};
    for (unsigned lane = 0; lane < sizeof(Mask) / sizeof(bits[0]); ++lane)
        bits[lane] = lanes & 1u << lane;
    return bits != 0;
}

template <class Mask> BATCHPINV_INLINE bool any_lane(Mask mask) { return lanes_of(mask) != 0; }

template <class E> BATCHPINV_INLINE E unit() {
    E one{};
    if constexpr (element_of<E>::parts == 2)
        one.re += 1;
    else
        one += 1;
    return one;
}

// Calls act(std::integral_constant<int, size>{}) if size is from 1 to `most`; otherwise does
// nothing.
template <int most, class Do> BATCHPINV_INLINE void with_size(int size, Do &&act) {
    if constexpr (most > 0) {
        if (size == most)
            act(std::integral_constant<int, most>{});
        else
            with_size<most - 1>(size, act);
    }
}
