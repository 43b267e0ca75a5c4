#include "db-ledger/memory_ledger.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "db-ledger/requests.h"

namespace lockstep {
namespace {

std::string Message(const absl::Status& status) { return std::string(status.message()); }

const StreamInfo* FindStream(const LedgerState& state, const StreamName& name) {
  for (const StreamInfo& stream : state.streams) {
    if (stream.name == name) return &stream;
  }
  return nullptr;
}

bool Has(const LedgerState& state, StreamId id) {
  return id >= StreamId(1) && id <= StreamId(static_cast<int64_t>(state.streams.size()));
}

// REQUIRES: Has(state, id).
const StreamInfo* FindStreamById(const LedgerState& state, StreamId id) {
  return &state.streams.at(static_cast<size_t>(id.value() - 1));
}

const LedgerState::Producer* FindProducer(const LedgerState& state, const std::string& name) {
  for (const auto& producer : state.producers) {
    if (producer.info.name == name) return &producer;
  }
  return nullptr;
}

const LedgerState::Producer* GetProducer(const LedgerState& state, ProducerId id) {
  if (id < ProducerId(1) || static_cast<size_t>(id.value()) > state.producers.size()) {
    return nullptr;
  }
  return &state.producers[static_cast<size_t>(id.value()) - 1];
}

StreamId RegisterStream(LedgerState& state, const StreamName& name, int32_t partition_count) {
  for (StreamInfo& stream : state.streams) {
    if (stream.name == name) {
      if (partition_count != 0) stream.partition_count = partition_count;
      return stream.id;
    }
  }
  const StreamId id(static_cast<int64_t>(state.streams.size()) + 1);
  state.streams.push_back({id, name, partition_count});
  return id;
}

// A head's next tenure begins: the old one ends where the head is. Every way to a new term (open,
// seal, begin_epoch) goes through here.
void NextTerm(LedgerState& state, StreamId stream, ProducerId producer,
              LedgerState::HeadRow& head) {
  if (const auto old = state.tenures.find({stream, producer, head.term});
      old != state.tenures.end()) {
    old->second.last_seq = head.last_seq;
  }
  ++head.term;
  if (head.epoch != state.epoch) head.next_offset = Offset(0);
  head.epoch = state.epoch;
  state.tenures[{stream, producer, head.term}] = {state.epoch, head.last_seq + 1, std::nullopt};
}

struct RefusalWithWhy {
  Refusal refusal = Refusal::kNone;
  std::string why;
};

// What speaks against a call that wants a cursor of seqs, or of positions, of a stream that is
// known.
RefusalWithWhy CheckKind(const LedgerState& state, const std::string& group,
                         const StreamInfo& stream, bool wants_seqs) {
  const std::pair key{group, stream.id};
  const bool other = wants_seqs ? state.cursors.contains(key) : state.seq_cursors.contains(key);
  if (!other) return {};
  return {Refusal::kWrongKind,
          absl::StrCat("group ", group, " keeps ",
                       wants_seqs ? "a position (--mode gate, recover or replay)"
                                  : "a seq per producer (--mode per-producer)",
                       " on ", ToString(stream.name), "; take another group")};
}

RefusalWithWhy CheckOpenGate(const LedgerState& state, const std::string& group,
                             const std::vector<StreamName>& streams, bool create, bool wants_seqs) {
  for (const StreamName& name : streams) {
    const StreamInfo* stream = FindStream(state, name);
    const bool there = stream != nullptr && (state.cursors.contains({group, stream->id}) ||
                                             state.seq_cursors.contains({group, stream->id}));
    if (create || there) continue;
    return {Refusal::kNotFound,
            absl::StrCat("group ", group, " has no cursor on ", ToString(name))};
  }
  for (const StreamName& name : streams) {
    const StreamInfo* stream = FindStream(state, name);
    if (stream == nullptr) continue;
    auto refused = CheckKind(state, group, *stream, wants_seqs);
    if (refused.refusal != Refusal::kNone) return refused;
  }
  return {};
}

RefusalWithWhy CheckGroup(const LedgerState& state, const std::string& group,
                          const std::string& role) {
  const auto owner = state.groups.find(group);
  if (owner == state.groups.end() || !owner->second || *owner->second == role) return {};
  return {Refusal::kWrongOwner,
          absl::StrCat("group ", group, " belongs to role ", *owner->second, ", not to ", role)};
}

// Whether a cursor of this kind may be moved under the term.
RefusalWithWhy CheckMove(const LedgerState& state, const Rules& rules,
                         const std::pair<std::string, StreamId>& key, Term term,
                         const std::string& role, bool wants_seqs) {
  const auto position = state.cursors.find(key);
  const auto seqs = state.seq_cursors.find(key);
  const bool by_seq = seqs != state.seq_cursors.end();
  if (!by_seq && position == state.cursors.end()) {
    return {Refusal::kNotFound,
            absl::StrCat("group ", key.first, " has no cursor on stream ", key.second.value())};
  }
  if (auto refused = CheckKind(state, key.first, *FindStreamById(state, key.second), wants_seqs);
      refused.refusal != Refusal::kNone) {
    return refused;
  }
  if (auto refused = CheckGroup(state, key.first, role); refused.refusal != Refusal::kNone) {
    return refused;
  }
  const Term newest = by_seq ? seqs->second.term : position->second.term;
  if (rules.cursor_fence && newest != term) {
    return {Refusal::kFenced,
            absl::StrCat("term ", term.value(), " is not the newest, ", newest.value(), " is")};
  }
  return {};
}

RefusalWithWhy CheckOwner(const LedgerState::Producer& producer, const std::string& role) {
  if (producer.owner == role) return {};
  return {Refusal::kWrongOwner, absl::StrCat("producer ", producer.info.name, " belongs to role ",
                                             producer.owner, ", not to ", role)};
}

RefusalWithWhy CheckOpen(const LedgerState& state, const OpenProducerRequest& request,
                         const std::string& role) {
  if (const auto* producer = FindProducer(state, request.producer)) {
    if (auto refused = CheckOwner(*producer, role); refused.refusal != Refusal::kNone) {
      return refused;
    }
    if (producer->info.source != request.source) {
      return {Refusal::kSourceChanged,
              absl::StrCat("producer ", request.producer, " is known with source ",
                           producer->info.source)};
    }
  }
  for (const StreamInfo& stream : state.streams) {
    if (stream.name.topic == request.topic && stream.partition_count != 0 &&
        stream.partition_count != request.partition_count) {
      return {Refusal::kPartitionsChanged,
              absl::StrCat("topic ", request.topic, " is known with ", stream.partition_count,
                           " partitions, not ", request.partition_count)};
    }
  }
  const std::string& home = state.epochs.at(state.epoch).cluster_id;
  if (!home.empty() && home != request.cluster_id) {
    return {Refusal::kLogChanged,
            absl::StrCat("epoch ", state.epoch.value(), " is written to Kafka cluster ", home,
                         ", not to ", request.cluster_id)};
  }
  for (const auto& partition : request.partitions) {
    const StreamInfo* stream = FindStream(state, {request.topic, partition.partition});
    if (stream == nullptr) continue;
    const auto log = state.logs.find({stream->id, state.epoch});
    if (log != state.logs.end() &&
        (log->second.cluster_id != request.cluster_id || log->second.topic != request.log_topic)) {
      return {
          Refusal::kLogChanged,
          absl::StrCat("the log of ", ToString(stream->name), " in epoch ", state.epoch.value(),
                       " is topic ", log->second.topic, " of cluster ", log->second.cluster_id)};
    }
  }
  return {};
}

OpenedStream OpenStream(LedgerState& state, const OpenProducerRequest& request,
                        const OpenProducerRequest::Partition& partition, ProducerId producer) {
  const StreamId stream =
      RegisterStream(state, {request.topic, partition.partition}, request.partition_count);
  const LogInfo& log =
      state.logs
          .try_emplace({stream, state.epoch}, LogInfo{state.epoch, request.cluster_id,
                                                      request.log_topic, partition.log_end})
          .first->second;
  LedgerState::HeadRow& head = state.heads[{stream, producer}];
  NextTerm(state, stream, producer, head);
  head.next_offset = std::max(head.next_offset, log.start);
  return {.stream = stream,
          .partition = partition.partition,
          .term = head.term,
          .closed = head.closed,
          .last_seq = head.last_seq,
          .last_at = head.last_at,
          .adopt_from = head.next_offset};
}

// What Append's checks find about one run, given where the head stands after the runs before it.
struct Judged {
  RefusalWithWhy refused;
  bool again = false;
};

bool SameContent(const Run& stored, Run asked) {
  asked.epoch = stored.epoch;
  return stored == asked;
}

Judged JudgeRun(const LedgerState& state, const Rules& rules, const RunToAppend& to_append,
                const LedgerState::HeadRow& head) {
  const Run& run = to_append.run;
  const std::string which = absl::StrCat("run [", run.first_seq.value(), ",", run.last_seq.value(),
                                         "] of stream ", to_append.stream.value(), ": ");
  if (rules.fence && head.term != to_append.tenure_term) {
    return {{Refusal::kFenced, absl::StrCat(which, "term ", to_append.tenure_term.value(),
                                            " is not the newest, ", head.term.value(), " is")}};
  }
  if (run.first_seq > head.last_seq + 1) {
    return {{Refusal::kGap, absl::StrCat(which, "the head is at seq ", head.last_seq.value())}};
  }
  if (run.first_seq <= head.last_seq) {
    const auto stored =
        state.runs.find({to_append.stream, run.producer, head.epoch, run.first_seq});
    if (stored != state.runs.end() && SameContent(stored->second, run)) return {{}, true};
    return {{Refusal::kDiffers, which + "these seqs are ledgered with other content"}};
  }
  if (rules.adopt_unclosed && run.term < head.closed) {
    return {{Refusal::kInvalid, absl::StrCat(which, "term ", run.term.value(), " is closed")}};
  }
  if (rules.fence && run.offsets.first() < head.next_offset) {
    return {{Refusal::kInvalid, absl::StrCat(which, "offset ", run.offsets.first().value(),
                                             " goes back behind ", head.next_offset.value())}};
  }
  return {};
}

void AdvanceHead(LedgerState::HeadRow& head, const Run& run) {
  head.last_seq = run.last_seq;
  head.last_at = run.at_last;
  head.next_offset = run.offsets.end();
}

// In (stream, request) order, as the database locks the heads.
std::vector<const RunToAppend*> ByStream(const AppendRequest& request) {
  std::vector<const RunToAppend*> runs;
  for (const RunToAppend& run : request.runs) runs.push_back(&run);
  std::stable_sort(runs.begin(), runs.end(), [](const RunToAppend* a, const RunToAppend* b) {
    return a->stream < b->stream;
  });
  return runs;
}

// (epoch, last offset): up to where a run reaches.
Position EndOf(const Run& run) { return {run.epoch, run.offsets.end() - 1}; }

}  // namespace

LedgerState::LedgerState(bool solo) : epoch(1) { epochs[epoch] = {solo, "", "init", ""}; }

MemoryLedger::MemoryLedger(LedgerState* state, Rules rules, std::string role)
    : state_(state), rules_(rules), role_(std::move(role)) {
  LOCKSTEP_CHECK(state != nullptr, "a memory ledger is a client of a state");
}

template <class T, class Apply>
Commit<T> MemoryLedger::Finish(std::string_view call, bool solo, Apply apply) {
  const CommitFate fate =
      fate_ ? fate_(PendingCommit{call, state_->lsn + 1, solo}) : CommitFate::kDurable;
  if (fate == CommitFate::kRefused) {
    return Refused<T>(Refusal::kNoDurableStandby, "no durable standby and the epoch is not solo");
  }
  if (fate == CommitFate::kUnknownNotApplied) {
    LedgerState elsewhere = *state_;
    Commit<T> commit = Unknown<T>(std::string(call) + ": the outcome is unknown");
    commit.value = apply(elsewhere);
    return commit;
  }
  T value = apply(*state_);
  ++state_->lsn;
  if (applied_) applied_(*state_);
  if (fate == CommitFate::kDurable) return Committed<T>(std::move(value));
  Commit<T> commit = Unknown<T>(std::string(call) + ": the outcome is unknown");
  commit.value = std::move(value);
  return commit;
}

Commit<OpenedProducer> MemoryLedger::OpenProducer(const OpenProducerRequest& request) {
  if (const auto valid = ValidateOpenProducer(request); !valid.ok()) {
    return Refused<OpenedProducer>(Refusal::kInvalid, Message(valid));
  }
  if (const auto refused = CheckOpen(*state_, request, role_); refused.refusal != Refusal::kNone) {
    return Refused<OpenedProducer>(refused.refusal, refused.why);
  }
  return Finish<OpenedProducer>("OpenProducer", state_->solo(), [&](LedgerState& state) {
    if (FindProducer(state, request.producer) == nullptr) {
      const ProducerId id(static_cast<int32_t>(state.producers.size()) + 1);
      state.producers.push_back({{id, request.producer, request.source, std::nullopt}, role_});
    }
    for (StreamInfo& stream : state.streams) {
      if (stream.name.topic == request.topic) stream.partition_count = request.partition_count;
    }
    const ProducerInfo& producer = FindProducer(state, request.producer)->info;
    OpenedProducer opened{producer.id, state.epoch, state.solo(), producer.checkpoint, {}};
    for (const auto& partition : request.partitions) {
      opened.streams.push_back(OpenStream(state, request, partition, producer.id));
    }
    return opened;
  });
}

Commit<Moved> MemoryLedger::CloseEarlierTerms(ProducerId producer,
                                              const std::vector<TermOnStream>& terms) {
  if (terms.empty()) return Refused<Moved>(Refusal::kInvalid, "no stream to close");
  const auto* known = GetProducer(*state_, producer);
  if (known == nullptr) {
    return Refused<Moved>(Refusal::kNotFound, absl::StrCat("no producer ", producer.value()));
  }
  if (const auto refused = CheckOwner(*known, role_); refused.refusal != Refusal::kNone) {
    return Refused<Moved>(refused.refusal, refused.why);
  }
  for (const TermOnStream& t : terms) {
    const auto head = state_->heads.find({t.stream, producer});
    if (head == state_->heads.end() || (rules_.fence && head->second.term != t.term)) {
      return Refused<Moved>(Refusal::kFenced, absl::StrCat("term ", t.term.value(), " on stream ",
                                                           t.stream.value(), " is not the newest"));
    }
  }
  return Finish<Moved>("CloseEarlierTerms", state_->solo(), [&](LedgerState& state) {
    for (const TermOnStream& t : terms) state.heads.at({t.stream, producer}).closed = t.term;
    return Moved{state.solo()};
  });
}

Commit<Appended> MemoryLedger::Append(const AppendRequest& request) {
  if (const auto valid = ValidateAppend(request); !valid.ok()) {
    return Refused<Appended>(Refusal::kInvalid, Message(valid));
  }
  const LedgerState& seen = !rules_.atomic_check && stale_ != nullptr ? *stale_ : *state_;
  const auto* producer = GetProducer(seen, request.producer);
  if (producer == nullptr) {
    return Refused<Appended>(Refusal::kNotFound,
                             absl::StrCat("no producer ", request.producer.value()));
  }
  if (const auto refused = CheckOwner(*producer, role_); refused.refusal != Refusal::kNone) {
    return Refused<Appended>(refused.refusal, refused.why);
  }

  bool all_again = true;
  std::map<StreamId, LedgerState::HeadRow> heads;  // As the runs before leave them.
  std::vector<const Run*> fresh;
  std::vector<StreamId> fresh_streams;
  for (const RunToAppend* run : ByStream(request)) {
    const auto stored = seen.heads.find({run->stream, request.producer});
    if (stored == seen.heads.end()) {
      return Refused<Appended>(Refusal::kFenced,
                               absl::StrCat("no tenure on stream ", run->stream.value()));
    }
    LedgerState::HeadRow& head = heads.try_emplace(run->stream, stored->second).first->second;
    const Judged judged = JudgeRun(seen, rules_, *run, head);
    if (judged.refused.refusal != Refusal::kNone) {
      return Refused<Appended>(judged.refused.refusal, judged.refused.why);
    }
    if (judged.again) continue;
    all_again = false;
    AdvanceHead(head, run->run);
    fresh.push_back(&run->run);
    fresh_streams.push_back(run->stream);
  }
  if (all_again && !rules_.noop_wal) {  // C3: the trap. It has no WAL to wait for.
    return Committed<Appended>({state_->epoch, state_->solo(), true});
  }

  return Finish<Appended>("Append", state_->solo(), [&](LedgerState& state) {
    for (size_t i = 0; i < fresh.size(); ++i) {
      LedgerState::HeadRow& head = state.heads.at({fresh_streams[i], request.producer});
      AdvanceHead(head, *fresh[i]);
      Run run = *fresh[i];
      run.epoch = seen.heads.at({fresh_streams[i], request.producer}).epoch;
      state.runs[{fresh_streams[i], run.producer, run.epoch, run.first_seq}] = run;
    }
    if (request.checkpoint) {
      state.producers[static_cast<size_t>(request.producer.value()) - 1].info.checkpoint =
          request.checkpoint;
    }
    return Appended{state.epoch, state.solo(), all_again};
  });
}

Commit<std::vector<StreamId>> MemoryLedger::Seal(const std::string& producer) {
  const auto* known = FindProducer(*state_, producer);
  if (known == nullptr) {
    return Refused<std::vector<StreamId>>(Refusal::kNotFound, "no producer " + producer);
  }
  const ProducerId id = known->info.id;
  return Finish<std::vector<StreamId>>("Seal", state_->solo(), [&](LedgerState& state) {
    std::vector<StreamId> streams;
    for (auto& [key, head] : state.heads) {
      if (key.second != id) continue;
      NextTerm(state, key.first, id, head);
      head.closed = head.term;
      streams.push_back(key.first);
    }
    return streams;
  });
}

Commit<OpenedGate> MemoryLedger::OpenGate(const std::string& group,
                                          const std::vector<StreamName>& streams, bool create) {
  if (const auto valid = ValidateOpenGate(group, streams); !valid.ok()) {
    return Refused<OpenedGate>(Refusal::kInvalid, Message(valid));
  }
  if (const auto refused = CheckGroup(*state_, group, role_); refused.refusal != Refusal::kNone) {
    return Refused<OpenedGate>(refused.refusal, refused.why);
  }
  if (const auto refused = CheckOpenGate(*state_, group, streams, create, false);
      refused.refusal != Refusal::kNone) {
    return Refused<OpenedGate>(refused.refusal, refused.why);
  }
  return Finish<OpenedGate>("OpenGate", state_->solo(), [&](LedgerState& state) {
    state.groups[group] = role_;
    OpenedGate opened{state.epoch, state.solo(), {}};
    for (const StreamName& name : streams) {
      const StreamId stream = RegisterStream(state, name, 0);
      Cursor& cursor = state.cursors[{group, stream}];
      cursor.group = group;
      cursor.stream = stream;
      ++cursor.term;
      opened.cursors.push_back(cursor);
    }
    return opened;
  });
}

Commit<Moved> MemoryLedger::MoveCursor(const MoveCursorRequest& request) {
  if (const auto valid = ValidateMoveCursor(request); !valid.ok()) {
    return Refused<Moved>(Refusal::kInvalid, Message(valid));
  }
  const std::pair key{request.group, request.stream};
  if (const auto refused = CheckMove(*state_, rules_, key, request.term, role_, false);
      refused.refusal != Refusal::kNone) {
    return Refused<Moved>(refused.refusal, refused.why);
  }
  const Cursor& cursor = state_->cursors.at(key);
  const auto intent = request.intent ? request.intent : cursor.intent;
  const auto done = request.done ? request.done : cursor.done;
  if (rules_.cursor_fence && (intent < cursor.intent || done < cursor.done || done > intent)) {
    return Refused<Moved>(Refusal::kInvalid, "a cursor never goes back, and done ≤ intent");
  }
  return Finish<Moved>("MoveCursor", state_->solo(), [&](LedgerState& state) {
    Cursor& moved = state.cursors.at({request.group, request.stream});
    moved.intent = intent;
    moved.done = done;
    return Moved{state.solo()};
  });
}

Commit<OpenedSeqGate> MemoryLedger::OpenSeqGate(const std::string& group, const StreamName& stream,
                                                bool create) {
  if (const auto valid = ValidateOpenGate(group, {stream}); !valid.ok()) {
    return Refused<OpenedSeqGate>(Refusal::kInvalid, Message(valid));
  }
  if (const auto refused = CheckGroup(*state_, group, role_); refused.refusal != Refusal::kNone) {
    return Refused<OpenedSeqGate>(refused.refusal, refused.why);
  }
  if (const auto refused = CheckOpenGate(*state_, group, {stream}, create, true);
      refused.refusal != Refusal::kNone) {
    return Refused<OpenedSeqGate>(refused.refusal, refused.why);
  }
  return Finish<OpenedSeqGate>("OpenSeqGate", state_->solo(), [&](LedgerState& state) {
    state.groups[group] = role_;
    const StreamId id = RegisterStream(state, stream, 0);
    SeqCursor& cursor = state.seq_cursors[{group, id}];
    cursor.group = group;
    cursor.stream = id;
    ++cursor.term;
    return OpenedSeqGate{state.epoch, state.solo(), cursor};
  });
}

Commit<Moved> MemoryLedger::MoveSeqCursor(const MoveSeqCursorRequest& request) {
  if (const auto valid = ValidateMoveSeqCursor(request); !valid.ok()) {
    return Refused<Moved>(Refusal::kInvalid, Message(valid));
  }
  const std::pair key{request.group, request.stream};
  if (const auto refused = CheckMove(*state_, rules_, key, request.term, role_, true);
      refused.refusal != Refusal::kNone) {
    return Refused<Moved>(refused.refusal, refused.why);
  }
  std::map<ProducerId, SeqMark> marks;
  for (const SeqMark& mark : state_->seq_cursors.at(key).marks) marks[mark.producer] = mark;
  for (const SeqMark& mark : request.marks) {
    if (!state_->heads.contains({request.stream, mark.producer})) {
      return Refused<Moved>(Refusal::kNotFound,
                            absl::StrCat("stream ", request.stream.value(), " has no producer ",
                                         mark.producer.value()));
    }
  }
  for (const SeqMark& mark : request.marks) {
    SeqMark& stored = marks[mark.producer];
    if (rules_.cursor_fence && (mark.intent < stored.intent || mark.done < stored.done)) {
      return Refused<Moved>(Refusal::kInvalid, "a cursor never goes back, and done ≤ intent");
    }
    stored = mark;
  }
  return Finish<Moved>("MoveSeqCursor", state_->solo(), [&](LedgerState& state) {
    std::vector<SeqMark>& moved = state.seq_cursors.at(key).marks;
    moved.clear();
    for (const auto& [producer, mark] : marks) moved.push_back(mark);
    return Moved{state.solo()};
  });
}

Commit<Moved> MemoryLedger::SetSeqCursor(const std::string& group, StreamId stream,
                                         ProducerId producer, Seq at) {
  if (const auto valid = ValidateSetSeqCursor(group, at); !valid.ok()) {
    return Refused<Moved>(Refusal::kInvalid, Message(valid));
  }
  if (!Has(*state_, stream)) {
    return Refused<Moved>(Refusal::kNotFound, absl::StrCat("no stream ", stream.value()));
  }
  if (const auto refused = CheckKind(*state_, group, *FindStreamById(*state_, stream), true);
      refused.refusal != Refusal::kNone) {
    return Refused<Moved>(refused.refusal, refused.why);
  }
  if (!state_->heads.contains({stream, producer})) {
    return Refused<Moved>(Refusal::kNotFound, absl::StrCat("stream ", stream.value(),
                                                           " has no producer ", producer.value()));
  }
  return Finish<Moved>("SetSeqCursor", state_->solo(), [&](LedgerState& state) {
    state.groups.try_emplace(group, std::nullopt);
    SeqCursor& cursor = state.seq_cursors[{group, stream}];
    cursor.group = group;
    cursor.stream = stream;
    ++cursor.term;
    const auto mark = std::lower_bound(
        cursor.marks.begin(), cursor.marks.end(), producer,
        [](const SeqMark& one, ProducerId wanted) { return one.producer < wanted; });
    if (mark != cursor.marks.end() && mark->producer == producer) {
      mark->intent = mark->done = at;
    } else {
      cursor.marks.insert(mark, {producer, at, at});
    }
    return Moved{state.solo()};
  });
}

Commit<BegunEpoch> MemoryLedger::BeginEpoch(const BeginEpochRequest& request) {
  if (const auto valid = ValidateBeginEpoch(request); !valid.ok()) {
    return Refused<BegunEpoch>(Refusal::kInvalid, Message(valid));
  }
  if (request.expected != state_->epoch) {
    return Refused<BegunEpoch>(
        Refusal::kWrongEpoch,
        absl::StrCat("the epoch is ", state_->epoch.value(), ", not ", request.expected.value()));
  }
  return Finish<BegunEpoch>("BeginEpoch", request.solo, [&](LedgerState& state) {
    ++state.epoch;
    state.epochs[state.epoch] = {request.solo, request.cluster_id, request.reason, role_};
    for (auto& [key, head] : state.heads) {
      NextTerm(state, key.first, key.second, head);
      head.closed = head.term;
    }
    if (rules_.epoch_cursor) {
      for (auto& [key, cursor] : state.cursors) ++cursor.term;
      for (auto& [key, cursor] : state.seq_cursors) ++cursor.term;
    }
    return BegunEpoch{state.epoch, request.solo};
  });
}

Commit<Moved> MemoryLedger::SoloOff() {
  return Finish<Moved>("SoloOff", false, [&](LedgerState& state) {
    state.epochs.at(state.epoch).solo = false;
    return Moved{false};
  });
}

Commit<Moved> MemoryLedger::SetCursor(const std::string& group, StreamId stream,
                                      std::optional<Position> at) {
  if (!ValidLedgerText(group, kGroupNameMaxBytes)) {
    return Refused<Moved>(Refusal::kInvalid, "a group's name is 1 to 255 bytes of UTF-8");
  }
  if (!Has(*state_, stream)) {
    return Refused<Moved>(Refusal::kNotFound, absl::StrCat("no stream ", stream.value()));
  }
  if (const auto refused = CheckKind(*state_, group, *FindStreamById(*state_, stream), false);
      refused.refusal != Refusal::kNone) {
    return Refused<Moved>(refused.refusal, refused.why);
  }
  return Finish<Moved>("SetCursor", state_->solo(), [&](LedgerState& state) {
    state.groups.try_emplace(group, std::nullopt);
    Cursor& cursor = state.cursors[{group, stream}];
    cursor = {group, stream, cursor.term + 1, at, at};
    return Moved{state.solo()};
  });
}

Commit<Moved> MemoryLedger::RecordStep(const StepInfo& step) {
  if (!ValidLedgerText(step.step, 255) || !ValidLedgerText(step.state, 255)) {
    return Refused<Moved>(Refusal::kInvalid, "a step has a name and a state");
  }
  return Finish<Moved>("RecordStep", state_->solo(), [&](LedgerState& state) {
    state.steps[{step.epoch, step.step}] = {step.state, step.detail};
    return Moved{state.solo()};
  });
}

absl::StatusOr<Ledger::Now> MemoryLedger::ReadNow() { return Now{state_->epoch, state_->solo()}; }

absl::StatusOr<std::vector<StreamInfo>> MemoryLedger::FindStreams(const std::string& topic) {
  std::vector<StreamInfo> found;
  for (const StreamInfo& stream : state_->streams) {
    if (stream.name.topic == topic) found.push_back(stream);
  }
  std::sort(found.begin(), found.end(), [](const StreamInfo& a, const StreamInfo& b) {
    return a.name.partition < b.name.partition;
  });
  return found;
}

absl::StatusOr<std::vector<StreamInfo>> MemoryLedger::ListStreams() { return state_->streams; }

absl::StatusOr<std::vector<ProducerInfo>> MemoryLedger::ListProducers() {
  std::vector<ProducerInfo> producers;
  for (const auto& producer : state_->producers) producers.push_back(producer.info);
  return producers;
}

absl::StatusOr<StreamPage> MemoryLedger::ReadStream(const ReadStreamRequest& request) {
  if (!Has(*state_, request.stream)) {
    return absl::NotFoundError(absl::StrCat("no stream ", request.stream.value()));
  }
  StreamPage page{state_->epoch, state_->solo(), {}, {}, {}};
  for (auto head = state_->heads.lower_bound({request.stream, ProducerId(0)});
       head != state_->heads.end() && head->first.first == request.stream; ++head) {
    const ProducerId id = head->first.second;
    const LedgerState::HeadRow& row = head->second;
    page.heads.push_back({id, GetProducer(*state_, id)->info.name, row.term, row.closed, row.epoch,
                          row.last_seq, row.last_at});
    const auto mark = request.after.find(id);
    const RunKey after = mark == request.after.end() ? RunKey{} : mark->second;
    auto run = state_->runs.upper_bound({request.stream, id, after.epoch, after.first_seq});
    for (int64_t count = 0;
         run != state_->runs.end() && std::get<0>(run->first) == request.stream &&
         std::get<1>(run->first) == id;
         ++run, ++count) {
      if (count == request.runs_per_producer_max) {
        page.more.push_back(id);
        break;
      }
      page.runs.push_back(run->second);
      if (!request.with_payload) page.runs.back().payload.clear();
    }
  }
  return page;
}

absl::StatusOr<RunMarks> MemoryLedger::MarksAfter(StreamId stream, std::optional<Position> after) {
  RunMarks marks;
  if (!after) return marks;
  for (const auto& [key, run] : state_->runs) {
    if (std::get<0>(key) == stream && EndOf(run) <= *after) {
      marks[run.producer] = {run.epoch, run.first_seq};  // Ascending: the last one stays.
    }
  }
  return marks;
}

absl::StatusOr<RunMarks> MemoryLedger::MarksAfterSeqs(StreamId stream,
                                                      const std::map<ProducerId, Seq>& seqs) {
  RunMarks marks;
  for (const auto& [key, run] : state_->runs) {
    const auto seq = seqs.find(run.producer);
    if (std::get<0>(key) != stream || seq == seqs.end() || run.last_seq >= seq->second) continue;
    marks[run.producer] = {run.epoch, run.first_seq};  // Ascending: the last one stays.
  }
  return marks;
}

absl::StatusOr<std::vector<LogInfo>> MemoryLedger::ReadLogs(StreamId stream) {
  std::vector<LogInfo> logs;
  for (const auto& [key, log] : state_->logs) {
    if (key.first == stream) logs.push_back(log);
  }
  return logs;
}

absl::StatusOr<std::vector<Cursor>> MemoryLedger::ReadCursors() {
  std::vector<Cursor> cursors;
  for (const auto& [key, cursor] : state_->cursors) cursors.push_back(cursor);
  return cursors;
}

absl::StatusOr<std::vector<SeqCursor>> MemoryLedger::ReadSeqCursors() {
  std::vector<SeqCursor> cursors;
  for (const auto& [key, cursor] : state_->seq_cursors) cursors.push_back(cursor);
  return cursors;
}

absl::StatusOr<std::vector<EpochInfo>> MemoryLedger::ReadEpochs() {
  std::vector<EpochInfo> epochs;
  for (const auto& [epoch, row] : state_->epochs) {
    epochs.push_back({epoch, row.solo, row.cluster_id, row.reason, row.role, 0});
  }
  return epochs;
}

absl::StatusOr<std::vector<StepInfo>> MemoryLedger::ReadSteps(Epoch epoch) {
  std::vector<StepInfo> steps;
  for (const auto& [key, step] : state_->steps) {
    if (key.first == epoch) steps.push_back({epoch, key.second, step.first, step.second, 0});
  }
  return steps;
}

}  // namespace lockstep
