#include "reorder/parking/rocks_chunk_store.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

constexpr int kOpenFilesMax = 128;

// Nothing here outlives the process, so nothing is synced: a write costs the page cache, the disk
// follows when it can, and a file that was read and dropped soon never gets there.
class UnsyncedFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  using FSWritableFileOwnerWrapper::FSWritableFileOwnerWrapper;
  rocksdb::IOStatus Sync(const rocksdb::IOOptions& /*options*/,
                         rocksdb::IODebugContext* /*context*/) override {
    return rocksdb::IOStatus::OK();
  }
  rocksdb::IOStatus Fsync(const rocksdb::IOOptions& /*options*/,
                          rocksdb::IODebugContext* /*context*/) override {
    return rocksdb::IOStatus::OK();
  }
};

class UnsyncedDirectory final : public rocksdb::FSDirectory {
 public:
  rocksdb::IOStatus Fsync(const rocksdb::IOOptions& /*options*/,
                          rocksdb::IODebugContext* /*context*/) override {
    return rocksdb::IOStatus::OK();
  }
};

class UnsyncedFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  using FileSystemWrapper::FileSystemWrapper;
  const char* Name() const override { return "UnsyncedFileSystem"; }
  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* context) override {
    return Unsynced(FileSystemWrapper::NewWritableFile(name, options, file, context), *file);
  }
  rocksdb::IOStatus ReopenWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* file,
                                       rocksdb::IODebugContext* context) override {
    return Unsynced(FileSystemWrapper::ReopenWritableFile(name, options, file, context), *file);
  }
  rocksdb::IOStatus NewDirectory(const std::string& /*name*/, const rocksdb::IOOptions& /*options*/,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* /*context*/) override {
    *directory = std::make_unique<UnsyncedDirectory>();
    return rocksdb::IOStatus::OK();
  }

 private:
  static rocksdb::IOStatus Unsynced(rocksdb::IOStatus opened,
                                    std::unique_ptr<rocksdb::FSWritableFile>& file) {
    if (opened.ok()) file = std::make_unique<UnsyncedFile>(std::move(file));
    return opened;
  }
};

// Of the process, as RocksDB's own is.
rocksdb::Env* UnsyncedEnv() {
  static const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(
      std::make_shared<UnsyncedFileSystem>(rocksdb::FileSystem::Default()));
  return env.get();
}

// Big-endian: RocksDB orders bytes.
void AppendNumber(uint64_t number, std::string& to) {
  for (int shift = 56; shift >= 0; shift -= 8) to.push_back(static_cast<char>(number >> shift));
}

std::string ChunkKey(uint64_t file, size_t queue, Seq first_seq) {
  std::string key;
  AppendNumber(file, key);
  AppendNumber(queue, key);
  AppendNumber(static_cast<uint64_t>(first_seq.value()), key);
  return key;
}

rocksdb::CompressionType TypeOf(RocksChunkStore::Compression compression) {
  switch (compression) {
    case RocksChunkStore::Compression::kNone:
      return rocksdb::kNoCompression;
    case RocksChunkStore::Compression::kLz4:
      break;
    case RocksChunkStore::Compression::kZstd:
      return rocksdb::kZSTD;
  }
  return rocksdb::kLZ4Compression;
}

rocksdb::Options StoreOptions(RocksChunkStore::Compression compression) {
  rocksdb::Options options;
  options.env = UnsyncedEnv();
  options.create_if_missing = true;
  // Chunks of a queue lie side by side and are read in that order: the kernel reads ahead, into its
  // own memory, while the stream uses what it has.
  options.advise_random_on_open = false;
  options.disable_auto_compactions = true;
  options.max_open_files = kOpenFilesMax;
  options.compression = TypeOf(compression);
  options.info_log_level = rocksdb::ERROR_LEVEL;
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;  // Nothing is read twice.
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

absl::Status Told(const std::string& directory, const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = absl::StrCat(directory, ": ", status.ToString());
  if (status.IsNoSpace() || absl::StrContains(text, "No space left")) {
    return absl::ResourceExhaustedError(absl::StrCat(
        text, "; nothing is lost: make room, or name another --spill-dir, and start again"));
  }
  return absl::InternalError(
      absl::StrCat(text, "; nothing is lost: the records are in Kafka, start again"));
}

// Whatever it is (no directory, no right, a full disk), the answer is another one; nothing is
// unsafe.
absl::Status CannotUse(const std::string& attempt, const std::error_code& error) {
  return absl::InternalError(absl::StrCat("cannot ", attempt, ": ", error.message(),
                                          "; nothing is lost: name another --spill-dir"));
}

// Makes what is missing of the path, its owner's only from the first moment: it will hold payloads.
// What is there stays as it is.
std::error_code MakePrivate(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return {};
  const std::filesystem::path parent = path.parent_path();
  if (!parent.empty() && parent != path) {
    if (const std::error_code above = MakePrivate(parent)) return above;
  }
  if (mkdir(path.c_str(), S_IRWXU) == 0) return {};
  const std::error_code failed(errno, std::generic_category());
  // Another stream's thread may have made the same parent meanwhile.
  if (std::filesystem::is_directory(path, error)) return {};
  return failed == std::errc::file_exists ? std::make_error_code(std::errc::not_a_directory)
                                          : failed;
}

absl::Status CannotLock(const absl::Status& why) {
  const char* const remedy = absl::IsFailedPrecondition(why)
                                 ? "give each process a --spill-dir of its own"
                                 : "name another --spill-dir";
  return absl::InternalError(
      absl::StrCat(std::string(why.message()), "; nothing is lost: ", remedy));
}

}  // namespace

