// PbFrameReader cuts a Pika connection's bytes into messages.
//
// A frame is a 4-byte big-endian length and as many bytes of protobuf, the same in both directions,
// on the replication port and on the snapshot port. docs/formats/pika-replication.md.
//
// Total: no bytes break it. Not thread-safe. Amortised O(bytes).
#ifndef LOCKSTEP_PRODUCER_PIKA_PB_FRAME_H_
#define LOCKSTEP_PRODUCER_PIKA_PB_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "producer/pika/byte_queue.h"

namespace lockstep::pika {

inline constexpr size_t kPbFrameHeaderBytes = 4;
// Pika itself accepts less than this.
inline constexpr size_t kPbFrameBytesMax = size_t{512} << 20;

class PbFrameReader {
 public:
  explicit PbFrameReader(size_t frame_bytes_max = kPbFrameBytesMax)
      : frame_bytes_max_(frame_bytes_max) {}

  void Append(std::string_view bytes) { queue_.Append(bytes); }

  // The next message's bytes; they live until the next Append. nullopt: more bytes are needed.
  // DATA_LOSS: a length of 0 or above the limit; it names the frame and its byte on the connection.
  // Nothing can be read behind that.
  absl::StatusOr<std::optional<std::string_view>> Next();

  size_t buffered_bytes() const { return queue_.bytes().size(); }
  int64_t frames() const { return frames_; }          // Given out so far.
  int64_t frame_byte() const { return frame_byte_; }  // Where the last one began.

 private:
  const size_t frame_bytes_max_;
  ByteQueue queue_;
  int64_t frames_ = 0;
  int64_t frame_byte_ = 0;
};

// REQUIRES: 0 < message.size() < kPbFrameBytesMax
void AppendPbFrame(std::string_view message, std::string& out);

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_PB_FRAME_H_
