// History is a random past for tests: what producers wrote in every epoch, what the ledger says of
// it, and what the topics at the reading site hold (rewinds, late copies, re-injected parts).
#ifndef LOCKSTEP_REORDER_HISTORY_FIXTURE_H_
#define LOCKSTEP_REORDER_HISTORY_FIXTURE_H_

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/record.h"

namespace lockstep {

// One write of a producer; what it carries is unique per write, not per identity.
struct Written {
  std::string producer;
  Term term;
  Seq seq;
  std::string at;
  std::string key;
  std::optional<std::string> value;  // A tombstone, nothing, little, or 20 kB.
  int64_t timestamp_ms = 0;
  std::vector<std::pair<std::string, std::optional<std::string>>> headers;  // Some; perhaps none.
  bool ledgered = false;
  Position position;  // Iff ledgered.
};

// Reads a Written's.
class WrittenHeaders final : public HeaderSource {
 public:
  void Read(const void* handle, std::vector<HeaderView>& out) const override {
    out.clear();
    for (const auto& [name, value] : static_cast<const Written*>(handle)->headers) {
      out.emplace_back(name, value);
    }
  }
};
inline const WrittenHeaders kWrittenHeaders;

struct Stored {
  const Written* written = nullptr;  // nullptr: a transaction marker (takes an offset, no record).
  Offset offset;
};

struct HistoryShape {
  int producers = 3;
  int epochs = 2;
  int records_per_epoch = 40;
  bool two_topics = false;  // Epoch by epoch in turn: mirrored, local, mirrored …
  bool unordered_reinjection = false;
  int void_percent = 20;  // Of tenures end with unledgered records.
};

class History {
 public:
  History(uint64_t seed, HistoryShape shape) : random_(seed), shape_(shape) {
    topics_.resize(shape.two_topics ? 2 : 1);
    for (int p = 0; p < shape.producers; ++p) {
      Head head;
      head.producer = ProducerId(p + 1);
      head.name = std::string(1, static_cast<char>('A' + p));
      heads_.push_back(head);
    }
    for (int e = 1; e <= shape.epochs; ++e) Reign(Epoch(e), e == shape.epochs);
  }

  Epoch epoch() const { return Epoch(shape_.epochs); }
  int topics() const { return static_cast<int>(topics_.size()); }
  const std::vector<Stored>& topic(int index) const { return topics_[static_cast<size_t>(index)]; }
  int own_topic() const { return TopicOf(epoch(), true); }
  Offset current_start() const { return current_start_; }
  const std::vector<Head>& heads() const { return heads_; }
  const std::vector<Run>& runs() const { return runs_; }

  // The ledgered writes in ledger order: what the outside is to see.
  std::vector<const Written*> Ledgered() const {
    std::vector<const Written*> result;
    for (const auto& written : writes_) {
      if (written->ledgered) result.push_back(written.get());
    }
    std::sort(result.begin(), result.end(),
              [](const Written* a, const Written* b) { return a->position < b->position; });
    return result;
  }

  int64_t Pick(int64_t below) {
    return std::uniform_int_distribution<int64_t>(0, below - 1)(random_);
  }
  bool Chance(int percent) { return Pick(100) < percent; }

  // A page after `marks`: at most `runs_max` runs a producer, and of the current epoch only what
  // lies within the first `visible` of its runs (by commit order, which is not offset order).
  StreamPage Page(const RunMarks& marks, size_t runs_max, size_t visible) const {
    StreamPage page;
    page.epoch = epoch();
    page.heads = heads_;
    for (Head& head : page.heads) {
      head.last_seq = Seq(0);
      size_t taken = 0;
      for (const Run& run : runs_) {
        if (run.producer != head.producer) continue;
        if (run.epoch == epoch() && CommitNumber(run) >= visible) {
          head.term = head.closed = run.term;  // As it was then: this tenure is still on.
          break;
        }
        head.last_seq = run.last_seq;
        const auto mark = marks.find(head.producer);
        if (mark != marks.end() && RunKey{run.epoch, run.first_seq} <= mark->second) continue;
        if (taken == runs_max) {
          if (page.more.empty() || page.more.back() != head.producer) {
            page.more.push_back(head.producer);
          }
          continue;
        }
        page.runs.push_back(run);
        ++taken;
      }
    }
    return page;
  }
  // How many commits the current epoch has.
  size_t commits() const { return commits_.size(); }

  static FetchedRecord Record(const Stored& stored) {
    FetchedRecord record;
    const Written& written = *stored.written;
    record.header = {written.term, written.seq, written.at, written.producer};
    record.view.log_offset = stored.offset;
    record.view.timestamp_ms = written.timestamp_ms;
    record.view.at = written.at;
    record.view.key = written.key;
    record.view.value = written.value;
    if (!written.headers.empty()) {
      record.view.header_source = &kWrittenHeaders;
      record.view.header_handle = &written;
    }
    return record;
  }

