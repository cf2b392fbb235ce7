// Ranks and singular values with more digits than any method under test, for tests/truth.py.
// Householder bidiagonalisation, then Sturm counts: no iteration that could fail to converge, and
// nothing that the package uses. One template serves double (estimates only), binary128, and pairs
// of binary128 (226 bits, more than 60 digits). Exact ranks come from elimination modulo primes.

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

namespace {

#if defined(__SIZEOF_FLOAT128__)
using Quad = __float128;
#elif LDBL_MANT_DIG == 113
using Quad = long double;
#else
#error "this compiler has no binary128"
#endif

using Wide = unsigned __int128;

// Number types.

// 2^exponent, for exponents in the normal range of binary128.
Quad power_of_two(int exponent) {
    const Wide bits = static_cast<Wide>(exponent + 16383) << 112;
    Quad x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// floor(log2 x), for a normal x > 0.
int exponent_of(Quad x) {
    Wide bits;
    std::memcpy(&bits, &x, sizeof bits);
    return static_cast<int>(bits >> 112 & 0x7fff) - 16383;
}

// hi + lo without overlap; |lo| <= ulp(hi) / 2. The algorithms are those of Dekker and Knuth.
struct Pair {
    Quad hi, lo;
    Pair() : hi(0), lo(0) {}
    Pair(double x) : hi(x), lo(0) {}
    Pair(Quad x) : hi(x), lo(0) {}
    Pair(Quad hi_, Quad lo_) : hi(hi_), lo(lo_) {}
};

Pair quick_sum(Quad a, Quad b) {
    const Quad s = a + b;
    return {s, b - (s - a)};
}

Pair two_sum(Quad a, Quad b) {
    const Quad s = a + b, t = s - a;
    return {s, (a - (s - t)) + (b - t)};
}

Pair two_product(Quad a, Quad b) {
    const Quad splitter = power_of_two(57) + 1;
    const Quad ta = splitter * a, tb = splitter * b;
    const Quad ah = ta - (ta - a), bh = tb - (tb - b), al = a - ah, bl = b - bh;
    const Quad p = a * b;
    return {p, ((ah * bh - p) + ah * bl + al * bh) + al * bl};
}

Pair operator+(const Pair &a, const Pair &b) {
    Pair s = two_sum(a.hi, b.hi);
    const Pair t = two_sum(a.lo, b.lo);
    s = quick_sum(s.hi, s.lo + t.hi);
    return quick_sum(s.hi, s.lo + t.lo);
}

Pair operator-(const Pair &a) { return {-a.hi, -a.lo}; }
Pair operator-(const Pair &a, const Pair &b) { return a + -b; }

Pair operator*(const Pair &a, const Pair &b) {
    const Pair p = two_product(a.hi, b.hi);
    return quick_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

Pair operator/(const Pair &a, const Pair &b) {
    const Quad q1 = a.hi / b.hi;
    Pair r = a - b * Pair(q1);
    const Quad q2 = r.hi / b.hi;
    r = r - b * Pair(q2);
    return quick_sum(q1, q2) + Pair(r.hi / b.hi);
}

bool operator<(const Pair &a, const Pair &b) {
    return a.hi < b.hi || (a.hi == b.hi && a.lo < b.lo);
}
bool operator==(const Pair &a, const Pair &b) { return a.hi == b.hi && a.lo == b.lo; }

template <class T> struct Facts;
template <> struct Facts<double> {
    static double unit() { return 0x1p-53; }
    static double tiny() { return 0x1p-960; }
};
template <> struct Facts<Quad> {
    static Quad unit() { return power_of_two(-113); }
    static Quad tiny() { return power_of_two(-8000); }
};
#if LDBL_MANT_DIG == 64
using Extended = long double; // x87's 64 bits, in hardware
template <> struct Facts<Extended> {
    static Extended unit() { return 0x1p-64L; }
    static Extended tiny() { return 0x1p-8000L; }
};
#else
using Extended = Quad;
#endif
template <> struct Facts<Pair> {
    static Pair unit() { return power_of_two(-216); } // 2^-222 and some room
    static Pair tiny() { return power_of_two(-8000); }
};

double to_double(Quad x) { return static_cast<double>(x); }
#if LDBL_MANT_DIG == 64
double to_double(Extended x) { return static_cast<double>(x); }
#endif
double to_double(const Pair &x) { return static_cast<double>(x.hi); }

// Square roots by Newton's iteration, which doubles the 53 digits of the first guess.
Quad root(Quad x) {
    if (!(x > 0))
        return 0;
    const int half = exponent_of(x) / 2;
    const Quad near_one = x * power_of_two(-2 * half);
    Quad y = std::sqrt(static_cast<double>(near_one));
    for (int i = 0; i < 2; ++i)
        y = (y + near_one / y) / 2;
    return y * power_of_two(half);
}

#if LDBL_MANT_DIG == 64
Extended root(Extended x) { return x > 0 ? std::sqrt(x) : 0; }
#endif

Pair root(const Pair &x) {
    if (!(Pair() < x))
        return {};
    const Pair y = root(x.hi);
    return (y + x / y) * Pair(0.5);
}

template <class T> struct Complex {
    T re, im;
    Complex() : re(0.0), im(0.0) {}
    Complex(const T &re_, const T &im_) : re(re_), im(im_) {}
};

template <class T> struct RealOf {
    using Type = T;
};
template <class T> struct RealOf<Complex<T>> {
    using Type = T;
};

template <class T> T conjugate(const T &x) { return x; }
template <class T> Complex<T> conjugate(const Complex<T> &x) { return {x.re, -x.im}; }
template <class T> T square(const T &x) { return x * x; }
template <class T> T square(const Complex<T> &x) { return x.re * x.re + x.im * x.im; }
template <class T> T modulus(const T &x) { return x < T(0.0) ? -x : x; }
template <class T> T modulus(const Complex<T> &x) { return root(square(x)); }
template <class T> Complex<T> operator+(const Complex<T> &x, const Complex<T> &y) {
    return {x.re + y.re, x.im + y.im};
}
template <class T> Complex<T> operator-(const Complex<T> &x, const Complex<T> &y) {
    return {x.re - y.re, x.im - y.im};
}
template <class T> Complex<T> operator*(const Complex<T> &x, const Complex<T> &y) {
    return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
}
template <class T> Complex<T> operator*(const Complex<T> &x, const T &y) {
    return {x.re * y, x.im * y};
}

// Bidiagonalisation.

// The squared moduli of a bidiagonal matrix with the same singular values: d2 on the diagonal, e2
// above it. Phases do not matter, so the moduli are enough for complex matrices too.
template <class T> struct Bidiagonal {
    std::vector<T> d2, e2;
    T norm; // Frobenius
};

// Turns x[0..count) into the vector v of the reflection I - v v^H / scale that maps x to a multiple
// of the first unit vector; returns |x|^2. scale is 0 if there is nothing to reflect, or so little
// that its squares underflow.
template <class T> T make_reflection(Complex<T> *x, std::int64_t count, T &scale) {
    T tail = T(0.0);
    for (std::int64_t i = 1; i < count; ++i)
        tail = tail + square(x[i]);
    const T total = square(x[0]) + tail;
    scale = T(0.0);
    if (!(Facts<T>::tiny() < tail)) // beside the matrix, whose largest entry is near 1
        return total;
    const T size = root(total), first = modulus(x[0]);
    if (first == T(0.0)) {
        x[0] = {size, T(0.0)};
    } else {
        x[0] = x[0] * (T(1.0) + size / first);
    }
    scale = total + size * first;
    return total;
}

// The same for a real x.
template <class T> T make_reflection(T *x, std::int64_t count, T &scale) {
    T tail = T(0.0);
    for (std::int64_t i = 1; i < count; ++i)
        tail = tail + x[i] * x[i];
    const T total = x[0] * x[0] + tail;
    scale = T(0.0);
    if (!(Facts<T>::tiny() < tail)) // beside the matrix, whose largest entry is near 1
        return total;
    const T size = root(total);
    scale = total + size * modulus(x[0]);
    x[0] = x[0] < T(0.0) ? x[0] - size : x[0] + size;
    return total;
}

// y -= v (v^H y) / scale
template <class S, class T>
void reflect(const S *v, S *y, std::int64_t count, const T &inverse_scale) {
    S product{};
    for (std::int64_t i = 0; i < count; ++i)
        product = product + conjugate(v[i]) * y[i];
    product = product * inverse_scale;
    for (std::int64_t i = 0; i < count; ++i)
        y[i] = y[i] - v[i] * product;
}

// Householder QR of the tall matrix a (column-major, rows x n), which is replaced by R, n x n.
template <class S> void to_triangle(std::vector<S> &a, std::int64_t rows, std::int64_t n) {
    using T = typename RealOf<S>::Type;
    std::vector<S> triangle(n * n, S{});
    for (std::int64_t j = 0; j < n; ++j) {
        S *x = &a[j * rows + j];
        const S head = x[0];
        T scale;
        const T total = make_reflection(x, rows - j, scale);
        for (std::int64_t i = 0; i < j; ++i)
            triangle[j * n + i] = a[j * rows + i];
        triangle[j * n + j] = head;
        if (scale == T(0.0))
            continue;
        const T inverse = T(1.0) / scale;
        for (std::int64_t k = j + 1; k < n; ++k)
            reflect(x, &a[k * rows + j], rows - j, inverse);
        // -phase(head) |x|: its phase is that of -v[0].
        const T first = modulus(x[0]);
        triangle[j * n + j] = x[0] * (-(root(total) / first));
    }
    a.swap(triangle);
}

// a is column-major with rows >= n columns, and is destroyed.
template <class S>
Bidiagonal<typename RealOf<S>::Type> bidiagonalise(std::vector<S> &a, std::int64_t rows,
                                                   std::int64_t n) {
    using T = typename RealOf<S>::Type;
    Bidiagonal<T> result;
    if (rows > n)
        to_triangle(a, rows, n);
    result.d2.assign(n, T(0.0));
    result.e2.assign(n, T(0.0));
    std::vector<S> v(n, S{}), products(n, S{});
    T scale, sum = T(0.0);
    for (std::int64_t i = 0; i < n; ++i) {
        S *x = &a[i * n + i];
        result.d2[i] = make_reflection(x, n - i, scale);
        sum = sum + result.d2[i];
        if (!(scale == T(0.0))) {
            const T inverse = T(1.0) / scale;
            for (std::int64_t k = i + 1; k < n; ++k)
                reflect(x, &a[k * n + i], n - i, inverse);
        }
        if (i + 1 == n)
            break;
        const std::int64_t count = n - i - 1;
        for (std::int64_t k = 0; k < count; ++k)
            v[k] = conjugate(a[(i + 1 + k) * n + i]);
        result.e2[i] = make_reflection(v.data(), count, scale);
        sum = sum + result.e2[i];
        if (scale == T(0.0))
            continue;
        const T inverse = T(1.0) / scale;
        // The same from the right, column by column: products = A v / scale, A -= products v^H.
        std::fill(products.begin(), products.end(), S{});
        for (std::int64_t k = 0; k < count; ++k) {
            const S *column = &a[(i + 1 + k) * n];
            for (std::int64_t row = i + 1; row < n; ++row)
                products[row] = products[row] + column[row] * v[k];
        }
        for (std::int64_t row = i + 1; row < n; ++row)
            products[row] = products[row] * inverse;
        for (std::int64_t k = 0; k < count; ++k) {
            S *column = &a[(i + 1 + k) * n];
            const S factor = conjugate(v[k]);
            for (std::int64_t row = i + 1; row < n; ++row)
                column[row] = column[row] - products[row] * factor;
        }
    }
    result.norm = root(sum);
    return result;
}

// Sturm counts.

// How many singular values of the bidiagonal matrix are greater than t > 0: the differential qd
// form of Sylvester's law for B^T B - t^2 I. The count is that of a bidiagonal matrix whose entries
// differ relatively by a few units of rounding (Fernando, Accurately counting singular values of
// bidiagonal matrices, 1998).
template <class T> int count_above(const std::vector<T> &d2, const std::vector<T> &e2, const T &t) {
    const T t2 = t * t, zero = T(0.0);
    const std::size_t n = d2.size();
    T s = -t2;
    int below = 0;
    for (std::size_t i = 0; i < n; ++i) {
        T q = d2[i] + s;
        if (q == zero)
            q = Facts<T>::tiny();
        if (q < zero)
            ++below;
        if (i + 1 < n)
            s = e2[i] * (s / q) - t2;
    }
    return static_cast<int>(n) - below;
}

struct Estimator {
    std::vector<double> d2, e2;
    double norm;

    template <class T> explicit Estimator(const Bidiagonal<T> &b) : norm(to_double(b.norm)) {
        for (const T &x : b.d2)
            d2.push_back(to_double(x));
        for (const T &x : b.e2)
            e2.push_back(to_double(x));
    }

    // The k-th largest singular value in double precision, with an absolute error of a few eps
    // norm.
    double value(int k) const {
        double low = k == 1 ? norm / std::sqrt(static_cast<double>(d2.size())) * 0.999 : 0;
        double high = norm * 1.001;
        while (high - low > 0x1p-51 * norm) {
            const double middle = (low + high) / 2;
            (count_above(d2, e2, middle) >= k ? low : high) = middle;
        }
        return (low + high) / 2;
    }
};

// low <= the k-th largest singular value of the bidiagonal matrix <= high
template <class T> struct Bracket {
    T low, high;
};

template <class T> Bracket<T> bracket(const Bidiagonal<T> &b, int k, double estimate) {
    double radius = 0x1p-50 * (8 + b.d2.size()) * to_double(b.norm);
    for (;; radius *= 64) {
        const double low = estimate - radius;
        Bracket<T> found{T(low > 0 ? low : 0.0), T(estimate + radius)};
        const bool holds_high = count_above(b.d2, b.e2, found.high) < k;
        const bool holds_low = low <= 0 || count_above(b.d2, b.e2, found.low) >= k;
        if (holds_high && holds_low)
            return found;
    }
}

template <class T> void refine(const Bidiagonal<T> &b, int k, const T &width, Bracket<T> &found) {
    while (width < found.high - found.low) {
        const T middle = (found.low + found.high) * T(0.5);
        // There may be no number between them.
        if (middle == found.low || middle == found.high)
            return;
        (count_above(b.d2, b.e2, middle) >= k ? found.low : found.high) = middle;
    }
}

// How many singular values of A are certainly > tol, and how many may be.
struct Counts {
    int least, most;
};

// b is the bidiagonal form of a matrix with rows x n entries, computed in T. Householder's
// transformations are backward stable: |dA|_F <= c rows n u |A|_F, with a small integer c (Higham,
// Accuracy and Stability of Numerical Algorithms, 2nd ed., theorem 19.4, for QR; three times n
// reflections here). 200 is generous for c, complex arithmetic included.
template <class T>
Counts count_ranks(const Bidiagonal<T> &b, std::int64_t rows, const T &atol, const T &rtol) {
    const T n = T(static_cast<double>(b.d2.size())), zero = T(0.0);
    const T error = T(200.0) * T(static_cast<double>(rows)) * n * Facts<T>::unit() * b.norm;
    const T relative = T(32.0) * (n + T(8.0)) * Facts<T>::unit();
    const T more = T(1.0) + relative, less = T(1.0) - relative;

    const auto count = [&](const Bracket<T> &s1) {
        T high = rtol * (s1.high * more + error), low = rtol * (s1.low * less - error);
        if (high < atol)
            high = atol;
        if (low < atol)
            low = atol;
        high = high * more + error;
        low = low * less - error;
        return Counts{count_above(b.d2, b.e2, high),
                      zero < low ? count_above(b.d2, b.e2, low) : static_cast<int>(b.d2.size())};
    };

    Bracket<T> s1{zero, zero};
    if (rtol == zero)
        return count(s1);
    s1 = bracket(b, 1, Estimator(b).value(1));
    Counts found = count(s1);
    if (found.least < found.most && error < s1.high - s1.low) {
        refine(b, 1, error * T(0.25), s1);
        found = count(s1);
    }
    return found;
}

// Exact ranks.

// Arithmetic modulo a prime p = 1 (mod 4), where -1 has a square root: Gaussian integers map into
// it, sums to sums and products to products. The rank modulo p is at most the rank, and less only
// if p divides all of the largest minors that are not zero.
class Field {
  public:
    explicit Field(std::uint64_t p) : p_(p), powers_(2047) {
        powers_[0] = 1;
        for (std::size_t i = 1; i < powers_.size(); ++i)
            powers_[i] = 2 * powers_[i - 1] % p_;
        for (std::uint64_t base = 2; multiply(root_, root_) != p_ - 1; ++base) {
            root_ = power(base, (p_ - 1) / 4);
        }
    }

    std::uint64_t multiply(std::uint64_t x, std::uint64_t y) const {
        return static_cast<std::uint64_t>(static_cast<Wide>(x) * y % p_);
    }

    // x 2^1074, an integer.
    std::uint64_t image(double x) const {
        if (x == 0)
            return 0;
        int exponent;
        const double fraction = std::frexp(std::fabs(x), &exponent);
        const int shift = exponent - 53 + 1074;
        // Subnormal numbers have fewer digits: the bits that are shifted out are zeros.
        auto mantissa = static_cast<std::uint64_t>(std::ldexp(fraction, 53));
        if (shift < 0)
            mantissa >>= -shift;
        const std::uint64_t found = multiply(mantissa % p_, powers_[shift < 0 ? 0 : shift]);
        return x < 0 ? (p_ - found) % p_ : found;
    }

    std::uint64_t image(double re, double im) const {
        return (image(re) + multiply(root_, image(im))) % p_;
    }

    // Elimination on `count` vectors of the same length, one after the other.
    int rank(std::vector<std::uint64_t> &a, std::int64_t count, std::int64_t length) const {
        int found = 0;
        for (std::int64_t row = 0; row < count; ++row) {
            std::uint64_t *pivot_row = &a[row * length];
            std::int64_t column = 0;
            while (column < length && pivot_row[column] == 0)
                ++column;
            if (column == length)
                continue;
            ++found;
            const std::uint64_t inverse = power(pivot_row[column], p_ - 2);
            for (std::int64_t other = row + 1; other < count; ++other) {
                std::uint64_t *x = &a[other * length];
                if (x[column] == 0)
                    continue;
                const std::uint64_t factor = p_ - multiply(x[column], inverse);
                for (std::int64_t j = 0; j < length; ++j) {
                    x[j] = static_cast<std::uint64_t>(
                        (static_cast<Wide>(factor) * pivot_row[j] + x[j]) % p_);
                }
            }
        }
        return found;
    }

  private:
    std::uint64_t power(std::uint64_t x, std::uint64_t exponent) const {
        std::uint64_t result = 1;
        for (; exponent; exponent /= 2, x = multiply(x, x)) {
            if (exponent % 2)
                result = multiply(result, x);
        }
        return result;
    }

    std::uint64_t p_, root_ = 0;
    std::vector<std::uint64_t> powers_;
};

// One matrix.

// Row-major, real or complex, in double.
struct Matrix {
    const double *entries;
    std::int64_t m, n;
    int parts; // 1 real, 2 complex

    std::int64_t longer() const { return m < n ? n : m; }
    std::int64_t shorter() const { return m < n ? m : n; }
    const double *entry(std::int64_t i, std::int64_t j) const { // i along the longer side
        return entries + parts * (m < n ? j * n + i : i * n + j);
    }
    double largest() const {
        double found = 0;
        for (std::int64_t i = 0; i < m * n * parts; ++i) {
            const double size = std::fabs(entries[i]);
            if (!(size <= DBL_MAX))
                return size;
            if (size > found)
                found = size;
        }
        return found;
    }
};

template <class T> void put(T &to, const double *from, const Quad &scale) {
    to = T(Quad(from[0]) * scale);
}
template <class T> void put(Complex<T> &to, const double *from, const Quad &scale) {
    to = {T(Quad(from[0]) * scale), T(Quad(from[1]) * scale)};
}

template <class S> Bidiagonal<typename RealOf<S>::Type> reduce(const Matrix &a, int exponent) {
    const Quad scale = power_of_two(-exponent);
    std::vector<S> columns(a.longer() * a.shorter());
    S *to = columns.data();
    for (std::int64_t j = 0; j < a.shorter(); ++j) {
        for (std::int64_t i = 0; i < a.longer(); ++i)
            put(*to++, a.entry(i, j), scale);
    }
    return bidiagonalise(columns, a.longer(), a.shorter());
}

template <class T> Bidiagonal<T> bidiagonal(const Matrix &a, int exponent) {
    return a.parts == 1 ? reduce<T>(a, exponent) : reduce<Complex<T>>(a, exponent);
}

int exact_rank(const Matrix &a) {
    // The two largest primes below 2^62 that are 1 modulo 4.
    static const Field fields[] = {Field((1ull << 62) - 87), Field((1ull << 62) - 143)};
    int found = 0;
    std::vector<std::uint64_t> images(a.m * a.n);
    for (const Field &field : fields) {
        std::uint64_t *to = images.data();
        for (std::int64_t j = 0; j < a.shorter(); ++j) {
            for (std::int64_t i = 0; i < a.longer(); ++i) {
                const double *x = a.entry(i, j);
                *to++ = a.parts == 1 ? field.image(x[0]) : field.image(x[0], x[1]);
            }
        }
        const int rank = field.rank(images, a.shorter(), a.longer());
        if (rank > found)
            found = rank;
    }
    return found;
}

// As in truth.py.
enum class Kind : std::int8_t { not_finite = -1, binary128, exact, pairs, undecided };

Kind find_rank(const Matrix &a, double atol, double rtol, std::int64_t &rank) {
    const double largest = a.largest();
    rank = -1;
    if (!(largest <= DBL_MAX))
        return Kind::not_finite;
    rank = 0;
    if (largest == 0 || rtol >= 1 || atol > DBL_MAX)
        return Kind::binary128;
    int exponent;
    std::frexp(largest, &exponent);
    const Quad scaled_atol = Quad(atol) * power_of_two(-exponent);

    Counts found = count_ranks(bidiagonal<Quad>(a, exponent), a.longer(), scaled_atol, Quad(rtol));
    rank = found.least;
    if (found.least == found.most)
        return Kind::binary128;
    // If as many values are not zero as are certainly above tol, all others are zero.
    const int exact = exact_rank(a);
    const bool is_zero = atol == 0 && rtol == 0;
    rank = is_zero ? exact : found.least;
    if (is_zero || exact == found.least)
        return Kind::exact;
    found =
        count_ranks(bidiagonal<Pair>(a, exponent), a.longer(), Pair(scaled_atol), Pair(Quad(rtol)));
    rank = found.least;
    if (found.least == found.most)
        return Kind::pairs;
    return exact == found.least ? Kind::exact : Kind::undecided;
}

template <class T> void find_values(const Matrix &matrix, double *high, double *low) {
    const double largest = matrix.largest();
    if (largest == 0 || !(largest <= DBL_MAX)) {
        for (int k = 0; k < matrix.shorter(); ++k)
            *high++ = *low++ = largest - largest;
        return;
    }
    int exponent;
    std::frexp(largest, &exponent);
    const Bidiagonal<T> b = bidiagonal<T>(matrix, exponent);
    const Estimator estimator(b);
    for (int k = 1; k <= matrix.shorter(); ++k) {
        Bracket<T> found = bracket(b, k, estimator.value(k));
        refine(b, k, Facts<T>::unit() * b.norm, found);
        const T middle = (found.low + found.high) / 2;
        const double leading = to_double(middle);
        *high++ = std::ldexp(leading, exponent);
        *low++ = std::ldexp(to_double(middle - leading), exponent);
    }
}

} // namespace

extern "C" {

// For a stack of `count` matrices and as many tolerances: ranks, and how each was decided. An
// undecided rank does not count the singular values that are equal to tol in 60 digits.
void truth_ranks(std::int64_t count, std::int64_t m, std::int64_t n, int parts, const double *a,
                 const double *atol, const double *rtol, std::int64_t *rank, std::int8_t *kind) {
    for (std::int64_t i = 0; i < count; ++i) {
        const Matrix matrix{a + i * m * n * parts, m, n, parts};
        kind[i] = static_cast<std::int8_t>(find_rank(matrix, atol[i], rtol[i], rank[i]));
    }
}

// All singular values of each matrix, descending, as high + low: in binary128, or if fast, in
// Extended.
void truth_values(std::int64_t count, std::int64_t m, std::int64_t n, int parts, const double *a,
                  double *high, double *low, int fast) {
    for (std::int64_t i = 0; i < count; ++i) {
        const Matrix matrix{a + i * m * n * parts, m, n, parts};
        (fast ? find_values<Extended> : find_values<Quad>)(matrix, high, low);
        high += matrix.shorter();
        low += matrix.shorter();
    }
}

} // extern "C"
