// ChunkStore keeps chunks of parked records outside memory: files that are written once, whole and
// sorted, read chunk by chunk, and dropped whole. Nothing in it need survive the process: Kafka is
// the log of record.
//
// Not thread-safe.
#ifndef LOCKSTEP_REORDER_PARKING_CHUNK_STORE_H_
#define LOCKSTEP_REORDER_PARKING_CHUNK_STORE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "common/model/ids.h"

namespace lockstep {

class ChunkStore {
 public:
  struct Chunk {
    size_t queue = 0;
    Seq first_seq;
    std::string_view bytes;
  };

  virtual ~ChunkStore() = default;

  // Writes a file. REQUIRES: `file` above every one before; chunks ascend by (queue, first_seq).
  // An error leaves nothing behind (RESOURCE_EXHAUSTED: the disk is full).
  virtual absl::Status Write(uint64_t file, const std::vector<Chunk>& chunks) = 0;

  // Reads a chunk of `size` bytes into `to`. INTERNAL: it is not there, or not as it was written.
  virtual absl::Status Read(uint64_t file, size_t queue, Seq first_seq, std::byte* to,
                            size_t size) = 0;

  // No chunk of the file will be read again.
  virtual void Drop(uint64_t file) = 0;

  // What its files take now.
  virtual int64_t bytes() const = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PARKING_CHUNK_STORE_H_
