// The shipped reorderer on an experiment's orders: LedgerOrder, Resequencer and a ParkingBuffer,
// record by record, without Kafka or a database. `lockstep-sim cache` and `reorder/engine/…` of the
// benchmarks run it.
#ifndef LOCKSTEP_SIM_CACHE_LOCKSTEP_H_
#define LOCKSTEP_SIM_CACHE_LOCKSTEP_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "db-ledger/ledger.h"
#include "reorder/parking/chunk_parking.h"
#include "reorder/parking/parking_buffer.h"
#include "reorder/record.h"
#include "reorder/resequencer.h"
#include "sim/cache_orders.h"
#include "sim/log_index.h"

namespace lockstep::sim {

// A frozen epoch's ledger that names the records of `ledger` in its order, as ReadStream gives it.
// A run takes the bursts of one writer between two commits, some 1,000 at most.
StreamPage LedgerPage(const Bursts& ledger, int64_t writers);

// The producer that writer number `writer` is.
std::string WriterName(int64_t writer);

// What a parked record takes with a value of `value_bytes`, as ProducerFifo lays it out.
int64_t ParkedBytes(int64_t value_bytes);

// The records of an experiment's log, made when they are asked for, also once more (ChunkParking).
class OrdersLog final : public LogFetcher {
 public:
  // `orders` must outlive it. Each record has a value of `value_bytes`.
  OrdersLog(const CacheOrders& orders, int64_t value_bytes);

  absl::Status Fetch(int topic, Offset first, Offset end, const Take& take) override;

  // The record at `offset` in burst number `burst`; its views live as long as this.
  FetchedRecord Record(size_t burst, int64_t offset) const;
  // Up to `count` records from `offset` on into `out` (emptied first). `burst`: at most the number
  // of the burst that holds `offset`; moves on.
  void Read(int64_t offset, size_t count, size_t& burst, std::vector<FetchedRecord>& out) const;
  const LogIndex& index() const { return index_; }

 private:
  void Fill(size_t burst, int64_t offset, FetchedRecord& record) const;

  const LogIndex index_;
  std::vector<std::string> names_;
  const std::string value_;
};

// Offers every record of `log` (made of `orders`), and takes what comes out in batches, as the
// program does. Every record that comes out is compared with the ledger's order: DATA_LOSS if it is
// another one, or if any is missing. CANCELLED once `go_on` (asked now and then) says no.
absl::StatusOr<ResequencerCounts> RunLockstep(const CacheOrders& orders, const OrdersLog& log,
                                              StreamPage page, ParkingBuffer& parking,
                                              const std::function<bool()>& go_on);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_LOCKSTEP_H_
