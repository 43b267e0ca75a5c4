// DumpReader walks the live keys of one database's dump, as a full copy delivers it or as the
// master's bgsave wrote it. It opens the files read-only and changes nothing.
//
// The order and the batches are a function of the files and `now_ms` alone: read again, they are
// the same. Memory follows a batch and RocksDB's blocks, not the largest collection.
//
// Not thread-safe.
#ifndef LOCKSTEP_PRODUCER_PIKA_DUMP_READER_H_
#define LOCKSTEP_PRODUCER_PIKA_DUMP_READER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "producer/pika/binlog_item.h"
#include "producer/pika/dump_batch.h"
#include "producer/pika/dump_format.h"

namespace lockstep::pika {

// A dump's `info` file: the position up to which it has everything.
// INVALID_ARGUMENT names the line.
absl::StatusOr<BinlogPosition> ParseDumpInfo(std::string_view text);

class DumpReader {
 public:
  static constexpr size_t kBatchElementsMax = 512;
  static constexpr size_t kBatchBytesMax = size_t{1} << 20;  // Of elements, but one always fits.

  // `directory` holds `strings/`, `hashes/`, … or `0/`, `1/`, …. Keys that are stale at now_ms are
  // left out. NOT_FOUND: neither; DATA_LOSS names the file or directory that is broken.
  static absl::StatusOr<std::unique_ptr<DumpReader>> Open(const std::string& directory,
                                                          int64_t now_ms);
  ~DumpReader();

  // The next batch. False: the dump's end. DATA_LOSS: the files are broken.
  absl::StatusOr<bool> Next(DumpBatch& batch);

  // RocksDB's estimate of all keys, with stale ones; 0: not known.
  int64_t EstimateKeys() const;

  int64_t keys() const { return keys_; }                // Begun so far.
  int64_t bad_records() const { return bad_records_; }  // Left out: they make no sense.

 private:
  class Store;
  struct Unit {
    std::string directory;
    DataType type = DataType::kUnknown;
  };

  DumpReader(DumpFamily family, std::vector<Unit> units, int64_t now_ms);
  // Steps to the next live key; false at the end.
  absl::StatusOr<bool> NextKey();
  absl::Status FillBatch(DumpBatch& batch);

  const DumpFamily family_;
  const std::vector<Unit> units_;
  const int64_t now_ms_;
  size_t next_unit_ = 0;
  std::unique_ptr<Store> store_;
  std::optional<DumpKey> key_;  // Under way.
  bool key_begun_ = false;
  uint64_t elements_left_ = 0;
  uint64_t next_index_ = 0;
  int64_t keys_ = 0;
  int64_t bad_records_ = 0;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_DUMP_READER_H_
