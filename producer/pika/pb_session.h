// PbSession: one connection of a Pika slave, as a state machine without socket or clock: bytes and
// time in, bytes and binlog items out. docs/formats/pika-replication.md is its manual.
//
//   kMeta ──MetaSync──► kTry ──TrySync──► kStream        any ──► kFailed
//                            ──DBSync───► kCopy
//
// With `copy` it asks for a full copy instead of the stream: the master then makes a dump, which is
// fetched elsewhere (snapshot_session.h), and keeps its binlog from there on while this session
// lasts.
//
// One session reads one database. Pika's databases have binlogs, positions and windows of their
// own, and several versions lose entries when one connection reads more than one.
//
// What it promises:
//   (1) Items come without a hole: the first begins at the position that was asked for, each
//       further one where the one before it ended, and logic_id counts on. Anything else fails.
//       With a content_mark the first is the entry that ends there; one of another history fails.
//   (2) Every item is acknowledged once, in order, and only after Acknowledge.
//   (3) The master hears of us at least every kPingEveryMs, whether or not items are acknowledged:
//       it forgets a slave after 20 s of silence.
//
// It fails as slave.h says.
//
// Not thread-safe. No bytes break it.
#ifndef LOCKSTEP_PRODUCER_PIKA_PB_SESSION_H_
#define LOCKSTEP_PRODUCER_PIKA_PB_SESSION_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "producer/pika/pb_frame.h"
#include "producer/pika/replication.pb.h"
#include "producer/pika/slave.h"

namespace lockstep::pika {

class PbSession {
 public:
  static constexpr int64_t kAnswerTimeoutMs = 10'000;
  static constexpr int64_t kPingEveryMs = 5'000;
  static constexpr int64_t kSilenceMaxMs = 30'000;  // Without a frame while all is acknowledged.

  enum class Stage { kMeta, kTry, kStream, kCopy, kFailed };

  // The connection stands; the first request is in TakeOutput().
  PbSession(SlaveOptions options, int64_t now_ms);

  void OnBytes(std::string_view bytes, int64_t now_ms);
  void OnTick(int64_t now_ms);  // At least once a second.
  // The first `items` of those not yet acknowledged are taken care of: the master may go on.
  // REQUIRES: items ≤ unacknowledged()
  void Acknowledge(size_t items, int64_t now_ms);

  // Bytes to send, in order; empty: none.
  std::string TakeOutput();
  std::vector<ReceivedItem> TakeItems();

  Stage stage() const { return stage_; }
  const absl::Status& status() const { return status_; }  // Not OK iff kFailed.

  // True iff the master has answered as one that speaks this protocol.
  bool understood() const { return understood_; }
  // Known from kTry on.
  const std::string& database() const { return options_.database; }
  const std::string& replication_id() const { return replication_id_; }
  // kStream: the entry that ends at the position has not come yet.
  bool verifying() const { return verifying_; }
  // Known from kStream on: where the master's log ended then.
  const BinlogPosition& master_end() const { return master_end_; }
  // The end of the last item received, or where it began.
  const BinlogPosition& position() const { return position_; }
  size_t unacknowledged() const { return unacknowledged_.size(); }
  // Frames that were not for us: answers to nothing, other databases, earlier sessions.
  int64_t ignored() const { return ignored_; }

 private:
  struct Unacknowledged {
    BinlogPosition end;
    uint32_t term = 0;
    uint64_t index = 0;
  };

  void OnFrame(std::string_view frame, int64_t now_ms);
  absl::Status OnMetaSync(const Response& response);
  absl::Status ChooseDatabase(const Response::MetaSync& meta);
  BinlogPosition Wish() const;
  void Ask(int64_t now_ms);
  absl::Status OnTrySync(const Response& response, int64_t now_ms);
  absl::Status OnDbSync(const Response& response);
  absl::Status OnBinlog(Response::BinlogSync& element);
  absl::Status CheckFirst(const BinlogItem& item, size_t bytes, const BinlogPosition& end);
  absl::Status CheckNext(const BinlogItem& item, size_t bytes, const BinlogPosition& end);
  void Send(const Request& request, int64_t now_ms);
  void SendBinlogSync(const Unacknowledged& first, const Unacknowledged& last, bool first_send,
                      int64_t now_ms);
  void FillNode(Node& node) const;
  void Fail(absl::Status status);

  SlaveOptions options_;
  Stage stage_ = Stage::kMeta;
  absl::Status status_;
  PbFrameReader reader_;
  std::string output_;
  std::vector<ReceivedItem> items_;
  std::deque<Unacknowledged> unacknowledged_;

  bool understood_ = false;
  std::string replication_id_;
  BinlogPosition master_end_;
  int32_t session_id_ = 0;
  BinlogPosition position_;
  bool verifying_ = false;
  std::vector<uint64_t> starts_;  // verifying_: offsets where the entry may begin, not yet refused.
  std::optional<uint64_t> logic_id_;  // Of the item that ended at position_.
  bool ping_due_ = false;
  int64_t ignored_ = 0;
  int64_t asked_at_ms_ = 0;  // kMeta, kTry: the request that waits for its answer.
  int64_t sent_at_ms_ = 0;
  int64_t heard_at_ms_ = 0;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_PB_SESSION_H_
