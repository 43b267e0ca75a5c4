#include "bench/ledger_writer.h"

#include <utility>

#include "common/base/status_macros.h"

namespace lockstep::bench {

absl::StatusOr<LedgerWriter> LedgerWriter::Open(Ledger& ledger, const std::string& producer,
                                                const std::string& topic,
                                                const std::string& cluster_id, int32_t partition,
                                                int32_t partition_count) {
  const Commit<OpenedProducer> opened =
      ledger.OpenProducer({.producer = producer,
                           .source = "bench",
                           .topic = topic,
                           .partition_count = partition_count,
                           .partitions = {{.partition = partition, .log_end = Offset(0)}},
                           .cluster_id = cluster_id,
                           .log_topic = topic});
  if (!opened.committed()) return Annotate(opened.why, "open " + producer);
  const OpenedStream& stream = opened.value.streams.front();
  const Commit<Moved> closed =
      ledger.CloseEarlierTerms(opened.value.producer, {{stream.stream, stream.term}});
  if (!closed.committed()) return Annotate(closed.why, "close the earlier terms of " + producer);
  return LedgerWriter(ledger, opened.value.producer, stream.stream, stream.term);
}

absl::Status LedgerWriter::Append(const OffsetRanges& offsets) {
  AppendRequest request{.producer = producer_, .runs = {}, .checkpoint = std::nullopt};
  Seq next = last_seq_ + 1;
  for (OffsetRanges& piece : CutRanges(offsets, kRangesPerRunMax)) {
    const Seq last = next + (piece.count() - 1);
    // The source position is as long as a serial column's; the digest is any number.
    request.runs.push_back({.stream = stream_,
                            .tenure_term = term_,
                            .run = {.producer = producer_,
                                    .epoch = Epoch(0),
                                    .term = term_,
                                    .first_seq = next,
                                    .last_seq = last,
                                    .offsets = std::move(piece),
                                    .at_first = ToString(next),
                                    .at_last = ToString(last),
                                    .digest = static_cast<uint64_t>(last.value()),
                                    .payload = {}}});
    next = last + 1;
  }
  const Commit<Appended> appended = ledger_->Append(request);
  if (!appended.committed()) return Annotate(appended.why, "append");
  last_seq_ = next - 1;
  return absl::OkStatus();
}

std::vector<OffsetRanges> CutRanges(const OffsetRanges& offsets, size_t ranges_max) {
  std::vector<OffsetRanges> pieces;
  size_t in_piece = ranges_max;
  for (const OffsetRange& range : offsets.ranges()) {
    if (in_piece == ranges_max) {
      pieces.emplace_back();
      in_piece = 0;
    }
    pieces.back().Append(range);
    ++in_piece;
  }
  return pieces;
}

}  // namespace lockstep::bench
