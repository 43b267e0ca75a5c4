// TestChunkStore is a ChunkStore in memory that can be told to fail, for tests.
#ifndef LOCKSTEP_REORDER_PARKING_TEST_CHUNK_STORE_H_
#define LOCKSTEP_REORDER_PARKING_TEST_CHUNK_STORE_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "reorder/parking/chunk_store.h"

namespace lockstep {

class TestChunkStore final : public ChunkStore {
 public:
  absl::Status Write(uint64_t file, const std::vector<Chunk>& chunks) override {
    if (Fails()) return absl::ResourceExhaustedError("the disk is full");
    if (files_.contains(file)) return absl::InternalError("a file is written twice");
    std::map<std::pair<size_t, Seq>, std::string>& written = files_[file];
    std::pair<size_t, Seq> last{0, Seq(-1)};
    const int64_t before = bytes_;
    for (const Chunk& chunk : chunks) {
      const std::pair<size_t, Seq> key{chunk.queue, chunk.first_seq};
      if (key <= last) return absl::InternalError("chunks do not ascend");
      last = key;
      written[key] = std::string(chunk.bytes);
      bytes_ += static_cast<int64_t>(chunk.bytes.size());
    }
    largest_write_bytes_ = std::max(largest_write_bytes_, bytes_ - before);
    return absl::OkStatus();
  }
  absl::Status Read(uint64_t file, size_t queue, Seq first_seq, std::byte* to,
                    size_t size) override {
    if (Fails()) return absl::UnknownError("the disk does not answer");
    const std::string& bytes = files_.at(file).at({queue, first_seq});
    if (bytes.size() != size) return absl::InternalError("another size");
    std::memcpy(to, bytes.data(), size);
    return absl::OkStatus();
  }
  void Drop(uint64_t file) override {
    for (const auto& [key, bytes] : files_.at(file)) bytes_ -= static_cast<int64_t>(bytes.size());
    files_.erase(file);
  }
  int64_t bytes() const override { return bytes_; }

  size_t files() const { return files_.size(); }
  int64_t largest_write_bytes() const { return largest_write_bytes_; }
  // One call in `n` fails; 0: none.
  void FailOneIn(uint32_t n) { fail_one_in_ = n; }

 private:
  bool Fails() { return fail_one_in_ > 0 && random_() % fail_one_in_ == 0; }

  std::map<uint64_t, std::map<std::pair<size_t, Seq>, std::string>> files_;
  int64_t bytes_ = 0;
  int64_t largest_write_bytes_ = 0;
  uint32_t fail_one_in_ = 0;
  std::mt19937 random_{7};
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PARKING_TEST_CHUNK_STORE_H_
