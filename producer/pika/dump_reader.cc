#include "producer/pika/dump_reader.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include <rocksdb/db.h>
#include <rocksdb/iterator.h>
#include <rocksdb/options.h>

#include "common/base/status_macros.h"
#include "common/model/ids.h"

namespace lockstep::pika {
namespace {

namespace fs = std::filesystem;

constexpr int kOpenFilesMax = 512;
constexpr size_t kReadaheadBytes = size_t{2} << 20;

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

absl::Status Broken(const std::string& directory, const rocksdb::Status& status) {
  return absl::DataLossError("dump " + directory + ": " + status.ToString());
}

// The column family with the data records of a type; empty: strings have none.
std::string DataFamilyName(DumpFamily family, DataType type) {
  switch (type) {
    case DataType::kHash:
      return family == DumpFamily::kByType ? "data_cf" : "hash_data_cf";
    case DataType::kSet:
      return family == DumpFamily::kByType ? "member_cf" : "set_data_cf";
    case DataType::kList:
      return family == DumpFamily::kByType ? "data_cf" : "list_data_cf";
    case DataType::kZset:  // Member to score; the score's index is never needed.
      return family == DumpFamily::kByType ? "data_cf" : "zset_data_cf";
    case DataType::kStream:
      return family == DumpFamily::kByType ? "data_cf" : "stream_data_cf";
    default:
      return "";
  }
}

constexpr DataType kCollections[] = {DataType::kHash, DataType::kSet, DataType::kList,
                                     DataType::kZset, DataType::kStream};

}  // namespace

absl::StatusOr<BinlogPosition> ParseDumpInfo(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty() && lines.size() < 8) {
    const size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text = end == std::string_view::npos ? "" : text.substr(end + 1);
  }
  if (lines.size() < 5) {
    return absl::InvalidArgumentError(absl::StrCat("a dump's info of ", lines.size(), " lines"));
  }
  const auto position = ParseBinlogPosition(std::string(lines[3]) + ":" + std::string(lines[4]));
  if (!position.ok()) return Annotate(position.status(), "a dump's info, lines 4 and 5");
  return *position;
}

// One RocksDB of the dump.
class DumpReader::Store {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Open(DumpFamily family, const Unit& unit) {
    auto store = std::make_unique<Store>();
    store->unit = unit;
    rocksdb::Options options;
    options.max_open_files = kOpenFilesMax;
    std::vector<std::string> there;
    rocksdb::Status status = rocksdb::DB::ListColumnFamilies(options, unit.directory, &there);
    if (!status.ok()) return Broken(unit.directory, status);
    std::vector<rocksdb::ColumnFamilyDescriptor> wanted = {
        {rocksdb::kDefaultColumnFamilyName, rocksdb::ColumnFamilyOptions()}};
    std::vector<DataType> types;
    for (const DataType type : kCollections) {
      if (family == DumpFamily::kByType && type != unit.type) continue;
      const std::string name = DataFamilyName(family, type);
      if (std::find(there.begin(), there.end(), name) == there.end()) continue;
      rocksdb::ColumnFamilyOptions column;
      if (type == DataType::kList) column.comparator = ListNodeComparator(family);
      wanted.emplace_back(name, column);
      types.push_back(type);
    }
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* db = nullptr;
    status = rocksdb::DB::OpenForReadOnly(options, unit.directory, wanted, &handles, &db);
    if (!status.ok()) return Broken(unit.directory, status);
    store->db.reset(db);
    store->handles = handles;
    rocksdb::ReadOptions read;
    read.fill_cache = false;
    read.verify_checksums = true;
    read.readahead_size = kReadaheadBytes;
    store->meta.reset(db->NewIterator(read, handles[0]));
    store->meta->SeekToFirst();
    read.readahead_size = 0;  // Data is sought key by key.
    for (size_t i = 0; i < types.size(); ++i) {
      store->data.emplace_back(types[i], db->NewIterator(read, handles[i + 1]));
    }
    return store;
  }
  ~Store() {
    meta.reset();
    data.clear();
    for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
  }

  rocksdb::Iterator* Data(DataType type) {
    for (auto& [of, iterator] : data) {
      if (of == type) return iterator.get();
    }
    return nullptr;
  }

  Unit unit;
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  std::unique_ptr<rocksdb::Iterator> meta;
  std::vector<std::pair<DataType, std::unique_ptr<rocksdb::Iterator>>> data;
};

DumpReader::DumpReader(DumpFamily family, std::vector<Unit> units, int64_t now_ms)
    : family_(family), units_(std::move(units)), now_ms_(now_ms) {}

DumpReader::~DumpReader() = default;

