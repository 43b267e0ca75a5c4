// RocksChunkStore keeps chunks in a RocksDB of sorted files that are handed to it whole: no
// memtable, no log, no compaction. Files do not overlap, so a chunk is found with one look into one
// file, and a file that is done with is deleted as it is.
//
// Nothing is synced. Chunks of a queue that were written together are read one behind the other,
// and the kernel reads ahead of them into its page cache, which is not this process's memory.
//
// The directory is made with the first file, or by Open; what an earlier process left in it is
// removed (the records are in Kafka). One process uses it at a time. Whatever is made of its path,
// and the directory in it that holds the records, is its owner's only (0700): they are payloads.
#ifndef LOCKSTEP_REORDER_PARKING_ROCKS_CHUNK_STORE_H_
#define LOCKSTEP_REORDER_PARKING_ROCKS_CHUNK_STORE_H_

#include <memory>
#include <string>

#include "common/io/file_system.h"
#include "reorder/parking/chunk_store.h"

namespace lockstep {

// Whether files at the path are kept in memory (tmpfs, ramfs).
bool LiesInMemory(const std::string& path);

class RocksChunkStore final : public ChunkStore {
 public:
  // How files are compressed; what each costs is measured by `reorder/spill_compression/…`.
  enum class Compression { kNone, kLz4, kZstd };

  explicit RocksChunkStore(std::string directory, Compression compression = Compression::kLz4);
  ~RocksChunkStore() override;  // Removes what it made.

  // INTERNAL: another process uses the directory, or the disk; it is named, with a remedy. A
  // directory that lies in memory is warned of: what is spilled there saves nothing.
  absl::Status Open();

  absl::Status Write(uint64_t file, const std::vector<Chunk>& chunks) override;
  absl::Status Read(uint64_t file, size_t queue, Seq first_seq, std::byte* to,
                    size_t size) override;
  void Drop(uint64_t file) override;
  int64_t bytes() const override;

 private:
  class Db;
  std::string DbDirectory() const { return directory_ + "/records"; }

  const std::string directory_;
  const Compression compression_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<Db> db_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PARKING_ROCKS_CHUNK_STORE_H_
