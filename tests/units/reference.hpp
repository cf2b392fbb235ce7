// What the kernels are compared with: a plain one-sided Jacobi SVD in a longer precision, which
// treats complex matrices as real ones of twice the size. Also the test matrices.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <complex>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <type_traits>
#include <vector>

namespace units {

#if defined(__SIZEOF_FLOAT128__)
using Quad = __float128;
#elif LDBL_MANT_DIG == 113
using Quad = long double;
#else
#error "this compiler has no binary128"
#endif
#if LDBL_MANT_DIG < 64
#error "long double is no longer than double here"
#endif
using Long = long double;

inline Long root(Long x) { return std::sqrt(x); }
#if defined(__SIZEOF_FLOAT128__) && LDBL_MANT_DIG < 113
inline Quad root(Quad x) {
    if (!(x > 0))
        return 0;
    Quad y = std::sqrt(static_cast<long double>(x));
    for (int step = 0; step < 2; ++step)
        y = (y + x / y) / 2;
    return y;
}
#endif

// m×n by columns.
template <class X> struct Dense {
    std::int64_t m = 0, n = 0;
    std::vector<X> entries;

    Dense() = default;
    Dense(std::int64_t m, std::int64_t n)
        : m(m), n(n), entries(static_cast<std::size_t>(m * n), X(0)) {}
    X &operator()(std::int64_t i, std::int64_t j) {
        return entries[static_cast<std::size_t>(i + j * m)];
    }
    const X &operator()(std::int64_t i, std::int64_t j) const {
        return entries[static_cast<std::size_t>(i + j * m)];
    }
};

template <class X> Dense<X> transposed(const Dense<X> &a) {
    Dense<X> t(a.n, a.m);
    for (std::int64_t j = 0; j < a.n; ++j)
        for (std::int64_t i = 0; i < a.m; ++i)
            t(j, i) = a(i, j);
    return t;
}

template <class X> Dense<X> product(const Dense<X> &a, const Dense<X> &b) {
    Dense<X> c(a.m, b.n);
    for (std::int64_t j = 0; j < b.n; ++j)
        for (std::int64_t l = 0; l < a.n; ++l)
            for (std::int64_t i = 0; i < a.m; ++i)
                c(i, j) += a(i, l) * b(l, j);
    return c;
}

template <class X> X norm(const Dense<X> &a) {
    X sum = 0;
    for (const X &x : a.entries)
        sum += x * x;
    return root(sum);
}

template <class X> Dense<X> difference(const Dense<X> &a, const Dense<X> &b) {
    Dense<X> c = a;
    for (std::size_t at = 0; at < c.entries.size(); ++at)
        c.entries[at] -= b.entries[at];
    return c;
}

template <class T> struct is_complex : std::false_type {};
template <class R> struct is_complex<std::complex<R>> : std::true_type {};
// How many real rows and columns stand for one.
template <class T> constexpr std::int64_t parts = is_complex<T>::value ? 2 : 1;

// [re -im; im re] of each entry: products, adjoints and pseudo-inverses are those of the matrix,
// and each singular value comes twice.
template <class X, class T> Dense<X> as_real(const Dense<T> &a) {
    Dense<X> r(parts<T> * a.m, parts<T> * a.n);
    for (std::int64_t j = 0; j < a.n; ++j)
        for (std::int64_t i = 0; i < a.m; ++i)
            if constexpr (is_complex<T>::value) {
                r(2 * i, 2 * j) = r(2 * i + 1, 2 * j + 1) = static_cast<X>(a(i, j).real());
                r(2 * i + 1, 2 * j) = static_cast<X>(a(i, j).imag());
                r(2 * i, 2 * j + 1) = -static_cast<X>(a(i, j).imag());
            } else
                r(i, j) = static_cast<X>(a(i, j));
    return r;
}

// The SVD.

// A V = B with orthogonal columns, longest first.
template <class X> struct Reference {
    Dense<X> b, v;
    std::vector<X> s; // singular values; those of complex matrices once
    std::int64_t copies;

    template <class T>
    explicit Reference(const Dense<T> &a) : b(as_real<X>(a)), v(b.n, b.n), copies(parts<T>) {
        for (std::int64_t j = 0; j < b.n; ++j)
            v(j, j) = 1;
        for (int sweeps = 0; sweep(); ++sweeps)
            if (sweeps == 40)
                throw std::runtime_error("the reference does not converge");
        std::vector<std::pair<X, std::int64_t>> order;
        for (std::int64_t j = 0; j < b.n; ++j)
            order.emplace_back(-root(inner(j, j)), j);
        std::sort(order.begin(), order.end());
        Dense<X> sorted_b(b.m, b.n), sorted_v(b.n, b.n);
        for (std::int64_t j = 0; j < b.n; ++j) {
            const auto &[length, from] = order[static_cast<std::size_t>(j)];
            for (std::int64_t i = 0; i < b.m; ++i)
                sorted_b(i, j) = b(i, from);
            for (std::int64_t i = 0; i < b.n; ++i)
                sorted_v(i, j) = v(i, from);
            if (j % copies == 0)
                s.push_back(-length);
        }
        b = sorted_b;
        v = sorted_v;
    }

    X s1() const { return s.front(); }

    std::int64_t rank(X tol) const {
        return std::count_if(s.begin(), s.end(), [&](X value) { return value > tol; });
    }

    // |X|_F of the pseudo-inverse X of that rank; values of complex matrices count once.
    X inverse_norm(std::int64_t rank) const {
        X sum = 0;
        for (std::int64_t j = 0; j < rank; ++j)
            sum += 1 / (s[static_cast<std::size_t>(j)] * s[static_cast<std::size_t>(j)]);
        return root(sum);
    }

    Dense<X> pseudo_inverse(std::int64_t rank) const {
        Dense<X> left(b.n, copies * rank), right(copies * rank, b.m);
        for (std::int64_t j = 0; j < copies * rank; ++j) {
            const X length2 = inner(j, j);
            for (std::int64_t i = 0; i < b.n; ++i)
                left(i, j) = v(i, j);
            for (std::int64_t i = 0; i < b.m; ++i)
                right(j, i) = b(i, j) / length2;
        }
        return product(left, right);
    }

  private:
    X inner(std::int64_t p, std::int64_t q) const {
        X sum = 0;
        for (std::int64_t i = 0; i < b.m; ++i)
            sum += b(i, p) * b(i, q);
        return sum;
    }

    bool sweep() {
        constexpr bool is_quad = !std::is_same_v<X, long double> || LDBL_MANT_DIG == 113;
        const X eps = static_cast<X>(is_quad ? 0x1p-109L : 0x1p-60L) * root(static_cast<X>(b.m));
        std::vector<X> length2(static_cast<std::size_t>(b.n));
        for (std::int64_t j = 0; j < b.n; ++j)
            length2[static_cast<std::size_t>(j)] = inner(j, j);
        // A column of mere rounding errors may never become orthogonal to the others.
        const X nothing2 = static_cast<X>(is_quad ? 0x1p-400L : 0x1p-200L) *
                           *std::max_element(length2.begin(), length2.end());
        bool turned = false;
        for (std::int64_t p = 0; p < b.n; ++p)
            for (std::int64_t q = p + 1; q < b.n; ++q) {
                X &pp = length2[static_cast<std::size_t>(p)],
                  &qq = length2[static_cast<std::size_t>(q)];
                const X pq = inner(p, q), size = pq < 0 ? -pq : pq;
                if (!(size > eps * root(pp) * root(qq)) || !(pp > nothing2 && qq > nothing2))
                    continue;
                turned = true;
                const X zeta = (qq - pp) / (2 * pq), far = zeta < 0 ? -zeta : zeta;
                const X tangent = (zeta < 0 ? -1 : 1) / (far + root(1 + zeta * zeta));
                const X cosine = 1 / root(1 + tangent * tangent);
                turn(b, p, q, cosine, cosine * tangent);
                turn(v, p, q, cosine, cosine * tangent);
                pp = inner(p, p);
                qq = inner(q, q);
            }
        return turned;
    }

    static void turn(Dense<X> &a, std::int64_t p, std::int64_t q, X cosine, X sine) {
        for (std::int64_t i = 0; i < a.m; ++i) {
            const X x = a(i, p), y = a(i, q);
            a(i, p) = cosine * x - sine * y;
            a(i, q) = sine * x + cosine * y;
        }
    }
};

// Matrices.

// Random numbers, and matrices of them.
class Source {
    std::mt19937_64 bits;

