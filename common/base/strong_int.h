// StrongInt gives each kind of number a type that meets only its own kind.
//
// Offset, seq, term and epoch are all 64-bit integers; mixing two would compile, run and lose data.
// There is no implicit way in or out: construct explicitly, read with value().
#ifndef LOCKSTEP_COMMON_BASE_STRONG_INT_H_
#define LOCKSTEP_COMMON_BASE_STRONG_INT_H_

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>

namespace lockstep {

template <class Tag, class Int = int64_t>
class StrongInt {
 public:
  using ValueType = Int;

  constexpr StrongInt() = default;
  constexpr explicit StrongInt(Int value) : value_(value) {}

  constexpr Int value() const { return value_; }

  constexpr auto operator<=>(const StrongInt&) const = default;

  constexpr StrongInt& operator++() {
    ++value_;
    return *this;
  }

  // Stepping by a plain count stays within the kind; the distance of two is a plain count.
  friend constexpr StrongInt operator+(StrongInt a, Int count) {
    return StrongInt(a.value_ + count);
  }
  friend constexpr StrongInt operator-(StrongInt a, Int count) {
    return StrongInt(a.value_ - count);
  }
  friend constexpr Int operator-(StrongInt a, StrongInt b) { return a.value_ - b.value_; }

  friend std::ostream& operator<<(std::ostream& out, StrongInt a) { return out << a.value_; }

  template <class H>
  friend H AbslHashValue(H h, StrongInt a) {
    return H::combine(std::move(h), a.value_);
  }

 private:
  Int value_ = 0;
};

template <class Tag, class Int>
std::string ToString(StrongInt<Tag, Int> a) {
  return std::to_string(a.value());
}

}  // namespace lockstep

template <class Tag, class Int>
struct std::hash<lockstep::StrongInt<Tag, Int>> {
  size_t operator()(lockstep::StrongInt<Tag, Int> a) const noexcept {
    return std::hash<Int>{}(a.value());
  }
};

#endif  // LOCKSTEP_COMMON_BASE_STRONG_INT_H_
