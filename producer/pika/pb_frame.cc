#include "producer/pika/pb_frame.h"

#include "absl/strings/str_cat.h"

#include "common/base/check.h"

namespace lockstep::pika {

absl::StatusOr<std::optional<std::string_view>> PbFrameReader::Next() {
  const std::string_view rest = queue_.bytes();
  if (rest.size() < kPbFrameHeaderBytes) return std::nullopt;
  size_t length = 0;
  for (size_t i = 0; i < kPbFrameHeaderBytes; ++i) {
    length = length << 8 | static_cast<unsigned char>(rest[i]);
  }
  if (length == 0 || length >= frame_bytes_max_) {
    return absl::DataLossError(absl::StrCat("frame ", frames_ + 1, " at byte ", queue_.at(),
                                            ": length ", length, " is not between 1 and ",
                                            frame_bytes_max_ - 1));
  }
  if (rest.size() - kPbFrameHeaderBytes < length) return std::nullopt;
  ++frames_;
  frame_byte_ = queue_.at();
  queue_.Drop(kPbFrameHeaderBytes + length);
  return rest.substr(kPbFrameHeaderBytes, length);
}

void AppendPbFrame(std::string_view message, std::string& out) {
  LOCKSTEP_CHECK(!message.empty() && message.size() < kPbFrameBytesMax,
                 "a peer takes an empty frame for a close and drops one above the limit");
  const auto length = static_cast<uint32_t>(message.size());
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(length >> shift));
  out.append(message);
}

}  // namespace lockstep::pika
