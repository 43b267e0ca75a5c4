// StreamPayloadSource makes again what a Kafka sink wrote (`lockstep-reorder --sink kafka:…`).
//
// Such a sink is a function of its input: the records that the input's ledger names, in its order,
// their content unchanged, each to the partition that the producer's rule gives it. So where the
// input is whole at this site, in whatever topic and order, any run of the output can be made from
// it: the records between the run's first and last source position, which are positions of the
// input, found in the site's logs by identity. The caller proves it by the run's digest, as always.
//
// Not thread-safe.
#ifndef LOCKSTEP_MIRROR_RECONCILE_STREAM_PAYLOAD_SOURCE_H_
#define LOCKSTEP_MIRROR_RECONCILE_STREAM_PAYLOAD_SOURCE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "mirror-reconcile/log_index.h"
#include "producer/sources/payload_source.h"

namespace lockstep {

// This site's logs of a stream: the mirrored one, the local one.
using OpenStreamLogs =
    std::function<absl::StatusOr<std::vector<std::unique_ptr<LogReader>>>(const StreamInfo&)>;

class StreamPayloadSource final : public PayloadSource {
 public:
  // `ledger` must outlive it. Opens nothing yet.
  StreamPayloadSource(Ledger& ledger, StreamName input, OpenStreamLogs open)
      : ledger_(ledger), input_(std::move(input)), open_(std::move(open)) {}

  absl::StatusOr<std::vector<SourceEvent>> Read(const PayloadRequest& request) override;

 private:
  // A record of the input, and where its content lies.
  struct Wanted {
    Position at;
    std::string producer;
    Term term;
    Seq seq;
    size_t log = 0;
    std::optional<Offset> offset = {};
  };
  absl::Status Open();
  absl::StatusOr<std::vector<Wanted>> Named(const Position& first, const Position& last);
  absl::Status Locate(std::vector<Wanted>& records);
  absl::Status Missing(const Wanted& record) const;
  absl::StatusOr<std::vector<SourceEvent>> Fetch(const std::vector<Wanted>& records);

  Ledger& ledger_;
  const StreamName input_;
  const OpenStreamLogs open_;
  std::optional<StreamId> id_;  // Known once opened.
  std::vector<LogIndex> logs_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_STREAM_PAYLOAD_SOURCE_H_
