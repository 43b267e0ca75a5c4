// The suites of lockstep-bench. Each runs its figures and reports them as they come.
#ifndef LOCKSTEP_BENCH_SUITES_H_
#define LOCKSTEP_BENCH_SUITES_H_

#include <functional>

#include "absl/status/status.h"

#include "bench/measure.h"
#include "bench/site.h"

namespace lockstep::bench {

using Report = std::function<void(const Figure&)>;

// Header, digest, ranges: nanoseconds a record.
absl::Status RunMicro(Site& site, const Report& report);
// Source → Kafka → ledger against a raw idempotent producer of the same bytes.
absl::Status RunProducer(Site& site, const Report& report);
// Bytes and WAL a record, and what a commit costs, by the interval between commits.
absl::Status RunLedger(Site& site, const Report& report);
// Restoring the ledger's order against a raw consumer that reads the header.
absl::Status RunReorder(Site& site, const Report& report);
// Its bounded buffer on the source document's cells: how often it fetches, and how much. Not taken
// unless asked for (--only).
absl::Status RunBoundedCells(Site& site, const Report& report);
// What compressing spilled records saves and costs. Not taken unless asked for.
absl::Status RunSpillCompression(Site& site, const Report& report);
// The part of it that is decisions alone, against a hash table.
absl::Status RunEngine(Site& site, const Report& report);
// Finding the same gap behind a short log and behind a long one.
absl::Status RunReconcile(Site& site, const Report& report);
// A Pika's log taken apart, made events of, and through the whole producer.
absl::Status RunPika(Site& site, const Report& report);
// Its full copy, and the memory that it takes; a part of RunPika.
absl::Status RunPikaSnapshot(Site& site, const Report& report);
// From the kill of a site to the first new effect, on a stack of its own.
absl::Status RunFailover(Site& site, const Report& report);

}  // namespace lockstep::bench

#endif  // LOCKSTEP_BENCH_SUITES_H_
