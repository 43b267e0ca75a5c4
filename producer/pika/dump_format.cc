#include "producer/pika/dump_format.h"

#include <bit>
#include <charconv>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep::pika {
namespace {

constexpr size_t kReserveFront = 8;  // kMixed: before a key.
constexpr size_t kReserveBack = 16;  // kMixed: behind a key, and within values.
constexpr size_t kValueSuffix = 24;  // kMixed: reserve and ctime behind a hash value, list element.
constexpr size_t kTimesSuffix = 16;  // kMixed: ctime and etime end a meta record.

template <class Int>
Int Get(std::string_view bytes, size_t at) {
  Int value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}
static_assert(std::endian::native == std::endian::little, "Pika's numbers are little-endian");

uint64_t GetBigEndian(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

template <class Int>
void Put(Int value, std::string& out) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

absl::Status WrongSize(const char* what, size_t size) {
  return absl::InvalidArgumentError(absl::StrCat(what, " of ", size, " bytes"));
}

// ---------------------------------------------------------------- kByType

// Stale only once the second `ts` has passed.
bool StaleSeconds(int32_t ts, int64_t now_ms) { return ts != 0 && ts < now_ms / 1000; }

absl::StatusOr<std::optional<DumpKey>> ParseByType(DataType type, std::string_view key,
                                                   std::string_view value, int64_t now_ms) {
  DumpKey found;
  found.type = type;
  found.key = key;
  int32_t ts = 0;
  int32_t version = 0;
  if (type == DataType::kString) {
    if (value.size() < 4) return WrongSize("a string's value", value.size());
    ts = Get<int32_t>(value, value.size() - 4);
    found.value = value.substr(0, value.size() - 4);
    found.count = 1;
  } else if (type == DataType::kList) {
    if (value.size() != 32) return WrongSize("a list's meta record", value.size());
    found.count = Get<uint64_t>(value, 0);
    version = Get<int32_t>(value, 8);
    ts = Get<int32_t>(value, 12);
    found.first_index = Get<uint64_t>(value, 16) + 1;
  } else if (type == DataType::kStream) {
    if (value.size() != 68) return WrongSize("a stream's meta record", value.size());
    found.count = static_cast<uint64_t>(std::max(Get<int32_t>(value, 60), 0));
    version = Get<int32_t>(value, 64);
  } else {
    if (value.size() != 12) return WrongSize("a meta record", value.size());
    found.count = static_cast<uint64_t>(std::max(Get<int32_t>(value, 0), 0));
    version = Get<int32_t>(value, 4);
    ts = Get<int32_t>(value, 8);
  }
  if (found.count == 0 || StaleSeconds(ts, now_ms)) return std::nullopt;
  found.expire_at_ms = int64_t{ts} * 1000;
  Put(static_cast<uint32_t>(key.size()), found.data_prefix);
  found.data_prefix.append(key);
  Put(version, found.data_prefix);
  return found;
}

// ---------------------------------------------------------------- kMixed

// The key between its reserves, and where its end mark ends; nullopt if there is none.
std::optional<std::pair<std::string, size_t>> DecodeKey(std::string_view bytes) {
  std::string key;
  for (size_t i = kReserveFront; i + 1 < bytes.size(); ++i) {
    if (bytes[i] != '\0') {
      key.push_back(bytes[i]);
    } else if (bytes[i + 1] == '\0') {
      return std::pair(std::move(key), i + 2);
    } else {
      key.push_back('\0');
      ++i;  // The 01 behind an escaped zero.
    }
  }
  return std::nullopt;
}

// 4.0.1 sets the highest bit of milliseconds; 4.0.0 wrote seconds without it.
int64_t TimeMs(uint64_t time) {
  constexpr uint64_t kMilliseconds = uint64_t{1} << 63;
  if ((time & kMilliseconds) != 0) return static_cast<int64_t>(time & ~kMilliseconds);
  return static_cast<int64_t>(std::min(time, uint64_t{1} << 50) * 1000);
}

absl::StatusOr<std::optional<DumpKey>> ParseMixed(std::string_view key, std::string_view value,
                                                  int64_t now_ms) {
  const auto decoded = DecodeKey(key);
  if (!decoded) return absl::InvalidArgumentError("a key without its end mark");
  if (value.empty()) return WrongSize("a meta record", 0);
  DumpKey found;
  found.key = decoded->first;
  uint64_t version = 0;
  const auto size_is = [&](size_t size) { return value.size() == size; };
  bool fits = false;
  switch (value[0]) {
    case 0:
      fits = value.size() >= 1 + kReserveBack + kTimesSuffix;
      found.type = DataType::kString;
      if (fits) found.value = value.substr(1, value.size() - 1 - kReserveBack - kTimesSuffix);
      found.count = 1;
      break;
    case 1:
    case 2:
    case 4:
      fits = size_is(45);
      found.type = value[0] == 1   ? DataType::kHash
                   : value[0] == 2 ? DataType::kSet
                                   : DataType::kZset;
      if (!fits) break;
      found.count = static_cast<uint64_t>(std::max(Get<int32_t>(value, 1), 0));
      version = Get<uint64_t>(value, 5);
      break;
    case 3:
      fits = size_is(81);
      found.type = DataType::kList;
      if (!fits) break;
      found.count = Get<uint64_t>(value, 1);
      version = Get<uint64_t>(value, 9);
      found.first_index = Get<uint64_t>(value, 17) + 1;
      break;
    case 5:
      fits = size_is(73);
      found.type = DataType::kStream;
      if (!fits) break;
      found.count = static_cast<uint64_t>(std::max(Get<int32_t>(value, 61), 0));
      version = Get<uint64_t>(value, 65);
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a meta record of type ", static_cast<int>(value[0])));
  }
  if (!fits) return WrongSize("a meta record", value.size());
  if (found.count == 0) return std::nullopt;
  if (found.type != DataType::kStream) {
    found.expire_at_ms = TimeMs(Get<uint64_t>(value, value.size() - 8));
    if (found.expire_at_ms != 0 && found.expire_at_ms < now_ms) return std::nullopt;
  }
  found.data_prefix = key.substr(0, decoded->second);
  Put(version, found.data_prefix);
  return found;
}

// ---------------------------------------------------------------- elements

void AppendScore(double score, std::vector<std::string>& elements) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), score).ptr;
  elements.emplace_back(text, end);
}

