#include "sim/cache_recorded.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <rapidjson/document.h>

#include "common/base/status_macros.h"
#include "common/model/offset_ranges.h"
#include "sim/order_walk.h"

namespace lockstep::sim {
namespace {

// Consecutive seqs of one producer at consecutive offsets.
struct Piece {
  int64_t epoch = 0;
  int64_t offset = 0;
  std::string producer;
  int64_t first_seq = 0;
  int64_t count = 0;
};

std::optional<int64_t> Integer(const rapidjson::Document& line, const char* name) {
  const auto found = line.FindMember(name);
  if (found == line.MemberEnd() || !found->value.IsInt64()) return std::nullopt;
  return found->value.GetInt64();
}

std::optional<std::string> Text(const rapidjson::Document& line, const char* name) {
  const auto found = line.FindMember(name);
  if (found == line.MemberEnd() || !found->value.IsString()) return std::nullopt;
  return std::string(found->value.GetString(), found->value.GetStringLength());
}

absl::Status AddPieces(const std::string& text, std::vector<Piece>& pieces) {
  rapidjson::Document line;
  line.Parse(text.data(), text.size());
  if (line.HasParseError() || !line.IsObject()) {
    return absl::InvalidArgumentError("not a JSON object");
  }
  const auto epoch = Integer(line, "epoch");
  const auto producer = Text(line, "producer");
  const auto first_seq = Integer(line, "first_seq");
  const auto last_seq = Integer(line, "last_seq");
  const auto offsets = Text(line, "offsets");
  if (!epoch || !producer || !first_seq || !last_seq || !offsets) {
    return absl::InvalidArgumentError(
        "epoch, producer, first_seq, last_seq or offsets is missing: not a line of "
        "`lockstep-ledger order --runs`");
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const OffsetRanges ranges, OffsetRanges::Parse(*offsets));
  if (ranges.count() != *last_seq - *first_seq + 1) {
    return absl::InvalidArgumentError("it has not as many offsets as seqs");
  }
  int64_t seq = *first_seq;
  for (const OffsetRange& range : ranges.ranges()) {
    pieces.push_back({*epoch, range.first.value(), *producer, seq, range.size()});
    seq += range.size();
  }
  return absl::OkStatus();
}

// In the file's order of positions.
absl::StatusOr<std::vector<Piece>> ReadPieces(std::istream& in, const std::string& name) {
  std::vector<Piece> pieces;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.empty()) continue;
    LOCKSTEP_RETURN_IF_ERROR(
        Annotate(AddPieces(line, pieces), absl::StrCat(name, ", line ", number)));
  }
  std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return std::tie(a.epoch, a.offset) < std::tie(b.epoch, b.offset);
  });
  return pieces;
}

struct Writer {
  int32_t number = 0;
  int64_t next_ledgered = 0;  // Seqs as recorded.
  int64_t next_logged = 0;
};
using Writers = absl::flat_hash_map<std::string, Writer>;

absl::Status Gap(const std::string& name, const Piece& piece, int64_t wanted) {
  return absl::InvalidArgumentError(absl::StrCat(name, ": ", piece.producer, " goes on at seq ",
                                                 piece.first_seq, " where seq ", wanted,
                                                 " was to come"));
}

absl::Status AddLedger(const std::vector<Piece>& pieces, const std::string& name,
                       CacheOrders& orders, Writers& writers) {
  for (const Piece& piece : pieces) {
    const auto [found, added] = writers.try_emplace(piece.producer);
    Writer& writer = found->second;
    if (added) {
      writer = {static_cast<int32_t>(orders.writers++), piece.first_seq, piece.first_seq};
    }
    if (piece.first_seq != writer.next_ledgered) return Gap(name, piece, writer.next_ledgered);
    writer.next_ledgered += piece.count;
    orders.records += piece.count;
    if (orders.records > INT32_MAX) {
      return absl::InvalidArgumentError(name + ": more than 2^31 records");
    }
    orders.ledger.push_back({writer.number, static_cast<int32_t>(piece.count)});
  }
  return absl::OkStatus();
}

// Repeats, and what the ledger does not name, are passed over.
absl::Status AddLog(const std::vector<Piece>& pieces, const std::string& name, CacheOrders& orders,
                    Writers& writers) {
  for (const Piece& piece : pieces) {
    const auto found = writers.find(piece.producer);
    if (found == writers.end()) continue;
    Writer& writer = found->second;
    const int64_t first = std::max(piece.first_seq, writer.next_logged);
    const int64_t end = std::min(piece.first_seq + piece.count, writer.next_ledgered);
    if (first >= end) continue;
    if (first != writer.next_logged) return Gap(name, piece, writer.next_logged);
    writer.next_logged = end;
    orders.log.push_back({writer.number, static_cast<int32_t>(end - first)});
  }
  return absl::OkStatus();
}

void Reinject(CacheOrders& orders) {
  std::vector<int64_t> logged = TotalsOf(orders.log);
  logged.resize(static_cast<size_t>(orders.writers));
  Bursts lacking;
  for (OrderWalk walk(orders.ledger, orders.writers); !walk.done();) {
    const int64_t count = walk.left_in_burst();
    const int64_t there = logged[static_cast<size_t>(walk.writer())] - (walk.seq() - 1);
    const int64_t lacks = std::min(count, count - there);
    if (lacks > 0) lacking.push_back({walk.writer(), static_cast<int32_t>(lacks)});
    walk.Advance(count);
  }
  orders.log.insert(orders.log.end(), lacking.begin(), lacking.end());
}

}  // namespace

absl::StatusOr<CacheOrders> ReadRecordedOrders(std::istream& ledger, const std::string& ledger_name,
                                               std::istream& log, const std::string& log_name) {
  CacheOrders orders;
  Writers writers;
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<Piece> ledgered, ReadPieces(ledger, ledger_name));
  LOCKSTEP_RETURN_IF_ERROR(AddLedger(ledgered, ledger_name, orders, writers));
  if (orders.records == 0) return absl::InvalidArgumentError(ledger_name + ": no runs");
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<Piece> logged, ReadPieces(log, log_name));
  LOCKSTEP_RETURN_IF_ERROR(AddLog(logged, log_name, orders, writers));
  Reinject(orders);
  return orders;
}

}  // namespace lockstep::sim
