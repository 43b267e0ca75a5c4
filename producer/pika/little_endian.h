// Numbers as Pika writes them: little-endian, not aligned.
#ifndef LOCKSTEP_PRODUCER_PIKA_LITTLE_ENDIAN_H_
#define LOCKSTEP_PRODUCER_PIKA_LITTLE_ENDIAN_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace lockstep::pika {

// REQUIRES: at + sizeof(Int) ≤ bytes.size()
template <class Int>
Int ReadLittleEndian(std::string_view bytes, size_t at) {
  Int value = 0;
  for (size_t i = sizeof(Int); i-- > 0;) {
    value = static_cast<Int>(value << 8 | static_cast<unsigned char>(bytes[at + i]));
  }
  return value;
}

template <class Int>
void AppendLittleEndian(Int value, std::string& out) {
  for (size_t i = 0; i < sizeof(Int); ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_LITTLE_ENDIAN_H_