// Repeated length and bytes: fields and values, alternating.
absl::Status AppendMessage(std::string_view message, std::vector<std::string>& elements) {
  while (!message.empty()) {
    if (message.size() < 4) return WrongSize("the rest of a stream's entry", message.size());
    const size_t length = Get<uint32_t>(message, 0);
    message.remove_prefix(4);
    if (length > message.size())
      return WrongSize("a cut field of a stream's entry", message.size());
    elements.emplace_back(message.substr(0, length));
    message.remove_prefix(length);
  }
  return absl::OkStatus();
}

// ---------------------------------------------------------------- the order of list nodes

// Compares what follows two equal user keys: version, then index; a key that ends is the smaller.
template <class Version>
int CompareVersionAndIndex(std::string_view a, std::string_view b) {
  if (a.size() < sizeof(Version) || b.size() < sizeof(Version)) {
    return a.size() == b.size() ? 0 : a.size() < b.size() ? -1 : 1;
  }
  const auto x = Get<Version>(a, 0);
  const auto y = Get<Version>(b, 0);
  if (x != y) return x < y ? -1 : 1;
  a.remove_prefix(sizeof(Version));
  b.remove_prefix(sizeof(Version));
  if (a.size() < 8 || b.size() < 8) return a.size() == b.size() ? 0 : a.size() < b.size() ? -1 : 1;
  const auto i = Get<uint64_t>(a, 0);
  const auto j = Get<uint64_t>(b, 0);
  return i == j ? 0 : i < j ? -1 : 1;
}

// A user key with its length before it.
std::string_view TakeByTypeKey(std::string_view& bytes) {
  if (bytes.size() < 4) return std::exchange(bytes, {});
  const size_t length = std::min<size_t>(Get<uint32_t>(bytes, 0), bytes.size() - 4);
  const std::string_view key = bytes.substr(4, length);
  bytes.remove_prefix(4 + length);
  return key;
}

