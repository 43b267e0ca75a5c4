// MemoryChunkStore: the disk of an experiment without a disk.
#ifndef LOCKSTEP_SIM_MEMORY_CHUNK_STORE_H_
#define LOCKSTEP_SIM_MEMORY_CHUNK_STORE_H_

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "common/base/check.h"
#include "reorder/parking/chunk_store.h"

namespace lockstep::sim {

// Not thread-safe.
class MemoryChunkStore final : public ChunkStore {
 public:
  absl::Status Write(uint64_t file, const std::vector<Chunk>& chunks) override {
    auto& written = files_[file];
    for (const Chunk& chunk : chunks) {
      written.emplace(std::pair(chunk.queue, chunk.first_seq), chunk.bytes);
      bytes_ += static_cast<int64_t>(chunk.bytes.size());
    }
    return absl::OkStatus();
  }
  absl::Status Read(uint64_t file, size_t queue, Seq first_seq, std::byte* to,
                    size_t size) override {
    const std::string& bytes = files_.at(file).at({queue, first_seq});
    LOCKSTEP_CHECK(bytes.size() == size, "a chunk is read as it was written");
    std::memcpy(to, bytes.data(), size);
    return absl::OkStatus();
  }
  void Drop(uint64_t file) override {
    for (const auto& [key, bytes] : files_.at(file)) bytes_ -= static_cast<int64_t>(bytes.size());
    files_.erase(file);
  }
  int64_t bytes() const override { return bytes_; }

 private:
  std::map<uint64_t, std::map<std::pair<size_t, Seq>, std::string>> files_;
  int64_t bytes_ = 0;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_MEMORY_CHUNK_STORE_H_