  public:
    explicit Source(std::uint64_t seed) : bits(seed) {}

    double uniform(double from, double to) {
        return std::uniform_real_distribution<double>(from, to)(bits);
    }
    std::int64_t integer(std::int64_t from, std::int64_t to) {
        return std::uniform_int_distribution<std::int64_t>(from, to)(bits);
    }

    template <class T> T normal() {
        std::normal_distribution<double> one;
        if constexpr (is_complex<T>::value) {
            const double re = one(bits), im = one(bits);
            return T(static_cast<typename T::value_type>(re),
                     static_cast<typename T::value_type>(im));
        } else
            return static_cast<T>(one(bits));
    }

    template <class T> Dense<T> matrix(std::int64_t m, std::int64_t n) {
        Dense<T> a(m, n);
        for (T &x : a.entries)
            x = normal<T>();
        return a;
    }

    // A matrix with nearly the singular values s, rounded to T.
    template <class T>
    Dense<T> with_values(std::int64_t m, std::int64_t n, const std::vector<double> &s) {
        using W = std::conditional_t<is_complex<T>::value, std::complex<Long>, Long>;
        Dense<W> a(m, n);
        for (std::int64_t j = 0; j < n; ++j)
            a(j, j) = W(s[static_cast<std::size_t>(j)]);
        for (std::int64_t turn = 0; turn < 2; ++turn) {
            reflect(a);
            reflect_rows(a);
        }
        Dense<T> rounded(m, n);
        for (std::size_t at = 0; at < a.entries.size(); ++at)
            rounded.entries[at] = static_cast<T>(a.entries[at]);
        return rounded;
    }

