#include "sim/checker.h"

#include <algorithm>
#include <set>

#include "common/base/check.h"
#include "sim/broker.h"

namespace lockstep::sim {
namespace {

std::string Name(const NamedRecord& r) {
  return absl::StrCat(r.producer, "/", r.term.value(), "/", r.seq.value());
}

std::string At(int32_t partition, const Position& position) {
  return absl::StrCat("stream ", partition, " position ", ToString(position));
}

}  // namespace

std::map<int32_t, StreamOrder> ReadAll(Ledger& ledger, const std::string& topic) {
  std::map<int32_t, StreamOrder> views;
  auto streams = ledger.FindStreams(topic);
  auto cursors = ledger.ReadCursors();
  LOCKSTEP_CHECK(streams.ok() && cursors.ok(), "a ledger in memory answers");
  for (const StreamInfo& stream : *streams) {
    StreamOrder& view = views[stream.name.partition];
    ReadStreamRequest request;
    request.stream = stream.id;
    request.runs_per_producer_max = 1'000'000;
    auto page = ledger.ReadStream(request);
    LOCKSTEP_CHECK(page.ok(), "a ledger in memory answers");
    std::map<ProducerId, std::string> names;
    for (const Head& head : page->heads) {
      names[head.producer] = head.name;
      view.heads[head.name] = head;
    }
    for (const Run& run : page->runs) {
      Seq seq = run.first_seq;
      for (const OffsetRange& range : run.offsets.ranges()) {
        for (Offset o = range.first; o < range.end; ++o, ++seq) {
          view.order[{run.epoch, o}] = {names[run.producer], run.term, seq};
        }
      }
    }
    for (const Cursor& cursor : *cursors) {
      if (cursor.stream == stream.id) view.cursors.push_back(cursor);
    }
  }
  return views;
}

Checker::Checker(std::string topic, const std::vector<SimSource>& sources, const Outside& outside,
                 TruthFn truth, Journal& journal)
    : topic_(std::move(topic)),
      sources_(sources),
      outside_(outside),
      truth_(std::move(truth)),
      journal_(journal) {}

void Checker::DurableIs(Ledger& ledger) {
  durable_ = ReadAll(ledger, topic_);
  for (const auto& [partition, view] : durable_) {
    CheckRows(partition, view);
    CheckSent(partition, view);
  }
  for (const SimSource& source : sources_) Told(source);
}

void Checker::CheckRows(int32_t partition, const StreamOrder& view) {
  std::map<std::string, Seq> last;
  for (const auto& [position, named] : view.order) {
    Seq& seq = last[named.producer];
    if (named.seq != seq + 1) {
      journal_.Violation(absl::StrCat("I1: ", At(partition, position), " holds ", Name(named),
                                      " after seq ", seq.value()));
    }
    seq = named.seq;
    const SimRecord* record = truth_(partition, position);
    if (record == nullptr || NamedRecord{record->producer, record->term, record->seq} != named) {
      journal_.Violation(absl::StrCat("I2: the ledger says that ", At(partition, position),
                                      " holds ", Name(named), ", the log holds ",
                                      record == nullptr ? "nothing" : Identity(*record)));
    }
    if (position < outside_.Last(partition) && !outside_.Seen(partition, position)) {
      journal_.Violation(absl::StrCat("I5: ", Name(named), " is at ", At(partition, position),
                                      ", below what has left, and has not left"));
    }
  }
}

void Checker::CheckSent(int32_t partition, const StreamOrder& view) {
  for (const Effect& effect : outside_.effects()) {
    if (effect.partition != partition) continue;
    auto row = view.order.find(effect.position);
    if (row == view.order.end() || row->second.producer != effect.producer ||
        row->second.seq != effect.seq) {
      journal_.Violation(
          absl::StrCat("I3: the effect of ", effect.producer, "/", effect.seq.value(), " left at ",
                       At(partition, effect.position), " and the durable ledger does not have it"));
    }
  }
}

void Checker::Leaves(const Effect& effect) {
  const std::string what =
      absl::StrCat(effect.producer, "/", effect.term.value(), "/", effect.seq.value(), " at ",
                   At(effect.partition, effect.position));
  for (const Effect& earlier : outside_.effects()) {
    if (earlier.partition == effect.partition && earlier.producer == effect.producer &&
        earlier.seq == effect.seq) {
      journal_.Violation(absl::StrCat("I5: duplicate: ", what, " leaves twice, first by ",
                                      earlier.gate, ", now by ", effect.gate));
      return;
    }
  }
  if (effect.position <= outside_.Last(effect.partition)) {
    journal_.Violation(absl::StrCat("I5: order: ", what, " leaves after ",
                                    ToString(outside_.Last(effect.partition))));
  }
  const StreamOrder& view = durable_[effect.partition];
  auto row = view.order.find(effect.position);
  if (row == view.order.end()) {
    journal_.Violation(absl::StrCat("I3: ", what, " leaves, the durable ledger has no row for it"));
    return;
  }
  for (auto before = view.order.begin(); before != row; ++before) {
    if (!outside_.Seen(effect.partition, before->first)) {
      journal_.Violation(absl::StrCat("I5: order: ", what, " leaves before ", Name(before->second),
                                      " at ", ToString(before->first)));
    }
  }
  bool intended = false;
  for (const Cursor& cursor : view.cursors) {
    intended = intended || (cursor.intent.has_value() && *cursor.intent >= effect.position);
  }
  if (!intended) {
    journal_.Violation(absl::StrCat("I4: ", what, " leaves, no durable intent covers it"));
  }
  const SimRecord* record = truth_(effect.partition, effect.position);
  if (record == nullptr || record->producer != effect.producer || record->seq != effect.seq ||
      record->payload.value != effect.value) {
    journal_.Violation(absl::StrCat(
        "wrong copy: ", what, " leaves as '", effect.value,
        "', the record that the ledger names is ",
        record == nullptr ? "not there" : absl::StrCat("'", *record->payload.value, "'")));
  }
}

void Checker::Told(const SimSource& source) {
  std::set<int32_t> partitions;
  for (int64_t at = 1; at <= source.acknowledged(); ++at) partitions.insert(source.PartitionOf(at));
  for (int32_t partition : partitions) {
    const Seq told = source.LastSeq(partition, source.acknowledged());
    auto head = durable_[partition].heads.find(source.producer());
    if (head == durable_[partition].heads.end() || head->second.last_seq < told) {
      journal_.Violation(absl::StrCat("I6: the source of ", source.producer(), " was told ",
                                      source.acknowledged(), " (seq ", told.value(), " of stream ",
                                      partition, "), the durable ledger does not have it"));
    }
  }
}

std::string Checker::Missing() const {
  for (const SimSource& source : sources_) {
    for (int64_t at = 1; at <= source.size(); ++at) {
      const bool left = std::any_of(
          outside_.effects().begin(), outside_.effects().end(), [&](const Effect& effect) {
            return effect.producer == source.producer() &&
                   effect.partition == source.PartitionOf(at) && effect.seq == source.SeqOf(at);
          });
      if (!left) return absl::StrCat(source.producer(), "#", at);
    }
  }
  return "";
}

}  // namespace lockstep::sim
