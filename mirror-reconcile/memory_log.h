// MemoryLog: a log in memory, for tests and simulation.
#ifndef LOCKSTEP_MIRROR_RECONCILE_MEMORY_LOG_H_
#define LOCKSTEP_MIRROR_RECONCILE_MEMORY_LOG_H_

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mirror-reconcile/log_reader.h"

namespace lockstep {

struct MemoryRecord {
  std::string producer;  // Empty: a foreign record.
  Term term;
  Seq seq;
  bool reinjected = false;
  std::optional<Payload> payload;
  std::string at;
};

class MemoryLog final : public LogReader {
 public:
  Offset Append(MemoryRecord record) {
    records_.push_back(std::move(record));
    return Offset(static_cast<int64_t>(records_.size()) - 1);
  }
  // What retention does: nothing below `lo` can be read any more.
  void RemoveBelow(Offset lo) { lo_ = lo; }
  // What a lost leader does: nothing at or above `hi` is left.
  void Truncate(Offset hi) { records_.resize(static_cast<size_t>(hi.value())); }

  const std::vector<MemoryRecord>& records() const { return records_; }
  int64_t records_given() const { return records_given_; }

  absl::StatusOr<LogExtent> Extent() override {
    return LogExtent{lo_, Offset(static_cast<int64_t>(records_.size()))};
  }

  absl::Status Read(Offset from, Offset end, const Take& take) override {
    if (from < lo_) return absl::OutOfRangeError("the log no longer has the offset");
    const Offset last(std::min(end.value(), static_cast<int64_t>(records_.size())));
    for (Offset offset = from; offset < last; ++offset) {
      const MemoryRecord& record = records_[static_cast<size_t>(offset.value())];
      const Content content(record.payload);
      LogRecord out;
      out.offset = offset;
      out.kind = record.producer.empty() ? LogRecord::Kind::kForeign : LogRecord::Kind::kOurs;
      out.header = {record.term, record.seq, record.at, record.producer};
      out.reinjected = record.reinjected;
      if (record.payload) out.content = &content;
      ++records_given_;
      take(out);
    }
    return absl::OkStatus();
  }

 private:
  class Content final : public RecordContent {
   public:
    explicit Content(const std::optional<Payload>& payload) : payload_(payload) {}
    std::optional<std::string_view> key() const override { return payload_->key; }
    std::optional<std::string_view> value() const override { return payload_->value; }
    int64_t timestamp_ms() const override { return payload_->timestamp_ms; }
    void ForeignHeaders(std::vector<RunDigest::HeaderView>& headers) const override {
      headers.clear();
      for (const auto& [name, value] : payload_->headers) headers.emplace_back(name, value);
    }

   private:
    const std::optional<Payload>& payload_;
  };

  std::vector<MemoryRecord> records_;
  Offset lo_;
  int64_t records_given_ = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_MEMORY_LOG_H_
