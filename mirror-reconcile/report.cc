#include "mirror-reconcile/report.h"

#include <cstdio>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "common/base/utf8.h"
#include "common/config/terminal.h"

namespace lockstep {
namespace {

std::string ProducerJson(const ProducerGap& producer) {
  Summary json;
  json.Add("producer", producer.name)
      .Add("ledgered_through", producer.ledgered_through.value())
      .Add("missing", producer.missing)
      .Add("reinjected_seen", producer.reinjected_seen);
  if (producer.missing > 0) {
    json.Add("first_seq", producer.first_missing.value())
        .Add("last_seq", producer.last_missing.value())
        .Add("at_first", producer.at_first)
        .Add("at_last", producer.at_last);
  }
  if (producer.hole) json.Add("hole", producer.hole->value());
  return json.Json();
}

const std::string& NameOf(const Gap& gap, ProducerId id) {
  static const std::string kUnknown = "?";
  for (const ProducerGap& producer : gap.producers) {
    if (producer.producer == id) return producer.name;
  }
  return kUnknown;
}

std::string PieceJson(const Gap& gap, const GapPiece& piece) {
  return Summary()
      .Add("producer", NameOf(gap, piece.run.producer))
      .Add("term", piece.run.term.value())
      .Add("first_seq", piece.first_seq.value())
      .Add("last_seq", piece.last_seq.value())
      .Add("from", ToString(piece.first_position))
      .Add("to", ToString(PositionOf(piece.run, piece.last_seq)))
      .Json();
}

std::string ExampleJson(const AnomalyExample& example) {
  Summary json;
  json.Add("producer", example.producer)
      .Add("term", example.term.value())
      .Add("seq", example.seq.value());
  if (example.position) json.Add("position", ToString(*example.position));
  if (!example.topic.empty()) {
    json.Add("topic", example.topic).Add("log_offset", example.log_offset.value());
  }
  if (!example.detail.empty()) json.Add("detail", example.detail);
  return json.Json();
}

}  // namespace

void SayThatNothingWasDone() { std::fputs("Nothing was changed: add --execute.\n", stderr); }

std::string GapJson(const Gap& gap) {
  std::vector<std::string> producers;
  for (const ProducerGap& producer : gap.producers) producers.push_back(ProducerJson(producer));
  std::vector<std::string> pieces;
  for (const GapPiece& piece : gap.pieces) {
    if (pieces.size() == kPiecesTold) break;
    pieces.push_back(PieceJson(gap, piece));
  }
  std::vector<std::string> how;
  for (const std::string& sentence : gap.how) how.push_back(JsonString(sentence));
  Summary json;
  json.Add("stream", ToString(gap.stream.name)).Add("gap_records", gap.records);
  if (gap.ledger_end) {
    json.Add("ledger_end", ToString(*gap.ledger_end));
  } else {
    json.AddJson("ledger_end", "null");
  }
  if (gap.removed_below) json.Add("removed_below", ToString(*gap.removed_below));
  return json.Add("proven", gap.proven)
      .AddJson("producers", JsonArray(producers))
      .AddJson("pieces", JsonArray(pieces))
      .Add("pieces_total", static_cast<int64_t>(gap.pieces.size()))
      .Add("records_read", gap.evidence.records_read)
      .Add("unledgered", gap.unledgered)
      .Add("strangers", gap.evidence.strangers)
      .Add("foreign", gap.evidence.foreign)
      .Add("malformed", gap.evidence.malformed)
      .AddJson("how", JsonArray(how))
      .Json();
}

std::string GapText(const Gap& gap) {
  std::string text = absl::StrCat(ToString(gap.stream.name), "  gap ", gap.records, " record(s)");
  if (gap.ledger_end) absl::StrAppend(&text, ", ledger ends at ", ToString(*gap.ledger_end));
  absl::StrAppend(&text, "\n");
  for (const ProducerGap& producer : gap.producers) {
    absl::StrAppend(&text, "  ", producer.name, ": ");
    if (producer.missing == 0) {
      absl::StrAppend(&text, "complete up to seq ", producer.ledgered_through.value(), "\n");
      continue;
    }
    absl::StrAppend(&text, producer.missing, " missing, seqs ", producer.first_missing.value(),
                    " to ", producer.last_missing.value(), ", source positions ", producer.at_first,
                    " to ", producer.at_last, "\n");
    if (producer.hole) {
      absl::StrAppend(&text, "    HOLE: seq ", producer.hole->value(),
                      " is missing and later ones are there\n");
    }
  }
  if (gap.removed_below) {
    absl::StrAppend(&text, "  retention removed what lies below ", ToString(*gap.removed_below),
                    "\n");
  }
  for (const std::string& sentence : gap.how) absl::StrAppend(&text, "  how: ", sentence, "\n");
  return text;
}

std::string VerdictsJson(const StreamName& stream, const Verdicts& verdicts) {
  Summary counts;
  std::vector<std::string> examples;
  for (const auto& [anomaly, count] : verdicts.anomalies) {
    counts.Add(ToString(anomaly), count.records);
    for (const AnomalyExample& example : count.first) {
      if (!IsBad(anomaly) && anomaly != Anomaly::kRemoved && anomaly != Anomaly::kUnexpected) break;
      examples.push_back(Summary()
                             .Add("anomaly", ToString(anomaly))
                             .AddJson("record", ExampleJson(example))
                             .Json());
    }
  }
  return Summary()
      .Add("stream", ToString(stream))
      .Add("good", verdicts.good())
      .Add("ledgered", verdicts.ledgered)
      .Add("found", verdicts.found)
      .Add("records_read", verdicts.records_read)
      .Add("digests_checked", verdicts.digests_checked)
      .AddJson("anomalies", counts.Json())
      .AddJson("examples", JsonArray(examples))
      .Json();
}

std::string VerdictsText(const StreamName& stream, const Verdicts& verdicts) {
  std::string text =
      absl::StrCat(ToString(stream), "  ", verdicts.good() ? "good" : "BAD", ": ", verdicts.found,
                   " of ", verdicts.ledgered, " ledgered records are here, ", verdicts.records_read,
                   " read, ", verdicts.digests_checked, " digests checked\n");
  for (const auto& [anomaly, count] : verdicts.anomalies) {
    if (count.records == 0) continue;
    absl::StrAppend(&text, "  ", std::string(ToString(anomaly)), " ", count.records,
                    IsBad(anomaly) ? "" : " (harmless)", "\n");
    if (!IsBad(anomaly) && anomaly != Anomaly::kRemoved && anomaly != Anomaly::kUnexpected)
      continue;
    for (const AnomalyExample& example : count.first) {
      absl::StrAppend(
          &text, "    ", example.producer, " term ", example.term.value(), " seq ",
          example.seq.value(), example.position ? " at " + ToString(*example.position) : "",
          example.topic.empty()
              ? ""
              : absl::StrCat(" in ", example.topic, " offset ", example.log_offset.value()),
          example.detail.empty() ? "" : ": " + example.detail, "\n");
    }
  }
  return text;
}

std::string GivenUpJson(const std::vector<GivenUpRecord>& records) {
  std::vector<std::string> values;
  for (const GivenUpRecord& record : records) {
    values.push_back(Summary()
                         .Add("producer", record.producer)
                         .Add("term", record.term.value())
                         .Add("seq", record.seq.value())
                         .Add("position", ToString(record.position))
                         .Add("why", record.why)
                         .Json());
  }
  return JsonArray(values);
}

std::string InDoubtJson(const std::vector<InDoubtRecord>& records) {
  std::vector<std::string> values;
  for (const InDoubtRecord& record : records) {
    Summary json;
    json.Add("group", record.group)
        .Add("stream", ToString(record.stream))
        .Add("epoch", record.position.epoch.value())
        .Add("offset", record.position.offset.value())
        .Add("producer", record.producer)
        .Add("term", record.term.value())
        .Add("seq", record.seq.value())
        .Add("at", record.at);
    if (!record.key) {
      json.AddJson("key", "null");
    } else if (IsUtf8(*record.key)) {
      json.Add("key", *record.key);
    } else {
      json.Add("key_b64", absl::Base64Escape(*record.key));
    }
    values.push_back(json.Json());
  }
  return JsonArray(values);
}

std::string InDoubtText(const std::vector<InDoubtRecord>& records) {
  std::string text;
  for (const InDoubtRecord& record : records) {
    absl::StrAppend(&text, "  in doubt: group ", record.group, ", ", ToString(record.stream),
                    " at ", ToString(record.position), ", producer ", record.producer, " term ",
                    record.term.value(), " seq ", record.seq.value(), ", source position ",
                    record.at, ", key ",
                    record.key ? absl::CHexEscape(*record.key) : std::string("none"), "\n");
  }
  return text;
}

std::string NoGoJson(const std::vector<NoGoReason>& reasons) {
  std::vector<std::string> values;
  for (const NoGoReason& reason : reasons) {
    Summary json;
    json.Add("reason", ToString(reason.reason));
    if (!reason.stream.empty()) json.Add("stream", reason.stream);
    values.push_back(json.Add("message", reason.message).Json());
  }
  return JsonArray(values);
}

std::string NoGoText(const std::vector<NoGoReason>& reasons) {
  std::string text;
  for (const NoGoReason& reason : reasons) {
    absl::StrAppend(&text, "  no-go (", std::string(ToString(reason.reason)), ") ", reason.stream,
                    reason.stream.empty() ? "" : ": ", reason.message, "\n");
  }
  return text;
}

}  // namespace lockstep
