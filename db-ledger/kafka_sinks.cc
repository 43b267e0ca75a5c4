#include "db-ledger/kafka_sinks.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

constexpr char kSourcePrefix[] = "stream:";
constexpr char kOutputPrefix[] = "?to=";
constexpr char kStepPrefix[] = "retired ";
constexpr char kStateRetiring[] = "sealing";
constexpr char kStateRetired[] = "done";
constexpr Epoch kJournalEpoch(0);

Retirement RetirementOf(const std::vector<StepInfo>& journal, const std::string& producer) {
  const std::string name = absl::StrCat(kStepPrefix, producer);
  for (const StepInfo& step : journal) {
    if (step.step != name) continue;
    return step.state == kStateRetired ? Retirement::kRetired : Retirement::kRetiring;
  }
  return Retirement::kNone;
}

// The heads of each output topic's streams, read once.
class OutputHeads {
 public:
  explicit OutputHeads(Ledger& ledger) : ledger_(ledger) {}

  absl::StatusOr<std::vector<Head>> Of(ProducerId producer, const std::string& topic) {
    const auto [it, inserted] = heads_.try_emplace(topic);
    if (inserted) LOCKSTEP_RETURN_IF_ERROR(Read(topic, it->second));
    std::vector<Head> own;
    for (const Head& head : it->second) {
      if (head.producer == producer) own.push_back(head);
    }
    return own;
  }

 private:
  absl::Status Read(const std::string& topic, std::vector<Head>& heads) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StreamInfo> streams, ledger_.FindStreams(topic));
    for (const StreamInfo& stream : streams) {
      LOCKSTEP_ASSIGN_OR_RETURN(const StreamPage page,
                                ledger_.ReadStream({stream.id, {}, 0, false}));
      heads.insert(heads.end(), page.heads.begin(), page.heads.end());
    }
    return absl::OkStatus();
  }

  Ledger& ledger_;
  std::map<std::string, std::vector<Head>> heads_;
};

// As Tenure::resume_point: of one stream the head says it, of several the checkpoint, below which
// everything is ledgered in all of them.
std::optional<Position> SentUpTo(const ProducerInfo& producer, const std::vector<Head>& heads) {
  std::string at = heads.size() == 1 ? heads.front().last_at : "";
  if (at.empty()) at = producer.checkpoint.value_or("");
  const auto position = ParsePosition(at);
  if (!position.ok()) return std::nullopt;
  return *position;
}

}  // namespace

std::string ToString(const KafkaSinkSource& source) {
  return absl::StrCat(kSourcePrefix, ToString(source.input), kOutputPrefix, source.output);
}

std::optional<KafkaSinkSource> ParseKafkaSinkSource(std::string_view text) {
  const std::string_view prefix = kSourcePrefix;
  const std::string_view separator = kOutputPrefix;
  const size_t end = text.find(separator);
  if (!text.starts_with(prefix) || end == std::string_view::npos) return std::nullopt;
  auto input = ParseStreamName(text.substr(prefix.size(), end - prefix.size()));
  if (!input.ok()) return std::nullopt;
  return KafkaSinkSource{*std::move(input), std::string(text.substr(end + separator.size()))};
}

absl::StatusOr<std::vector<KafkaSink>> ReadKafkaSinks(Ledger& ledger) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<ProducerInfo> producers, ledger.ListProducers());
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StepInfo> journal, ledger.ReadSteps(kJournalEpoch));
  OutputHeads outputs(ledger);
  std::vector<KafkaSink> sinks;
  for (const ProducerInfo& producer : producers) {
    std::optional<KafkaSinkSource> source = ParseKafkaSinkSource(producer.source);
    if (!source.has_value()) continue;
    LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<Head> heads,
                              outputs.Of(producer.id, source->output));
    sinks.push_back({producer, *std::move(source), SentUpTo(producer, heads),
                     RetirementOf(journal, producer.name)});
  }
  return sinks;
}

absl::StatusOr<Retirement> ReadRetirement(Ledger& ledger, const std::string& producer) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StepInfo> journal, ledger.ReadSteps(kJournalEpoch));
  return RetirementOf(journal, producer);
}

absl::Status CheckNotRetired(Ledger& ledger, const std::string& producer) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Retirement retirement, ReadRetirement(ledger, producer));
  if (retirement == Retirement::kNone) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the Kafka sink '", producer,
      "' was retired (lockstep-ledger seal --retired): what it would have to write first may be "
      "pruned; start it under another --group, which begins at the first record that is there"));
}

StepInfo RetirementStep(const std::string& producer, Retirement retirement) {
  return {kJournalEpoch, absl::StrCat(kStepPrefix, producer),
          retirement == Retirement::kRetired ? kStateRetired : kStateRetiring, "{}", 0};
}

}  // namespace lockstep
