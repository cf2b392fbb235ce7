// Unit tests without a framework. A test is a function whose name is a sentence. A check(a <= b)
// that fails reports its place and both values, and the test goes on; a condition with && or ||
// needs a second pair of parentheses. A test that checks nothing fails.
#pragma once

#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace units {

struct Test {
    const char *name;
    void (*run)();
};

inline std::vector<Test> &all_tests() {
    static std::vector<Test> tests;
    return tests;
}

struct Registered {
    Registered(const char *name, void (*run)()) { all_tests().push_back({name, run}); }
};

#define UNIT_TEST(sentence)                                                                        \
    static void sentence();                                                                        \
    static const units::Registered registered_##sentence(#sentence, sentence);                     \
    static void sentence()

inline long checks = 0, failures = 0; // of the test that runs

// Descriptions of what is being tested, outermost first; called only if a check fails.
inline std::vector<std::function<std::string()>> &surroundings() {
    static std::vector<std::function<std::string()>> stack;
    return stack;
}

struct Within {
    template <class Describe> explicit Within(Describe &&describe) {
        surroundings().emplace_back(std::forward<Describe>(describe));
    }
    Within(const Within &) = delete;
    ~Within() { surroundings().pop_back(); }
};

template <class... Parts> std::string text(const Parts &...parts) {
    std::ostringstream out;
    out.precision(17);
    (out << ... << parts);
    return out.str();
}

// Check.

struct Verdict {
    bool holds;
    std::string values; // empty if it holds
};

template <class X> std::string value_text(const X &x) {
    if constexpr (std::is_enum_v<X>)
        return text(static_cast<int>(x));
    else
        return text(x);
}
#if defined(__SIZEOF_FLOAT128__)
inline std::string value_text(const __float128 &x) { return text(static_cast<long double>(x)); }
#endif

// The left side of a comparison, waiting for the right one.
template <class L> struct LeftSide {
    const L &left;

    template <class R> Verdict judge(bool holds, const char *sign, const R &right) const {
        if (holds)
            return {true, {}};
        return {false, value_text(left) + " " + sign + " " + value_text(right)};
    }
    template <class R> Verdict operator==(const R &r) const { return judge(left == r, "==", r); }
    template <class R> Verdict operator!=(const R &r) const { return judge(left != r, "!=", r); }
    template <class R> Verdict operator<(const R &r) const { return judge(left < r, "<", r); }
    template <class R> Verdict operator<=(const R &r) const { return judge(left <= r, "<=", r); }
    template <class R> Verdict operator>(const R &r) const { return judge(left > r, ">", r); }
    template <class R> Verdict operator>=(const R &r) const { return judge(left >= r, ">=", r); }
    operator Verdict() const { return {static_cast<bool>(left), {}}; }
};

struct Splitter {
    template <class L> LeftSide<L> operator<<(const L &left) const { return {left}; }
};

inline bool judged(const Verdict &verdict, const char *condition, const char *file, int line) {
    constexpr long shown = 5;
    ++checks;
    if (verdict.holds)
        return true;
    if (++failures <= shown) {
        std::cout << file << ":" << line << ": " << condition;
        if (!verdict.values.empty())
            std::cout << ", which is " << verdict.values;
        for (const auto &describe : surroundings())
            std::cout << "\n    " << describe();
        std::cout << std::endl;
    }
    return false;
}

#define check(...) units::judged(units::Splitter{} << __VA_ARGS__, #__VA_ARGS__, __FILE__, __LINE__)

// All of them.

// Runs the tests whose names contain `wanted`; 0 if there are some and all pass.
inline int run_tests(const char *wanted = "") {
    int failed = 0, found = 0;
    for (const Test &test : all_tests()) {
        if (!std::strstr(test.name, wanted))
            continue;
        ++found;
        checks = failures = 0;
        test.run();
        if (checks == 0)
            std::cout << "nothing was checked\n";
        const bool passed = checks > 0 && failures == 0;
        failed += !passed;
        std::printf("%s %s (%ld checks, %ld failed)\n", passed ? "pass" : "FAIL", test.name, checks,
                    failures);
        std::fflush(stdout);
    }
    if (!found)
        std::cout << "no test has that in its name\n";
    return failed || !found ? 1 : 0;
}

} // namespace units
