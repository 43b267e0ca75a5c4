#include "sim/gate_process.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "sim/mirror.h"

namespace lockstep::sim {
namespace {

constexpr size_t kReadyMax = 4;

std::string Text(const std::optional<Position>& position) {
  return position.has_value() ? ToString(*position) : "nothing";
}

FetchedRecord View(const SimRecord& record) {
  FetchedRecord view;
  view.header = {record.term, record.seq, record.at, record.producer};
  view.view.log_offset = record.offset;
  view.view.at = record.at;
  view.view.value = record.payload.value;
  return view;
}

}  // namespace

GateProcess::GateProcess(Parts& parts, int32_t partition, int site, int number, const All& all)
    : parts_(parts),
      partition_(partition),
      site_(site),
      name_(absl::StrCat("gate", number, "@", SiteName(site))),
      all_(all),
      client_(parts.ledger.Connect(site, name_)) {
  topics_.push_back(kTopic);
  const std::string mirrored =
      MirroredTopic(parts.scenario.mirror, parts.brokers[1 - site]->cluster_id(), kTopic);
  if (mirrored != kTopic) topics_.push_back(mirrored);
  next_.resize(topics_.size(), 0);
}

void GateProcess::Die(std::string_view why) {
  parts_.journal.Say(name_, ": ends, ", why);
  alive_ = false;
  parts_.ledger.Disconnect(client_);
}

void GateProcess::Stop(const absl::Status& why) {
  if (!parts_.ledger.IsLost(site_)) {
    parts_.journal.Stopped(absl::StrCat(name_, " stops: ", std::string(why.message())),
                           parts_.rule_is_off);
  }
  Die(std::string(why.message()));
}

void GateProcess::Crash() {
  if (gate_ != nullptr) {
    if (move_.has_value()) {
      parts_.journal.Saw(Event::gate_crash_before_intent);
    } else if (!batch_.empty()) {
      parts_.journal.Saw(sent_ ? Event::gate_crash_between_effects
                               : Event::gate_crash_before_effect);
    } else if (gate_->owes_done()) {
      parts_.journal.Saw(Event::gate_crash_before_done);
    }
  }
  Die("killed");
}

bool GateProcess::Step() {
  if (gate_ == nullptr) return Open();
  switch (parts_.random.Below(3)) {
    case 0:
      return SendOne() || Ask() || Intend() || ReadLogs() || ReadLedger() || Finish();
    case 1:
      return ReadLogs() || ReadLedger() || SendOne() || Ask() || Intend() || Finish();
    default:
      return Ask() || SendOne() || ReadLedger() || ReadLogs() || Intend() || Finish();
  }
}

// ---------------------------------------------------------------- start

bool GateProcess::Open() {
  if (asked_) return false;
  asked_ = true;
  parts_.ledger.Submit<OpenedGate>(
      client_, "gate opens",
      [name = StreamName{kTopic, partition_}](Ledger& ledger) {
        return ledger.OpenGate(kGroup, {name}, /*create=*/true);
      },
      [this](const Commit<OpenedGate>& answer) {
        asked_ = false;
        const bool use_unknown = answer.outcome == CommitOutcome::kUnknown &&
                                 !parts_.rules.abandon_open && !answer.value.cursors.empty();
        if (answer.committed() || use_unknown) {
          Opened(answer.value);
        } else if (answer.outcome == CommitOutcome::kUnknown) {
          parts_.journal.Saw(Event::gate_open_abandoned);  // The next open takes another term (C6).
          if (parts_.ledger.IsLost(site_) && parts_.random.Percent(50)) Die("open unknown");
        }
      },
      {.guesses = !parts_.rules.abandon_open});
  return true;
}

void GateProcess::Opened(const OpenedGate& opened) {
  const Cursor& cursor = opened.cursors.front();
  stream_ = cursor.stream;
  epoch_ = opened.epoch;
  Gate::Options options;
  options.rules = parts_.rules;
  options.group = kGroup;
  options.stream = stream_;
  options.name = {kTopic, partition_};
  gate_ = std::make_unique<Gate>(std::move(options), cursor);

  // Doubt: the operator ends whoever may still send, then the outside answers truly.
  Gate::Doubt doubt;
  if (gate_->in_doubt()) {
    parts_.journal.Saw(Event::gate_in_doubt);
    if (parts_.rules.old_gate_dead) {
      EndOtherGates();
      doubt.old_gate_is_dead = true;
    }
  }
  doubt.sink = SinkKind::kQueryable;
  const Position last = parts_.outside.Last(partition_);
  if (last.epoch > Epoch(0)) doubt.last = last;
  const bool in_doubt = gate_->in_doubt();
  if (in_doubt && parts_.random.Percent(50) &&
      (doubt.last == gate_->intent() || doubt.last == gate_->done())) {
    // A blind sink: the operator asked the outside by hand.
    doubt.sink = SinkKind::kBlind;
    doubt.policy = doubt.last == gate_->intent() ? InDoubtPolicy::kSkip : InDoubtPolicy::kResend;
  }
  parts_.journal.Say(
      name_, ": opened with term ", cursor.term.value(), ", done ", Text(cursor.done), ", intent ",
      Text(cursor.intent),
      in_doubt ? absl::StrCat(", in doubt; the outside has seen ", Text(doubt.last)) : "");
  if (in_doubt) {
    parts_.journal.Saw(doubt.last == gate_->intent() ? Event::gate_in_doubt_seen
                                                     : Event::gate_in_doubt_not_seen);
  }
  if (const absl::Status resolved = gate_->Resolve(doubt); !resolved.ok()) {
    // A newer gate may have sent since this one's term was taken; then this one is fenced already.
    InOffice() ? Stop(resolved) : Die("a newer gate is at work");
    return;
  }
  ResequencerOptions order;
  order.rules = parts_.rules;
  order.stream = {kTopic, partition_};
  order.epoch = epoch_;
  order.after = gate_->done();
  order.topics = static_cast<int>(topics_.size());
  resequencer_ = std::make_unique<Resequencer>(std::move(order), parking_);
  auto marks = parts_.ledger.Read(client_).MarksAfter(stream_, gate_->done());
  if (marks.ok()) resequencer_->set_marks(*std::move(marks));
}

bool GateProcess::InOffice() const {
  const auto& cursors = parts_.ledger.Primary().cursors;
  const auto cursor = cursors.find({kGroup, stream_});
  return cursor != cursors.end() && cursor->second.term == gate_->term();
}

void GateProcess::EndOtherGates() {
  for (const auto& other : all_) {
    if (other.get() == this || !other->alive_ || other->partition_ != partition_) continue;
    parts_.journal.Saw(Event::old_gate_ended_by_operator);
    other->Die("ended by the operator, since a newer gate is in doubt");
  }
}

// ---------------------------------------------------------------- reading

bool GateProcess::ReadLedger() {
  const bool wants = resequencer_->needs_page() || blocked_;
  if (!wants || ready_.size() >= kReadyMax) return false;
  auto& ledger = static_cast<MemoryLedger&>(parts_.ledger.Read(client_));
  if (ledger.state().lsn == seen_lsn_) return false;  // Nothing was committed since.
  seen_lsn_ = ledger.state().lsn;
  ReadStreamRequest request;
  request.stream = stream_;
  request.after = resequencer_->marks();
  request.runs_per_producer_max = parts_.random.Between(1, 3);
  auto page = ledger.ReadStream(request);
  if (!page.ok()) {
    Stop(page.status());
    return true;
  }
  if (!page->more.empty()) seen_lsn_ = Lsn(-1);
  blocked_ = false;
  std::vector<ReadyRecord> ready;
  const absl::Status added = resequencer_->AddPage(*std::move(page), ready);
  Keep(ready);
  if (absl::IsAborted(added)) {
    parts_.journal.Saw(Event::gate_fenced);
    Die("another epoch began");
  } else if (!added.ok()) {
    Stop(added);
  }
  return true;
}

bool GateProcess::ReadLogs() {
  if (resequencer_->drain_pending()) {
    std::vector<ReadyRecord> ready;
    const absl::Status drained = resequencer_->DrainParked(ready);
    Keep(ready);
    if (!drained.ok()) Stop(drained);
    return true;
  }
  if (ready_.size() >= kReadyMax || resequencer_->needs_page() || blocked_) return false;
  if (resequencer_->phase() == Resequencer::Phase::kCurrent) return Offer(kTopic, 0, false);
  const size_t first = parts_.random.Index(topics_.size());
  for (size_t i = 0; i < topics_.size(); ++i) {
    const size_t topic = (first + i) % topics_.size();
    if (Offer(topics_[topic], static_cast<int>(topic), true)) return true;
  }
  return false;
}

bool GateProcess::Offer(const std::string& topic, int index, bool frozen) {
  const SimLog* log = parts_.brokers[site_]->FindLog({topic, partition_});
  if (log == nullptr) return false;
  if (!frozen && !next_own_.has_value()) {
    auto logs = parts_.ledger.Read(client_).ReadLogs(stream_);
    if (!logs.ok()) return false;
    const auto own = std::find_if(logs->begin(), logs->end(),
                                  [&](const LogInfo& info) { return info.epoch == epoch_; });
    if (own == logs->end() || own->cluster_id != parts_.brokers[site_]->cluster_id()) return false;
    const Offset start = resequencer_->current_start(own->start);
    next_own_ = 0;
    while (*next_own_ < log->records().size() && log->records()[*next_own_].offset < start) {
      ++*next_own_;
    }
  }
  size_t& next = frozen ? next_[static_cast<size_t>(index)] : *next_own_;
  if (next >= log->records().size()) return false;
  const SimRecord& record = log->records()[next];
  std::vector<ReadyRecord> ready;
  const auto taken = frozen ? resequencer_->TakeFrozen(index, View(record), ready)
                            : resequencer_->TakeCurrent(View(record), ready);
  Keep(ready);
  if (!taken.ok()) {
    Stop(taken.status());
  } else if (*taken == Resequencer::Taken::kBlocked) {
    blocked_ = true;  // Not before the ledger has news.
  } else {
    ++next;
  }
  return true;
}

void GateProcess::Keep(const std::vector<ReadyRecord>& ready) {
  for (const ReadyRecord& record : ready) {
    ready_.push_back({partition_, record.position, std::string(record.producer), record.term,
                      record.seq, std::string(record.view.value.value_or("")), name_});
  }
  resequencer_->Release();
}

// ---------------------------------------------------------------- intent, effect, done

bool GateProcess::Intend() {
  if (move_.has_value() || !batch_.empty() || ready_.empty()) return false;
  for (int64_t n = parts_.random.Between(1, 3); n > 0 && !ready_.empty(); --n) {
    batch_.push_back(std::move(ready_.front()));
    ready_.pop_front();
  }
  move_ = gate_->Move(batch_.back().position);
  sent_.reset();
  return Ask();
}

// The done of the last batch goes alone when there is nothing else to say.
bool GateProcess::Finish() {
  if (move_.has_value() || !batch_.empty() || !ready_.empty() || !gate_->owes_done()) return false;
  move_ = gate_->Move(std::nullopt);
  return Ask();
}

bool GateProcess::Ask() {
  if (!move_.has_value() || asked_) return false;
  asked_ = true;
  parts_.ledger.Submit<Moved>(
      client_, absl::StrCat("cursor: intent ", Text(move_->intent), ", done ", Text(move_->done)),
      [move = *move_](Ledger& ledger) { return ledger.MoveCursor(move); },
      [this](const Commit<Moved>& answer) {
        asked_ = false;
        switch (gate_->Moved(*move_, answer)) {
          case Gate::Answer::kGo:
            move_.reset();
            break;
          case Gate::Answer::kRepeat:
            break;
          case Gate::Answer::kFenced:
            parts_.journal.Saw(Event::gate_fenced);
            Die("fenced");
            break;
          case Gate::Answer::kRefused:
            Stop(answer.why);
            break;
        }
      });
  return true;
}

bool GateProcess::SendOne() {
  if (batch_.empty() || !gate_->MayLeave(batch_.front().position)) return false;
  const Effect effect = std::move(batch_.front());
  batch_.pop_front();
  gate_->Leaves(effect.position);
  parts_.journal.Saw(Event::effect);
  if (effect.position.epoch < epoch_) parts_.journal.Saw(Event::effect_of_old_epoch);
  if (parts_.ledger.IsLost(site_)) {
    parts_.journal.Saw(Event::old_gate_sends_after_loss);
  }
  const int times = parts_.plants.effect_twice && parts_.random.Percent(5) ? 2 : 1;
  for (int i = 0; i < times; ++i) {
    parts_.journal.Say(name_, ": EFFECT LEAVES, ", effect.producer, "/", effect.term.value(), "/",
                       effect.seq.value(), " at stream ", partition_, " position ",
                       ToString(effect.position), " '", effect.value, "'");
    parts_.checker.Leaves(effect);
    parts_.outside.Take(effect);
  }
  sent_ = effect.position;
  if (batch_.empty()) {
    gate_->Left(effect.position);
    sent_.reset();
  }
  return true;
}

}  // namespace lockstep::sim