bool LiesInMemory(const std::string& path) {
  struct statfs system = {};
  if (statfs(path.c_str(), &system) != 0) return false;
  return system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC;
}

class RocksChunkStore::Db {
 public:
  Db(std::string directory, std::unique_ptr<rocksdb::DB> db)
      : directory_(std::move(directory)), db_(std::move(db)) {}

  absl::Status Write(uint64_t file, const std::vector<Chunk>& chunks) {
    const std::string path = absl::StrCat(directory_, "/next");
    rocksdb::Status status = WriteFile(path, file, chunks);
    if (status.ok()) {
      rocksdb::IngestExternalFileOptions ingest;
      ingest.move_files = true;
      ingest.snapshot_consistency = false;
      ingest.allow_blocking_flush = false;
      ingest.write_global_seqno = false;
      status = db_->IngestExternalFile({path}, ingest);
    }
    if (!status.ok()) {
      std::error_code ignored;  // The error that counts is told.
      std::filesystem::remove(path, ignored);
    }
    return Told(directory_, status);
  }

  absl::Status Read(const std::string& key, std::byte* to, size_t size) {
    rocksdb::ReadOptions read;
    read.verify_checksums = true;
    rocksdb::PinnableSlice value;
    LOCKSTEP_RETURN_IF_ERROR(
        Told(directory_, db_->Get(read, db_->DefaultColumnFamily(), key, &value)));
    if (value.size() != size) {
      return absl::InternalError(
          absl::StrCat(directory_, ": a chunk of ", size, " bytes has ", value.size()));
    }
    std::memcpy(to, value.data(), size);
    return absl::OkStatus();
  }

  void Drop(uint64_t file) {
    const std::string from = ChunkKey(file, 0, Seq(0));
    const std::string to = ChunkKey(file + 1, 0, Seq(0));
    const rocksdb::Slice begin(from);
    const rocksdb::Slice end(to);
    // A file that stays takes room until the end, and harms nothing else.
    rocksdb::DeleteFilesInRange(db_.get(), db_->DefaultColumnFamily(), &begin, &end, false)
        .PermitUncheckedError();
  }

  int64_t bytes() const {
    uint64_t bytes = 0;
    db_->GetIntProperty(rocksdb::DB::Properties::kTotalSstFilesSize, &bytes);
    return static_cast<int64_t>(bytes);
  }

 private:
  rocksdb::Status WriteFile(const std::string& path, uint64_t file,
                            const std::vector<Chunk>& chunks) {
    rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), db_->GetOptions());
    rocksdb::Status status = writer.Open(path);
    for (size_t i = 0; i < chunks.size() && status.ok(); ++i) {
      const Chunk& chunk = chunks[i];
      status = writer.Put(ChunkKey(file, chunk.queue, chunk.first_seq),
                          rocksdb::Slice(chunk.bytes.data(), chunk.bytes.size()));
    }
    return status.ok() ? writer.Finish() : status;
  }

  const std::string directory_;
  const std::unique_ptr<rocksdb::DB> db_;
};

RocksChunkStore::RocksChunkStore(std::string directory, Compression compression)
    : directory_(std::move(directory)), compression_(compression) {}

RocksChunkStore::~RocksChunkStore() {
  if (db_ == nullptr) return;
  db_.reset();
  std::error_code ignored;  // What stays is removed by the next process.
  std::filesystem::remove_all(DbDirectory(), ignored);
}

absl::Status RocksChunkStore::Open() {
  if (db_ != nullptr) return absl::OkStatus();
  std::error_code error = MakePrivate(directory_);
  if (error) return CannotUse("make " + directory_, error);
  if (lock_ == nullptr) {
    absl::StatusOr<std::unique_ptr<FileLock>> lock = RealFileSystem().Lock(directory_ + "/lock");
    if (!lock.ok()) return CannotLock(lock.status());
    lock_ = *std::move(lock);
    if (LiesInMemory(directory_)) {
      Log(LogLevel::kWarn, "spill_lies_in_memory",
          {{"directory", directory_}, {"remedy", "name a --spill-dir on a disk"}});
    }
  }
  std::filesystem::remove_all(DbDirectory(), error);
  if (error) return CannotUse("remove " + DbDirectory(), error);
  error = MakePrivate(DbDirectory());  // RocksDB would let everybody read it.
  if (error) return CannotUse("make " + DbDirectory(), error);
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(StoreOptions(compression_), DbDirectory(), &db);
  if (!status.ok()) return Told(DbDirectory(), status);
  db_ = std::make_unique<Db>(DbDirectory(), std::unique_ptr<rocksdb::DB>(db));
  return absl::OkStatus();
}

absl::Status RocksChunkStore::Write(uint64_t file, const std::vector<Chunk>& chunks) {
  LOCKSTEP_RETURN_IF_ERROR(Open());
  return db_->Write(file, chunks);
}

absl::Status RocksChunkStore::Read(uint64_t file, size_t queue, Seq first_seq, std::byte* to,
                                   size_t size) {
  LOCKSTEP_CHECK(db_ != nullptr, "only what was written is read");
  return db_->Read(ChunkKey(file, queue, first_seq), to, size);
}

void RocksChunkStore::Drop(uint64_t file) { db_->Drop(file); }

int64_t RocksChunkStore::bytes() const { return db_ == nullptr ? 0 : db_->bytes(); }

}  // namespace lockstep
