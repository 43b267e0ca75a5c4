// ByteQueue holds what a connection has delivered and nobody has taken yet.
//
// Not thread-safe. Amortised O(bytes).
#ifndef LOCKSTEP_PRODUCER_PIKA_BYTE_QUEUE_H_
#define LOCKSTEP_PRODUCER_PIKA_BYTE_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"

namespace lockstep::pika {

class ByteQueue {
 public:
  void Append(std::string_view bytes) {
    // What was taken is dropped before the buffer grows, so a byte is moved at most once an append.
    buffer_.erase(0, begin_);
    begin_ = 0;
    buffer_.append(bytes);
  }

  // Views of it live until the next Append.
  std::string_view bytes() const { return std::string_view(buffer_).substr(begin_); }
  void Drop(size_t count) {
    LOCKSTEP_CHECK(count <= buffer_.size() - begin_, "what is dropped was there");
    begin_ += count;
    dropped_ += static_cast<int64_t>(count);
  }

  // Where bytes() begins on the connection.
  int64_t at() const { return dropped_; }

 private:
  std::string buffer_;
  size_t begin_ = 0;  // Of what is not taken yet.
  int64_t dropped_ = 0;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_BYTE_QUEUE_H_
