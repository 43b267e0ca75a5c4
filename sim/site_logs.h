// SimLogReader shows a simulated log to the decisions of mirror-reconcile.
#ifndef LOCKSTEP_SIM_SITE_LOGS_H_
#define LOCKSTEP_SIM_SITE_LOGS_H_

#include "mirror-reconcile/log_reader.h"
#include "sim/broker.h"

namespace lockstep::sim {

class SimLogReader final : public LogReader {
 public:
  // `log` must outlive this.
  explicit SimLogReader(const SimLog& log) : log_(&log) {}

  absl::StatusOr<LogExtent> Extent() override { return LogExtent{Offset(0), log_->end()}; }

  absl::Status Read(Offset from, Offset end, const Take& take) override {
    for (const SimRecord& record : log_->records()) {
      if (record.offset < from || record.offset >= end) continue;
      const Content content(record);
      LogRecord view;
      view.offset = record.offset;
      view.kind = LogRecord::Kind::kOurs;
      view.header = {record.term, record.seq, record.at, record.producer};
      view.reinjected = record.reinjected.has_value();
      view.content = &content;
      take(view);
    }
    return absl::OkStatus();
  }

 private:
  class Content final : public RecordContent {
   public:
    explicit Content(const SimRecord& record) : record_(record) {}
    std::optional<std::string_view> key() const override { return std::nullopt; }
    std::optional<std::string_view> value() const override { return record_.payload.value; }
    int64_t timestamp_ms() const override { return 0; }
    void ForeignHeaders(std::vector<RunDigest::HeaderView>& headers) const override {
      headers.clear();
    }

   private:
    const SimRecord& record_;
  };

  const SimLog* log_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_SITE_LOGS_H_