  private:
    template <class W> static W conjugate(W x) {
        if constexpr (is_complex<W>::value)
            return std::conj(x);
        else
            return x;
    }

    // A <- (I - 2 v v^H / v^H v) A
    template <class W> void reflect(Dense<W> &a) {
        const auto [v, by] = direction<W>(a.m);
        for (std::int64_t j = 0; j < a.n; ++j) {
            W sum = 0;
            for (std::int64_t i = 0; i < a.m; ++i)
                sum += conjugate(v[static_cast<std::size_t>(i)]) * a(i, j);
            for (std::int64_t i = 0; i < a.m; ++i)
                a(i, j) -= by * v[static_cast<std::size_t>(i)] * sum;
        }
    }

    template <class W> void reflect_rows(Dense<W> &a) {
        const auto [v, by] = direction<W>(a.n);
        for (std::int64_t i = 0; i < a.m; ++i) {
            W sum = 0;
            for (std::int64_t j = 0; j < a.n; ++j)
                sum += a(i, j) * v[static_cast<std::size_t>(j)];
            for (std::int64_t j = 0; j < a.n; ++j)
                a(i, j) -= by * sum * conjugate(v[static_cast<std::size_t>(j)]);
        }
    }

    template <class W> std::pair<std::vector<W>, Long> direction(std::int64_t length) {
        std::vector<W> v(static_cast<std::size_t>(length));
        Long length2 = 0;
        for (W &x : v) {
            if constexpr (is_complex<W>::value)
                x = static_cast<W>(normal<std::complex<double>>());
            else
                x = normal<double>();
            length2 += std::norm(x);
        }
        return {v, 2 / length2};
    }
};

} // namespace units
