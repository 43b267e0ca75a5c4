#include "mirror-reconcile/report.h"

#include <cstdio>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "common/base/utf8.h"

namespace lockstep {
namespace {

class Json {
 public:
  Json() : writer_(buffer_) { writer_.StartObject(); }
  Json& Text(const char* name, std::string_view value) {
    writer_.Key(name);
    writer_.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
    return *this;
  }
  Json& Int(const char* name, int64_t value) {
    writer_.Key(name);
    writer_.Int64(value);
    return *this;
  }
  Json& Bool(const char* name, bool value) {
    writer_.Key(name);
    writer_.Bool(value);
    return *this;
  }
  Json& Null(const char* name) {
    writer_.Key(name);
    writer_.Null();
    return *this;
  }
  Json& Raw(const char* name, std::string_view json) {
    writer_.Key(name);
    writer_.RawValue(json.data(), json.size(), rapidjson::kObjectType);
    return *this;
  }
  std::string End() {
    writer_.EndObject();
    return buffer_.GetString();
  }

 private:
  rapidjson::StringBuffer buffer_;
  rapidjson::Writer<rapidjson::StringBuffer> writer_;
};

std::string ProducerJson(const ProducerGap& producer) {
  Json json;
  json.Text("producer", producer.name)
      .Int("ledgered_through", producer.ledgered_through.value())
      .Int("missing", producer.missing)
      .Int("reinjected_seen", producer.reinjected_seen);
  if (producer.missing > 0) {
    json.Int("first_seq", producer.first_missing.value())
        .Int("last_seq", producer.last_missing.value())
        .Text("at_first", producer.at_first)
        .Text("at_last", producer.at_last);
  }
  if (producer.hole) json.Int("hole", producer.hole->value());
  return json.End();
}

const std::string& NameOf(const Gap& gap, ProducerId id) {
  static const std::string kUnknown = "?";
  for (const ProducerGap& producer : gap.producers) {
    if (producer.producer == id) return producer.name;
  }
  return kUnknown;
}

std::string PieceJson(const Gap& gap, const GapPiece& piece) {
  return Json()
      .Text("producer", NameOf(gap, piece.run.producer))
      .Int("term", piece.run.term.value())
      .Int("first_seq", piece.first_seq.value())
      .Int("last_seq", piece.last_seq.value())
      .Text("from", ToString(piece.first_position))
      .Text("to", ToString(PositionOf(piece.run, piece.last_seq)))
      .End();
}

std::string ExampleJson(const AnomalyExample& example) {
  Json json;
  json.Text("producer", example.producer)
      .Int("term", example.term.value())
      .Int("seq", example.seq.value());
  if (example.position) json.Text("position", ToString(*example.position));
  if (!example.topic.empty()) {
    json.Text("topic", example.topic).Int("log_offset", example.log_offset.value());
  }
  if (!example.detail.empty()) json.Text("detail", example.detail);
  return json.End();
}

}  // namespace

void SayThatNothingWasDone() { std::fputs("Nothing was changed: add --execute.\n", stderr); }

std::string JsonArray(const std::vector<std::string>& values) {
  return absl::StrCat("[", absl::StrJoin(values, ","), "]");
}

std::string JsonString(std::string_view text) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  return buffer.GetString();
}

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
  Json json;
  json.Text("stream", ToString(gap.stream.name)).Int("gap_records", gap.records);
  if (gap.ledger_end) {
    json.Text("ledger_end", ToString(*gap.ledger_end));
  } else {
    json.Null("ledger_end");
  }
  if (gap.removed_below) json.Text("removed_below", ToString(*gap.removed_below));
  return json.Bool("proven", gap.proven)
      .Raw("producers", JsonArray(producers))
      .Raw("pieces", JsonArray(pieces))
      .Int("pieces_total", static_cast<int64_t>(gap.pieces.size()))
      .Int("records_read", gap.evidence.records_read)
      .Int("unledgered", gap.unledgered)
      .Int("strangers", gap.evidence.strangers)
      .Int("foreign", gap.evidence.foreign)
      .Int("malformed", gap.evidence.malformed)
      .Raw("how", JsonArray(how))
      .End();
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
  Json counts;
  std::vector<std::string> examples;
  for (const auto& [anomaly, count] : verdicts.anomalies) {
    counts.Int(std::string(ToString(anomaly)).c_str(), count.records);
    for (const AnomalyExample& example : count.first) {
      if (!IsBad(anomaly) && anomaly != Anomaly::kRemoved && anomaly != Anomaly::kUnexpected) break;
      examples.push_back(
          Json().Text("anomaly", ToString(anomaly)).Raw("record", ExampleJson(example)).End());
    }
  }
  return Json()
      .Text("stream", ToString(stream))
      .Bool("good", verdicts.good())
      .Int("ledgered", verdicts.ledgered)
      .Int("found", verdicts.found)
      .Int("records_read", verdicts.records_read)
      .Int("digests_checked", verdicts.digests_checked)
      .Raw("anomalies", counts.End())
      .Raw("examples", JsonArray(examples))
      .End();
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
    values.push_back(Json()
                         .Text("producer", record.producer)
                         .Int("term", record.term.value())
                         .Int("seq", record.seq.value())
                         .Text("position", ToString(record.position))
                         .Text("why", record.why)
                         .End());
  }
  return JsonArray(values);
}

std::string InDoubtJson(const std::vector<InDoubtRecord>& records) {
  std::vector<std::string> values;
  for (const InDoubtRecord& record : records) {
    Json json;
    json.Text("group", record.group)
        .Text("stream", ToString(record.stream))
        .Int("epoch", record.position.epoch.value())
        .Int("offset", record.position.offset.value())
        .Text("producer", record.producer)
        .Int("term", record.term.value())
        .Int("seq", record.seq.value())
        .Text("at", record.at);
    if (!record.key) {
      json.Null("key");
    } else if (IsUtf8(*record.key)) {
      json.Text("key", *record.key);
    } else {
      json.Text("key_b64", absl::Base64Escape(*record.key));
    }
    values.push_back(json.End());
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
    Json json;
    json.Text("reason", ToString(reason.reason));
    if (!reason.stream.empty()) json.Text("stream", reason.stream);
    values.push_back(json.Text("message", reason.message).End());
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
