#include "bench/source_algorithm.h"

#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/hash/hash.h"

#include "bench/two_logs.h"
#include "common/base/status_macros.h"
#include "common/model/record_header.h"
#include "sim/cache_main1.h"
#include "sim/order_walk.h"

namespace lockstep::bench {

namespace {

// As the header names it.
struct Identity {
  std::string producer;
  int64_t seq = 0;
  bool operator==(const Identity&) const = default;
};
struct IdentityHash {
  size_t operator()(const Identity& identity) const {
    return absl::HashOf(identity.producer, identity.seq);
  }
};

struct DestroyMessage {
  void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
};
using Message = std::unique_ptr<rd_kafka_message_t, DestroyMessage>;

class IdentityOrder {
 public:
  IdentityOrder(const sim::Bursts& ledger, int64_t writers) : walk_(ledger, writers) { Load(); }
  bool done() const { return walk_.done(); }
  const Identity& wanted() const { return wanted_; }
  void Advance() {
    walk_.Advance(1);
    Load();
  }

 private:
  void Load() {
    if (walk_.done()) return;
    if (walk_.writer() != writer_) {
      writer_ = walk_.writer();
      wanted_.producer = WriterName(writer_);
    }
    wanted_.seq = walk_.seq();
  }

  sim::OrderWalk walk_;
  int32_t writer_ = -1;
  Identity wanted_;
};

}  // namespace

absl::StatusOr<double> ConsumeBySourceAlgorithm(const RawTarget& target, const sim::Bursts& ledger,
                                                int64_t writers) {
  sim::Main1<IdentityOrder, Identity, Message, IdentityHash> cache(IdentityOrder(ledger, writers));
  int64_t emitted = 0;
  const std::vector<int64_t> totals = sim::TotalsOf(ledger);
  const int64_t records = std::accumulate(totals.begin(), totals.end(), int64_t{0});
  const auto take = [&](rd_kafka_message_t* raw) -> absl::Status {
    Message message(raw);
    LOCKSTEP_ASSIGN_OR_RETURN(const RecordHeader header, ParseRecordHeader(RawHeader(raw)));
    cache.Offer({std::string(header.producer), header.seq.value()}, std::move(message),
                [&](Message& out) {
                  ++emitted;
                  out.reset();
                });
    return absl::OkStatus();
  };
  LOCKSTEP_ASSIGN_OR_RETURN(const double seconds, RawConsume(target, records, take));
  if (emitted != records) return absl::DataLossError("the source's algorithm kept records");
  return seconds;
}

}  // namespace lockstep::bench
