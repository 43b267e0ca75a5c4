#include "bench/pika_dump.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include <rocksdb/db.h>

#include "producer/pika/dump_format.h"

namespace lockstep::bench {

namespace {

absl::Status FromRocks(const rocksdb::Status& status) {
  return status.ok() ? absl::OkStatus() : absl::UnknownError("dump: " + status.ToString());
}

std::string LittleEndian(uint64_t number, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(number >> (8 * i) & 0xff);
  return text;
}

// Sorted by number, so that RocksDB has nothing to merge.
std::string Numbered(const char* prefix, int64_t number) {
  char text[32];
  std::snprintf(text, sizeof text, "%s%012lld", prefix, static_cast<long long>(number));
  return text;
}

// A database of the two column families that its type has.
absl::Status MakeStore(const std::string& directory, const std::string& data_family,
                       const rocksdb::Comparator* data_order,
                       const std::function<rocksdb::Status(
                           rocksdb::DB&, const std::vector<rocksdb::ColumnFamilyHandle*>&)>& fill) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.compression = rocksdb::kNoCompression;
  std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName, options}};
  rocksdb::ColumnFamilyOptions data_options(options);
  data_options.comparator = data_order;
  if (!data_family.empty()) families.emplace_back(data_family, data_options);
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  rocksdb::Status status = rocksdb::DB::Open(options, directory, families, &handles, &opened);
  const std::unique_ptr<rocksdb::DB> db(opened);
  if (status.ok()) status = fill(*db, handles);
  if (status.ok()) status = db->Flush({}, handles);
  for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
  return FromRocks(status);
}

}  // namespace

absl::Status MakePikaDump(const std::string& directory, int64_t keys, int64_t fields) {
  std::filesystem::create_directories(directory);
  std::ofstream(directory + "/info") << "0s\n127.0.0.1\n9221\n1\n0\n";
  rocksdb::WriteOptions no_wal;
  no_wal.disableWAL = true;
  const std::string never = LittleEndian(0, 4);
  for (const std::string_view name : {"strings", "lists", "sets", "zsets", "hashes"}) {
    const std::string data = name == "strings" ? "" : name == "sets" ? "member_cf" : "data_cf";
    const rocksdb::Comparator* order = name == "lists"
                                           ? pika::ListNodeComparator(pika::DumpFamily::kByType)
                                           : rocksdb::BytewiseComparator();
    const auto fill = [&](rocksdb::DB& db,
                          const std::vector<rocksdb::ColumnFamilyHandle*>& handles) {
      rocksdb::Status status;
      if (name == "strings") {
        const std::string value = std::string(100, 'v') + never;
        for (int64_t i = 0; i < keys && status.ok(); ++i) {
          status = db.Put(no_wal, Numbered("key-", i), value);
        }
      } else if (name == "hashes" && fields > 0) {
        const std::string hash = "hash";
        const std::string version = LittleEndian(1, 4);
        status =
            db.Put(no_wal, hash,
                   absl::StrCat(LittleEndian(static_cast<uint64_t>(fields), 4), version, never));
        const std::string prefix = absl::StrCat(LittleEndian(hash.size(), 4), hash, version);
        const std::string value(20, 'v');
        for (int64_t i = 0; i < fields && status.ok(); ++i) {
          status = db.Put(no_wal, handles[1], prefix + Numbered("field-", i), value);
        }
      }
      return status;
    };
    if (const absl::Status status =
            MakeStore(directory + "/" + std::string(name), data, order, fill);
        !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace lockstep::bench