absl::StatusOr<std::unique_ptr<DumpReader>> DumpReader::Open(const std::string& directory,
                                                             int64_t now_ms) {
  std::vector<Unit> units;
  const std::pair<const char*, DataType> by_type[] = {
      {"strings", DataType::kString}, {"hashes", DataType::kHash}, {"lists", DataType::kList},
      {"sets", DataType::kSet},       {"zsets", DataType::kZset},  {"streams", DataType::kStream}};
  std::error_code error;
  for (const auto& [name, type] : by_type) {
    const fs::path path = fs::path(directory) / name;
    if (fs::is_directory(path, error)) units.push_back({path.string(), type});
  }
  DumpFamily family = DumpFamily::kByType;
  if (units.empty()) {
    family = DumpFamily::kMixed;
    for (int i = 0;; ++i) {
      const fs::path path = fs::path(directory) / std::to_string(i);
      if (!fs::is_directory(path, error)) break;
      units.push_back({path.string(), DataType::kUnknown});
    }
  } else if (units.size() < 5) {
    return absl::DataLossError(
        "dump " + directory +
        " is incomplete: strings, hashes, lists, sets and zsets belong to it");
  }
  if (units.empty()) {
    return absl::NotFoundError("no dump in " + directory + ": neither strings/ … nor 0/ …");
  }
  return std::unique_ptr<DumpReader>(new DumpReader(family, std::move(units), now_ms));
}

int64_t DumpReader::EstimateKeys() const {
  uint64_t all = 0;
  for (const Unit& unit : units_) {
    const auto store = Store::Open(family_, unit);
    uint64_t keys = 0;
    // What cannot be opened stops the walk, which says why.
    if (!store.ok() ||
        !(*store)->db->GetIntProperty((*store)->handles[0],
                                      rocksdb::DB::Properties::kEstimateNumKeys, &keys)) {
      return 0;
    }
    all += keys;
  }
  return static_cast<int64_t>(all);
}

absl::StatusOr<bool> DumpReader::NextKey() {
  for (;;) {
    if (store_ == nullptr) {
      if (next_unit_ == units_.size()) return false;
      LOCKSTEP_ASSIGN_OR_RETURN(store_, Store::Open(family_, units_[next_unit_++]));
    }
    rocksdb::Iterator& meta = *store_->meta;
    for (; meta.Valid(); meta.Next()) {
      const auto key =
          ParseDumpMeta(family_, store_->unit.type, View(meta.key()), View(meta.value()), now_ms_);
      if (!key.ok()) {
        ++bad_records_;
        continue;
      }
      if (!*key || IsInternalKey((*key)->key)) continue;
      key_ = *key;
      meta.Next();
      ++keys_;
      key_begun_ = false;
      elements_left_ = key_->count;
      next_index_ = key_->first_index;
      if (rocksdb::Iterator* data = store_->Data(key_->type); data != nullptr) {
        data->Seek(key_->type == DataType::kList ? ListNodeKey(family_, *key_, next_index_)
                                                 : key_->data_prefix);
      }
      return true;
    }
    if (!meta.status().ok()) return Broken(store_->unit.directory, meta.status());
    store_.reset();
  }
}

absl::Status DumpReader::FillBatch(DumpBatch& batch) {
  if (key_->type == DataType::kString) {
    batch.elements.push_back(std::move(key_->value));
    elements_left_ = 0;
    return absl::OkStatus();
  }
  rocksdb::Iterator* data = store_->Data(key_->type);
  size_t bytes = 0;
  for (size_t taken = 0; data != nullptr && taken < kBatchElementsMax && bytes < kBatchBytesMax;) {
    const bool ours =
        data->Valid() && View(data->key()).substr(0, key_->data_prefix.size()) == key_->data_prefix;
    const bool in_order = key_->type != DataType::kList ||
                          (ours && View(data->key()) == ListNodeKey(family_, *key_, next_index_));
    if (!data->status().ok()) return Broken(store_->unit.directory, data->status());
    // The count is the master's word; the records are the truth, but for a list's garbage.
    if (!ours || !in_order || (key_->type == DataType::kList && elements_left_ == 0)) {
      elements_left_ = 0;
      return absl::OkStatus();
    }
    const size_t before = batch.elements.size();
    if (AppendDumpElement(family_, *key_, View(data->key()), View(data->value()), batch.elements)
            .ok()) {
      for (size_t i = before; i < batch.elements.size(); ++i) bytes += batch.elements[i].size();
      ++taken;
    } else {
      batch.elements.resize(before);
      ++bad_records_;
    }
    if (key_->type == DataType::kList && elements_left_ > 0) --elements_left_;
    ++next_index_;
    data->Next();
    if (key_->type == DataType::kStream && taken == 1) break;
  }
  if (data == nullptr || !data->Valid() ||
      View(data->key()).substr(0, key_->data_prefix.size()) != key_->data_prefix) {
    elements_left_ = 0;
  } else if (key_->type != DataType::kList) {
    elements_left_ = 1;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> DumpReader::Next(DumpBatch& batch) {
  for (;;) {
    batch = DumpBatch();
    if (!key_) {
      LOCKSTEP_ASSIGN_OR_RETURN(const bool found, NextKey());
      if (!found) return false;
    }
    batch.type = key_->type;
    batch.key = key_->key;
    batch.expire_at_ms = key_->expire_at_ms;
    batch.first = !std::exchange(key_begun_, true);
    LOCKSTEP_RETURN_IF_ERROR(FillBatch(batch));
    batch.last = elements_left_ == 0;
    if (batch.last) key_.reset();
    if (!batch.elements.empty()) return true;
  }
}

}  // namespace lockstep::pika
