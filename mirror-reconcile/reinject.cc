#include "mirror-reconcile/reinject.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

constexpr int64_t kProgressEvery = 1000;

// The records of the pieces that are being written, fetched when a piece's turn first comes.
class OpenRuns {
 public:
  OpenRuns(const Gap& gap, const RunFetcher& fetch, const ReinjectOptions& options,
           ReinjectResult& result)
      : gap_(gap), fetch_(fetch), options_(options), result_(result) {
    for (const ProducerGap& producer : gap.producers) names_[producer.producer] = producer.name;
  }

  const std::string& NameOf(size_t piece) const {
    return names_.at(gap_.pieces[piece].run.producer);
  }

  absl::StatusOr<const std::vector<SourceEvent>*> Get(size_t piece) {
    const auto it = open_.find(piece);
    if (it != open_.end()) return &it->second;
    absl::StatusOr<std::vector<SourceEvent>> events = fetch_(NameOf(piece), gap_.pieces[piece].run);
    if (!events.ok()) {
      if (!options_.allow_data_loss || !absl::IsNotFound(events.status())) return events.status();
      events = GiveUp(piece, std::string(events.status().message()));
    }
    return &open_.emplace(piece, std::move(events).value()).first->second;
  }

  void Close(size_t piece) { open_.erase(piece); }

 private:
  std::vector<SourceEvent> GiveUp(size_t piece, const std::string& why) {
    const GapPiece& lost = gap_.pieces[piece];
    for (Seq seq = lost.first_seq; seq <= lost.last_seq; ++seq) {
      result_.given_up.push_back(
          {NameOf(piece), lost.run.term, seq, PositionOf(lost.run, seq), why});
    }
    SourceEvent placeholder;
    placeholder.payload.headers.emplace_back(kGivenUpHeaderKey, ToString(options_.label));
    return std::vector<SourceEvent>(static_cast<size_t>(lost.run.last_seq - lost.run.first_seq + 1),
                                    placeholder);
  }

  const Gap& gap_;
  const RunFetcher& fetch_;
  const ReinjectOptions& options_;
  ReinjectResult& result_;
  std::map<ProducerId, std::string> names_;
  std::map<size_t, std::vector<SourceEvent>> open_;
};

absl::Status RefuseHole(const Gap& gap) {
  for (const ProducerGap& producer : gap.producers) {
    if (!producer.hole) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "the log of ", ToString(gap.stream.name), " lacks seq ", producer.hole->value(),
        " of producer '", producer.name,
        "' but has later ones: appending cannot mend its order (I1). Re-inject into a fresh topic "
        "(--mirror-topic NAME, after creating it), and read that one"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ReinjectResult> Reinject(const Gap& gap, const RunFetcher& fetch, RecordSink& sink,
                                        const ReinjectOptions& options) {
  LOCKSTEP_RETURN_IF_ERROR(RefuseHole(gap));
  ReinjectResult result;
  OpenRuns runs(gap, fetch, options, result);
  ReinjectPlan plan(gap, options.order);
  int64_t written = 0;
  while (const std::optional<ReinjectSlice> slice = plan.Next()) {
    const GapPiece& piece = gap.pieces[slice->piece];
    const absl::StatusOr<const std::vector<SourceEvent>*> fetched = runs.Get(slice->piece);
    if (!fetched.ok()) {
      sink.Flush().IgnoreError();  // What stands before it may as well be there; the error counts.
      return fetched.status();
    }
    const std::vector<SourceEvent>& events = **fetched;
    for (Seq seq = slice->first_seq; seq <= slice->last_seq; ++seq) {
      const SourceEvent& event = events[static_cast<size_t>(seq - piece.run.first_seq)];
      LOCKSTEP_RETURN_IF_ERROR(
          sink.Write({piece.run.term, seq, event.at, runs.NameOf(slice->piece)}, options.label,
                     event.payload));
      if (++written % kProgressEvery == 0 && options.on_progress) options.on_progress(written);
    }
    if (slice->last_of_piece) runs.Close(slice->piece);
  }
  LOCKSTEP_RETURN_IF_ERROR(sink.Flush());
  if (options.on_progress) options.on_progress(written);
  result.written = written - static_cast<int64_t>(result.given_up.size());
  return result;
}

}  // namespace lockstep