// Up to and with the end mark: the first two zeros in a row behind the front reserve.
std::string_view TakeMixedKey(std::string_view& bytes) {
  size_t end = std::min(kReserveFront, bytes.size());
  for (size_t i = kReserveFront; i + 1 < bytes.size(); ++i) {
    if (bytes[i] == '\0' && bytes[i + 1] == '\0') {
      end = i + 2;
      break;
    }
  }
  const std::string_view key = bytes.substr(0, end);
  bytes.remove_prefix(end);
  return key;
}

template <class Version>
class NodeComparator final : public rocksdb::Comparator {
 public:
  // Cuts the user key off the front.
  using TakeKey = std::string_view (*)(std::string_view& bytes);

  NodeComparator(const char* name, TakeKey take_key) : name_(name), take_key_(take_key) {}

  const char* Name() const override { return name_; }
  int Compare(const rocksdb::Slice& a, const rocksdb::Slice& b) const override {
    std::string_view x(a.data(), a.size());
    std::string_view y(b.data(), b.size());
    if (const int order = take_key_(x).compare(take_key_(y)); order != 0) return order;
    return CompareVersionAndIndex<Version>(x, y);
  }
  void FindShortestSeparator(std::string*, const rocksdb::Slice&) const override {}
  void FindShortSuccessor(std::string*) const override {}

 private:
  const char* const name_;
  const TakeKey take_key_;
};

}  // namespace

absl::StatusOr<std::optional<DumpKey>> ParseDumpMeta(DumpFamily family, DataType type,
                                                     std::string_view key, std::string_view value,
                                                     int64_t now_ms) {
  return family == DumpFamily::kByType ? ParseByType(type, key, value, now_ms)
                                       : ParseMixed(key, value, now_ms);
}

absl::Status AppendDumpElement(DumpFamily family, const DumpKey& owner, std::string_view key,
                               std::string_view value, std::vector<std::string>& elements) {
  const bool mixed = family == DumpFamily::kMixed;
  std::string_view rest = key.substr(owner.data_prefix.size());
  if (mixed) {
    if (rest.size() < kReserveBack) return WrongSize("a data record's key", key.size());
    rest.remove_suffix(kReserveBack);
  }
  // A value without the suffix was left by 4.0.0: it is the user's own.
  const std::string_view user_value =
      mixed && value.size() >= kValueSuffix ? value.substr(0, value.size() - kValueSuffix) : value;
  switch (owner.type) {
    case DataType::kHash:
      elements.emplace_back(rest);
      elements.emplace_back(user_value);
      return absl::OkStatus();
    case DataType::kSet:
      elements.emplace_back(rest);
      return absl::OkStatus();
    case DataType::kList:
      elements.emplace_back(user_value);
      return absl::OkStatus();
    case DataType::kZset:
      if (value.size() < 8) return WrongSize("a zset's score", value.size());
      AppendScore(Get<double>(value, 0), elements);
      elements.emplace_back(rest);
      return absl::OkStatus();
    case DataType::kStream:
      if (rest.size() != 16) return WrongSize("a stream entry's id", rest.size());
      elements.push_back(absl::StrCat(GetBigEndian(rest, 0), "-", GetBigEndian(rest, 8)));
      return AppendMessage(value, elements);
    default:
      return absl::InvalidArgumentError("a data record of a type that has none");
  }
}

std::string ListNodeKey(DumpFamily family, const DumpKey& owner, uint64_t index) {
  std::string key = owner.data_prefix;
  Put(index, key);
  if (family == DumpFamily::kMixed) key.append(kReserveBack, '\0');
  return key;
}

const rocksdb::Comparator* ListNodeComparator(DumpFamily family) {
  static const auto& by_type =
      *new NodeComparator<int32_t>("blackwidow.ListsDataKeyComparator", TakeByTypeKey);
  static const auto& mixed =
      *new NodeComparator<uint64_t>("floyd.ListsDataKeyComparator", TakeMixedKey);
  return family == DumpFamily::kByType ? static_cast<const rocksdb::Comparator*>(&by_type) : &mixed;
}

}  // namespace lockstep::pika
