// Sums of products without error, in twice and three times the working precision (Ogita, Rump and
// Oishi, SIAM J. Sci. Comput. 26, 2005).
#pragma once

#include "vector-inl.h"

// Hides x from the optimiser, so that it is rounded here, and neither fused nor simplified.
template <class V> BATCHPINV_INLINE V rounded(V x) {
#if defined(__x86_64__)
    asm("" : "+x"(x));
#elif defined(__aarch64__)
    asm("" : "+w"(x));
#else
    asm("" : "+m"(x));
#endif
    return x;
}

// x = high + low, each of half the digits (Veltkamp).
template <class V> BATCHPINV_INLINE void split(V x, V &high, V &low) {
    using R = std::remove_reference_t<decltype(x[0] + 0)>;
    const V spread = rounded(x * (R(std::int64_t(1) << (Format<R>::mantissa + 2) / 2) + 1));
    high = rounded(spread - rounded(spread - x));
    low = x - high;
}

// The rounding error of product = a b.
template <class V> BATCHPINV_INLINE V product_error(V a, V b, V product) {
#if BATCHPINV_FUSES
    return fused(a, b, -product);
#else
    V a_high, a_low, b_high, b_low;
    split(a, a_high, a_low);
    split(b, b_high, b_low);
    return a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low);
#endif
}

// A sum in twice the working precision.
template <class V> struct Twice {
    V sum{}, rest{};

    BATCHPINV_INLINE void add(V x) { rest += accumulate(sum, x); }
    BATCHPINV_INLINE void add_small(V x) { rest += x; }
    BATCHPINV_INLINE void add(const Twice &other) {
        add(other.sum);
        add_small(other.rest);
    }
    BATCHPINV_INLINE V value() const { return sum + rest; }
};

// In three times the working precision.
template <class V> struct Thrice {
    V sum{}, rest{}, last{};

    BATCHPINV_INLINE void add(V x) { add_small(accumulate(sum, x)); }
    BATCHPINV_INLINE void add_small(V x) { last += accumulate(rest, x); }
    BATCHPINV_INLINE void add(const Thrice &other) {
        add(other.sum);
        add_small(other.rest);
        last += other.last;
    }
    BATCHPINV_INLINE V value() const { return (sum + rest) + last; }
};

template <class Sum, class V> BATCHPINV_INLINE void add_exact_product(Sum &sum, V a, V b) {
    const V product = rounded(a * b);
    sum.add(product);
    sum.add_small(product_error(a, b, product));
}

// Such sums of elements of a matrix.
template <class E, template <class> class Sum> struct SumOf {
    Sum<E> sum;

    BATCHPINV_INLINE void add(E x) { sum.add(x); }
    BATCHPINV_INLINE void add(const SumOf &other) { sum.add(other.sum); }
    BATCHPINV_INLINE void subtract_product(E a, E b) { add_exact_product(sum, -a, b); }
    BATCHPINV_INLINE void subtract_inner(E a, E b) { add_exact_product(sum, -a, b); }
    BATCHPINV_INLINE E value() const { return sum.value(); }
};
template <class V, template <class> class Sum> struct SumOf<Pair<V>, Sum> {
    Sum<V> re, im;

    BATCHPINV_INLINE void add(Pair<V> x) {
        re.add(x.re);
        im.add(x.im);
    }
    BATCHPINV_INLINE void add(const SumOf &other) {
        re.add(other.re);
        im.add(other.im);
    }
    BATCHPINV_INLINE void subtract_product(Pair<V> a, Pair<V> b) {
        add_exact_product(re, -a.re, b.re);
        add_exact_product(re, a.im, b.im);
        add_exact_product(im, -a.re, b.im);
        add_exact_product(im, -a.im, b.re);
    }
    BATCHPINV_INLINE void subtract_inner(Pair<V> a, Pair<V> b) {
        subtract_product(conjugate(a), b);
    }
    BATCHPINV_INLINE Pair<V> value() const { return {re.value(), im.value()}; }
};

template <class E> using TwiceOf = SumOf<E, Twice>;