 private:
  struct Open {  // A run that grows.
    Run run;
    bool used = false;
  };

  int TopicOf(Epoch e, bool local) const {
    if (!shape_.two_topics) return 0;
    return local ? 0 : static_cast<int>((shape_.epochs - e.value()) % 2);
  }

  size_t CommitNumber(const Run& run) const {
    for (size_t i = 0; i < commits_.size(); ++i) {
      if (commits_[i] == std::pair(run.producer, run.first_seq)) return i;
    }
    return commits_.size();
  }

  Written* Write(size_t p, Term term, Seq seq) {
    auto written = std::make_unique<Written>();
    written->producer = heads_[p].name;
    written->term = term;
    written->seq = seq;
    Fill(*written, writes_.size());
    writes_.push_back(std::move(written));
    return writes_.back().get();
  }

  // What write number `number` carries. Two writes have no value (of some bytes), header or
  // timestamp in common.
  static void Fill(Written& written, size_t number) {
    const std::string mark = std::to_string(number);
    written.at = "at" + mark;
    written.key = "w" + mark;
    written.timestamp_ms = 1'700'000'000'000 + static_cast<int64_t>(number) * 7;
    if (number % 5 != 0) {
      const size_t kind = number % 31;
      written.value = Bytes(written, number, kind == 1 ? 20'000 : kind);
    }
    if (number % 4 > 0) written.headers.emplace_back("trace", "t" + mark);
    if (number % 4 > 1) written.headers.emplace_back("null" + mark, std::nullopt);
    if (number % 4 > 2) written.headers.emplace_back("empty" + mark, "");
  }
  static std::string Bytes(const Written& written, size_t number, size_t size) {
    std::mt19937_64 random(static_cast<uint64_t>(written.producer[0]) << 48 ^
                           static_cast<uint64_t>(written.seq.value()) << 24 ^ number);
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    return bytes;
  }

  // One primary's reign: its log, its runs; then what the reading site holds of it.
  void Reign(Epoch e, bool current) {
    std::vector<Stored> log;
    std::vector<Stored>* own = current ? &topics_[static_cast<size_t>(TopicOf(e, true))] : &log;
    if (current) {
      own->resize(own->size() + static_cast<size_t>(Pick(3)));  // Markers.
      Renumber(*own);
      current_start_ = Offset(static_cast<int64_t>(own->size()));
    }
    std::vector<Open> open(heads_.size());
    std::vector<std::vector<Written*>> stale(heads_.size());  // Unledgered; may land late.
    for (size_t p = 0; p < heads_.size(); ++p) NewTenure(p, e);
    std::vector<const Written*> frozen;
    for (const auto& written : writes_) frozen.push_back(written.get());
    size_t p = 0;
    for (int i = 0; i < shape_.records_per_epoch; ++i) {
      if (Chance(40)) p = static_cast<size_t>(Pick(shape_.producers));
      if (Chance(5)) own->push_back({nullptr, End(*own)});
      if (current && Chance(4) && !frozen.empty()) {  // A late copy of something old.
        own->push_back(
            {frozen[static_cast<size_t>(Pick(static_cast<int64_t>(frozen.size())))], End(*own)});
      }
      if (Chance(4)) Crash(p, e, open[p], *own, stale[p]);
      if (!stale[p].empty() && Chance(10)) {
        own->push_back({stale[p].front(), End(*own)});
        stale[p].erase(stale[p].begin());
      }
      Head& head = heads_[p];
      head.last_seq = head.last_seq + 1;
      auto* written = Write(p, head.term, head.last_seq);
      written->ledgered = true;
      written->position = {e, End(*own)};
      own->push_back({written, written->position.offset});
      Extend(open[p], p, e, *written);
      if (Chance(15)) CloseRun(open[p], current);
    }
    for (size_t q = 0; q < heads_.size(); ++q) {
      if (!current && Chance(shape_.void_percent)) Orphans(q, open[q], log, stale[q]);
      CloseRun(open[q], current);
    }
    if (!current) Mirror(e, log);
    std::sort(runs_.begin(), runs_.end(), [](const Run& a, const Run& b) {
      return std::tuple(a.producer, a.epoch, a.first_seq) <
             std::tuple(b.producer, b.epoch, b.first_seq);
    });
  }

  void NewTenure(size_t p, Epoch e) {
    heads_[p].term = heads_[p].term + 1 + Pick(2);
    heads_[p].closed = heads_[p].term;
    heads_[p].epoch = e;
  }

  void Crash(size_t p, Epoch e, Open& open, std::vector<Stored>& log,
             std::vector<Written*>& stale) {
    Orphans(p, open, log, stale);
    NewTenure(p, e);
  }

  // Records of a tenure that ends, which no run will name; some land at once, some later.
  void Orphans(size_t p, Open& open, std::vector<Stored>& log, std::vector<Written*>& stale) {
    if (open.used) {
      runs_.push_back(open.run);
      if (open.run.epoch == epoch()) commits_.emplace_back(open.run.producer, open.run.first_seq);
      open.used = false;
    }
    const int64_t count = Pick(4);
    for (int64_t i = 1; i <= count; ++i) {
      auto* written = Write(p, heads_[p].term, heads_[p].last_seq + i);
      if (stale.empty() && Chance(50)) {
        log.push_back({written, End(log)});
      } else {
        stale.push_back(written);
      }
    }
  }

  void Extend(Open& open, size_t p, Epoch e, const Written& written) {
    if (!open.used) {
      open.run = Run{};
      open.run.producer = heads_[p].producer;
      open.run.epoch = e;
      open.run.term = written.term;
      open.run.first_seq = written.seq;
      open.used = true;
    }
    open.run.last_seq = written.seq;
    open.run.offsets.Append(written.position.offset);
  }

  void CloseRun(Open& open, bool current) {
    if (!open.used) return;
    runs_.push_back(open.run);
    if (current) commits_.emplace_back(open.run.producer, open.run.first_seq);
    open.used = false;
  }

  static Offset End(const std::vector<Stored>& log) {
    return Offset(static_cast<int64_t>(log.size()));
  }
  static void Renumber(std::vector<Stored>& log) {
    for (size_t i = 0; i < log.size(); ++i) log[i].offset = Offset(static_cast<int64_t>(i));
  }

  // The reading site's copy of a frozen log: a prefix with rewinds, the rest re-injected (all that
  // is ledgered, and only that), then perhaps a late copy of a stretch.
  void Mirror(Epoch e, const std::vector<Stored>& log) {
    std::vector<Stored>& to = topics_[static_cast<size_t>(TopicOf(e, false))];
    const auto size = static_cast<int64_t>(log.size());
    const int64_t mirrored = Pick(size + 1);
    int64_t at = 0;
    int rewinds = static_cast<int>(Pick(3));
    while (at < mirrored) {
      if (Chance(3)) to.push_back({});  // An offset without a record.
      if (log[static_cast<size_t>(at)].written != nullptr)
        to.push_back(log[static_cast<size_t>(at)]);
      ++at;
      if (rewinds > 0 && Chance(5)) {
        --rewinds;
        at = Pick(at + 1);
      }
    }
    std::vector<Stored> gap;
    for (int64_t o = mirrored; o < size; ++o) {
      const Stored& stored = log[static_cast<size_t>(o)];
      if (stored.written != nullptr && stored.written->ledgered) gap.push_back(stored);
    }
    if (shape_.unordered_reinjection) {
      std::stable_sort(gap.begin(), gap.end(), [](const Stored& a, const Stored& b) {
        return a.written->producer > b.written->producer;
      });
    }
    to.insert(to.end(), gap.begin(), gap.end());
    if (Chance(30)) {  // The mirror's last request lands after all.
      const int64_t end = std::min(size, mirrored + Pick(6));
      for (int64_t o = std::max<int64_t>(0, mirrored - Pick(4)); o < end; ++o) {
        if (log[static_cast<size_t>(o)].written != nullptr)
          to.push_back(log[static_cast<size_t>(o)]);
      }
    }
    Renumber(to);
    if (shape_.two_topics && Chance(50)) CopyToTheOther(e, log);
  }

  // The other topic holds a beginning of the same log, too.
  void CopyToTheOther(Epoch e, const std::vector<Stored>& log) {
    std::vector<Stored>& other = topics_[static_cast<size_t>(1 - TopicOf(e, false))];
    const int64_t end = Pick(static_cast<int64_t>(log.size()) + 1);
    for (int64_t at = 0; at < end; ++at) {
      const Stored& stored = log[static_cast<size_t>(at)];
      if (stored.written != nullptr) other.push_back(stored);
    }
    Renumber(other);
  }

  std::mt19937_64 random_;
  const HistoryShape shape_;
  std::vector<Head> heads_;
  std::vector<std::unique_ptr<Written>> writes_;
  std::vector<Run> runs_;
  std::vector<std::pair<ProducerId, Seq>> commits_;  // Of the current epoch, in commit order.
  std::vector<std::vector<Stored>> topics_;
  Offset current_start_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_HISTORY_FIXTURE_H_
