#include "sim/cache_main1.h"

#include "absl/status/status.h"

namespace lockstep::sim {
namespace {

struct Identity {
  int64_t writer;
  int64_t seq;
  bool operator==(const Identity&) const = default;
};
struct IdentityHash {
  size_t operator()(const Identity& id) const {
    return static_cast<size_t>(id.seq) * 0x9E3779B97F4A7C15U ^ static_cast<size_t>(id.writer);
  }
};

class BurstOrder {
 public:
  BurstOrder(const Bursts& bursts, int64_t writers) : walk_(bursts, writers) { Load(); }
  bool done() const { return walk_.done(); }
  const Identity& wanted() const { return wanted_; }
  void Advance() {
    walk_.Advance(1);
    Load();
  }

 private:
  void Load() {
    if (!walk_.done()) wanted_ = {walk_.writer(), walk_.seq()};
  }

  OrderWalk walk_;
  Identity wanted_{};
};

// As glibc's malloc rounds: 8 bytes of its own, multiples of 16.
int64_t Allocated(int64_t bytes) { return (bytes + 8 + 15) / 16 * 16; }

}  // namespace

int64_t Main1Bytes(int64_t records, int64_t value_bytes) {
  constexpr int64_t kNodeBytes = sizeof(void*) + sizeof(Identity) + sizeof(std::string);
  constexpr int64_t kInlineBytes = 15;  // Of std::string.
  const int64_t value = value_bytes > kInlineBytes ? Allocated(value_bytes + 1) : 0;
  return records * (Allocated(kNodeBytes) + value + static_cast<int64_t>(sizeof(void*)));
}

absl::StatusOr<Main1Counts> RunMain1(const CacheOrders& orders, int64_t value_bytes,
                                     const std::function<bool()>& go_on) {
  Main1<BurstOrder, Identity, std::string, IdentityHash> cache(
      BurstOrder(orders.ledger, orders.writers));
  const std::string value(static_cast<size_t>(value_bytes), 'v');
  size_t out_bytes = 0;
  int64_t taken = 0;
  for (OrderWalk log(orders.log, orders.writers); !log.done(); log.Advance(1)) {
    cache.Offer({log.writer(), log.seq()}, value,
                [&](const std::string& event) { out_bytes += event.size(); });
    constexpr int64_t kRecordsBetweenLooks = 4096;
    if (++taken % kRecordsBetweenLooks == 0 && !go_on()) return absl::CancelledError("stopped");
  }
  if (!cache.done() ||
      out_bytes != static_cast<size_t>(orders.records) * static_cast<size_t>(value_bytes)) {
    return absl::DataLossError("records are left in the cache");
  }
  return Main1Counts{.first_hits = cache.first_hits(),
                     .buffer_hits = cache.buffer_hits(),
                     .peak_records = cache.peak(),
                     .peak_bytes = Main1Bytes(cache.peak(), value_bytes)};
}

}  // namespace lockstep::sim
