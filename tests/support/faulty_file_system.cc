#include "tests/support/faulty_file_system.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {
namespace {

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace

class FaultyFileSystem::HeldLock : public FileLock {
 public:
  HeldLock(FaultyFileSystem& fs, std::string path) : fs_(fs), path_(std::move(path)) {}
  ~HeldLock() override { fs_.locks_.erase(path_); }

 private:
  FaultyFileSystem& fs_;  // Must outlive the lock.
  const std::string path_;
};

// What a disk may have kept of a file beyond what was synced: some of what was appended, all of a
// cut, any prefix of new contents. Never less than was synced of a file that only grew.
std::string FaultyFileSystem::SomeOf(const File& file) {
  if (file.durable_bytes.starts_with(file.bytes)) return file.bytes;
  const size_t least = file.bytes.starts_with(file.durable_bytes) ? file.durable_bytes.size() : 0;
  return file.bytes.substr(0, least + random_() % (file.bytes.size() - least + 1));
}

void FaultyFileSystem::Crash() {
  Names after;
  std::set<std::string> directories_kept;
  std::set<std::string> directories_seen;
  for (const auto* names : {&names_, &durable_names_}) {
    for (const auto& [path, file] : *names) {
      if (directories_seen.insert(DirectoryOf(path)).second && keeps_some_ && random_() % 2 == 0) {
        directories_kept.insert(DirectoryOf(path));
      }
    }
  }
  const auto kept = [&](const std::string& path) {
    return directories_kept.contains(DirectoryOf(path));
  };
  for (const auto& [path, file] : durable_names_) {
    if (!kept(path)) after.emplace(path, file);
  }
  for (const auto& [path, file] : names_) {
    if (kept(path)) after.emplace(path, file);
  }
  for (const auto& [path, file] : after) {
    if (file->bytes != file->durable_bytes) {
      const bool keep = keeps_some_ && random_() % 2 == 0;
      file->bytes = keep ? SomeOf(*file) : file->durable_bytes;
    }
    file->durable_bytes = file->bytes;
  }
  names_ = durable_names_ = after;
  locks_.clear();
  operations_left_.reset();
  powered_off_ = false;
  next_failure_ = absl::OkStatus();
}

absl::Status FaultyFileSystem::Step() {
  if (operations_left_) {
    if (*operations_left_ == 0) {
      powered_off_ = true;
      return absl::UnavailableError("the power is off");
    }
    --*operations_left_;
  }
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::Change() {
  LOCKSTEP_RETURN_IF_ERROR(Step());
  return std::exchange(next_failure_, absl::OkStatus());
}

absl::StatusOr<FaultyFileSystem::File*> FaultyFileSystem::Find(const std::string& path) {
  const auto found = names_.find(path);
  if (found == names_.end()) return absl::NotFoundError("no file \"" + path + "\"");
  return found->second.get();
}

FaultyFileSystem::File& FaultyFileSystem::FindOrCreate(const std::string& path) {
  std::shared_ptr<File>& file = names_[path];
  if (file == nullptr) file = std::make_shared<File>();
  return *file;
}

absl::Status FaultyFileSystem::Write(const std::string& path, std::string_view contents) {
  LOCKSTEP_RETURN_IF_ERROR(Change());
  FindOrCreate(path).bytes = contents;
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::Append(const std::string& path, std::string_view contents) {
  if (absl::Status status = Change(); !status.ok()) {
    if (!powered_off_) FindOrCreate(path).bytes += contents.substr(0, contents.size() / 2);
    return status;
  }
  FindOrCreate(path).bytes += contents;
  return absl::OkStatus();
}

absl::StatusOr<std::string> FaultyFileSystem::Read(const std::string& path) {
  LOCKSTEP_RETURN_IF_ERROR(Step());
  LOCKSTEP_ASSIGN_OR_RETURN(const File* const file, Find(path));
  return file->bytes;
}

absl::StatusOr<std::string> FaultyFileSystem::ReadAt(const std::string& path, int64_t offset,
                                                     int64_t size) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string contents, Read(path));
  if (offset >= static_cast<int64_t>(contents.size())) return std::string();
  return contents.substr(static_cast<size_t>(offset), static_cast<size_t>(size));
}

absl::StatusOr<int64_t> FaultyFileSystem::Size(const std::string& path) {
  LOCKSTEP_RETURN_IF_ERROR(Step());
  LOCKSTEP_ASSIGN_OR_RETURN(const File* const file, Find(path));
  return static_cast<int64_t>(file->bytes.size());
}

absl::Status FaultyFileSystem::Truncate(const std::string& path, int64_t size) {
  LOCKSTEP_RETURN_IF_ERROR(Change());
  LOCKSTEP_ASSIGN_OR_RETURN(File* const file, Find(path));
  LOCKSTEP_CHECK(size >= 0 && static_cast<size_t>(size) <= file->bytes.size(),
                 "a file is only ever cut");
  file->bytes.resize(static_cast<size_t>(size));
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::Rename(const std::string& from, const std::string& to) {
  LOCKSTEP_RETURN_IF_ERROR(Change());
  LOCKSTEP_RETURN_IF_ERROR(Find(from).status());
  names_[to] = names_[from];
  names_.erase(from);
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::Remove(const std::string& path) {
  LOCKSTEP_RETURN_IF_ERROR(Change());
  LOCKSTEP_RETURN_IF_ERROR(Find(path).status());
  names_.erase(path);
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::SyncFile(const std::string& path) {
  LOCKSTEP_RETURN_IF_ERROR(Change());
  LOCKSTEP_ASSIGN_OR_RETURN(File* const file, Find(path));
  file->durable_bytes = file->bytes;
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::SyncDirectory(const std::string& path) {
  LOCKSTEP_RETURN_IF_ERROR(Change());
  const std::string directory = DirectoryOf(path);
  const auto within = [&](const auto& entry) { return DirectoryOf(entry.first) == directory; };
  std::erase_if(durable_names_, within);
  for (const auto& entry : names_) {
    if (within(entry)) durable_names_.insert(entry);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FileLock>> FaultyFileSystem::Lock(const std::string& path) {
  LOCKSTEP_RETURN_IF_ERROR(Step());
  if (!locks_.insert(path).second) {
    return absl::FailedPreconditionError("\"" + path + "\" is locked by another process");
  }
  return std::make_unique<HeldLock>(*this, path);
}

}  // namespace lockstep
