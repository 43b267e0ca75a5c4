#include "sim/cache_optimal.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "common/base/check.h"
#include "sim/log_index.h"
#include "sim/order_walk.h"

namespace lockstep::sim {
namespace {

// Never needed again. Larger than every number of a visit.
constexpr uint32_t kNever = std::numeric_limits<uint32_t>::max();

// Calls visit(chunk, records) for the chunks in the order in which the ledger needs them; the same
// one may come several times in a row.
template <class Visit>
void ForEachVisit(const CacheOrders& orders, const LogIndex& log, int64_t chunk_records,
                  Visit visit) {
  std::vector<size_t> hints(static_cast<size_t>(orders.writers));
  for (OrderWalk wanted(orders.ledger, orders.writers); !wanted.done();) {
    const int32_t writer = wanted.writer();
    const int64_t seq = wanted.seq();
    const size_t burst = log.Find(writer, seq, hints[static_cast<size_t>(writer)]);
    LOCKSTEP_CHECK(burst < log.bursts(), "the log holds what the ledger names");
    const int64_t in_burst = seq - log.seq(burst);
    const int64_t offset = log.offset(burst) + in_burst;
    const int64_t chunk = offset / chunk_records;
    const int64_t count = std::min({wanted.left_in_burst(), log.count(burst) - in_burst,
                                    (chunk + 1) * chunk_records - offset});
    visit(static_cast<uint32_t>(chunk), count);
    wanted.Advance(count);
  }
}

// For each visit (a chunk that differs from the one before) the number of its next one.
std::vector<uint32_t> NextVisits(const CacheOrders& orders, const LogIndex& log,
                                 int64_t chunk_records, size_t chunks) {
  std::vector<uint32_t> visits;
  ForEachVisit(orders, log, chunk_records, [&](uint32_t chunk, int64_t) {
    if (visits.empty() || visits.back() != chunk) visits.push_back(chunk);
  });
  std::vector<uint32_t> next_of(chunks, kNever);
  for (size_t i = visits.size(); i-- > 0;) {
    const uint32_t chunk = visits[i];
    visits[i] = next_of[chunk];
    next_of[chunk] = static_cast<uint32_t>(i);
  }
  return visits;
}

// The chunks that are held, each with its next visit.
class HeldChunks {
 public:
  HeldChunks(size_t chunks, size_t capacity) : place_(chunks, kNever), capacity_(capacity) {}

  bool Holds(uint32_t chunk) const { return place_[chunk] != kNever; }
  size_t size() const { return held_.size(); }

  // Drops the one needed furthest ahead, if there is no room for one more.
  void MakeRoom() {
    if (held_.size() < capacity_) return;
    Drop(std::max_element(held_.begin(), held_.end(), [](const Held& a, const Held& b) {
           return a.next_visit < b.next_visit;
         })->chunk);
  }
  void Add(uint32_t chunk) {
    place_[chunk] = static_cast<uint32_t>(held_.size());
    held_.push_back({chunk, 0});
  }
  void SetNextVisit(uint32_t chunk, uint32_t visit) {
    if (visit == kNever) {
      Drop(chunk);
    } else {
      held_[place_[chunk]].next_visit = visit;
    }
  }

 private:
  struct Held {
    uint32_t chunk;
    uint32_t next_visit;
  };
  void Drop(uint32_t chunk) {
    const uint32_t place = place_[chunk];
    held_[place] = held_.back();
    place_[held_[place].chunk] = place;
    held_.pop_back();
    place_[chunk] = kNever;
  }

  std::vector<uint32_t> place_;  // In held_; kNever: not held.
  std::vector<Held> held_;
  const size_t capacity_;
};

// Σ over the writers of the chunks that hold a record of theirs.
int64_t ChunksPerWriter(const CacheOrders& orders, const LogIndex& log, int64_t chunk_records) {
  std::vector<int64_t> last_chunk(static_cast<size_t>(orders.writers), -1);
  int64_t sum = 0;
  for (size_t burst = 0; burst < log.bursts(); ++burst) {
    int64_t& last = last_chunk[static_cast<size_t>(log.writer(burst))];
    const int64_t first = std::max(last + 1, log.offset(burst) / chunk_records);
    const int64_t end = (log.offset(burst) + log.count(burst) - 1) / chunk_records;
    sum += std::max<int64_t>(0, end - first + 1);
    last = std::max(last, end);
  }
  return sum;
}

}  // namespace

int64_t ChunkFor(int64_t budget_records, int64_t writers, int64_t poll_records) {
  return std::min(poll_records, budget_records / (2 * writers));
}

OptimalCounts RunOptimal(const CacheOrders& orders, const OptimalOptions& options) {
  const int64_t chunk_records = options.chunk_records;
  LOCKSTEP_CHECK(chunk_records > 0 && chunk_records <= options.budget_records, "one chunk fits");
  const LogIndex log(orders.log, orders.writers);
  const auto capacity = static_cast<size_t>(options.budget_records / chunk_records);
  OptimalCounts counts;
  counts.least = (orders.records + chunk_records - 1) / chunk_records;
  if (static_cast<int64_t>(capacity) >= orders.writers) {
    counts.bound = ChunksPerWriter(orders, log, chunk_records);
  }
  const auto chunks = static_cast<size_t>(counts.least);
  const std::vector<uint32_t> next = NextVisits(orders, log, chunk_records, chunks);

  HeldChunks held(chunks, capacity);
  size_t visit = 0;  // Number of the visit under way, from 1; 0: none yet.
  uint32_t at = kNever;
  bool loaded = false;  // By this visit.
  ForEachVisit(orders, log, chunk_records, [&](uint32_t chunk, int64_t count) {
    if (visit == 0 || chunk != at) {
      if (visit > 0) held.SetNextVisit(at, next[visit - 1]);
      at = chunk;
      ++visit;
      loaded = !held.Holds(chunk);
      if (loaded) {
        held.MakeRoom();
        held.Add(chunk);
        ++counts.loads;
        const int64_t first = int64_t{chunk} * chunk_records;
        counts.records_fetched += std::min(chunk_records, orders.records - first);
      }
      counts.peak_records =
          std::max(counts.peak_records, static_cast<int64_t>(held.size()) * chunk_records);
    }
    (loaded ? counts.first_hits : counts.buffer_hits) += count;
  });
  counts.peak_records = std::min(counts.peak_records, orders.records);
  return counts;
}

}  // namespace lockstep::sim
