// LogReader: one partition of one topic, read by offset. The seam between the decisions of this
// folder and Kafka; the simulation and the tests have their own.
#ifndef LOCKSTEP_MIRROR_RECONCILE_LOG_READER_H_
#define LOCKSTEP_MIRROR_RECONCILE_LOG_READER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/digest.h"
#include "common/model/ids.h"
#include "common/model/record_header.h"

namespace lockstep {

// What a record carries besides its identity; read only when somebody needs it.
class RecordContent {
 public:
  virtual ~RecordContent() = default;
  virtual std::optional<std::string_view> key() const = 0;
  virtual std::optional<std::string_view> value() const = 0;
  virtual int64_t timestamp_ms() const = 0;
  // All headers but Lockstep's own, into `headers` (emptied first).
  virtual void ForeignHeaders(std::vector<RunDigest::HeaderView>& headers) const = 0;
};

// Views; valid during the callback only.
struct LogRecord {
  enum class Kind { kOurs, kForeign, kMalformed };  // By the `lockstep` header: good, none, bad.

  Offset offset;
  Kind kind = Kind::kForeign;
  RecordHeader header;                     // Meaningful iff kOurs.
  bool reinjected = false;                 // Carries `lockstep-reinjected`.
  const RecordContent* content = nullptr;  // nullptr only in tests that do not need it.
};

// The log holds offsets in [lo, hi); it may lack some (transaction markers).
struct LogExtent {
  Offset lo;
  Offset hi;
};

class LogReader {
 public:
  using Take = std::function<void(const LogRecord&)>;

  virtual ~LogReader() = default;
  virtual absl::StatusOr<LogExtent> Extent() = 0;
  // Calls `take` for every record with from ≤ offset < end, in offset order. REQUIRES: within the
  // extent. OUT_OF_RANGE iff the log no longer has `from` (retention moved meanwhile).
  virtual absl::Status Read(Offset from, Offset end, const Take& take) = 0;
};

// One of the topics at this site that hold a stream: the mirrored one, the local one, or one that
// is both (identity policy). `reader` must outlive it.
struct SiteLog {
  std::string topic;
  LogReader* reader = nullptr;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_LOG_READER_H_
