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
//   (2) Every item is acknowledged once, in order, and only after Acknowledge.
//   (3) The master hears of us at least every kPingEveryMs, whether or not items are acknowledged:
//       it forgets a slave after 20 s of silence.
//
// How a session fails, by code:
//   UNAVAILABLE          the master is away, silent, or said no for now: connect again.
//   DATA_LOSS            bytes that make no sense, or a hole (1): connect again at the last
//                        position; the second time at the same place a person must act.
//   PERMISSION_DENIED    wrong password.     NOT_FOUND  no such database.
//   INVALID_ARGUMENT     several databases and none was named.
//   OUT_OF_RANGE         the master's binlog ends below the position: a slave that lags, or an
//                        older copy.
//   ABORTED              the master has purged the position: only a full copy helps.
//   FAILED_PRECONDITION  the position can not be had: not a boundary, another history; no full copy
//                        can be had (before 3.5).
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

#include "producer/pika/binlog_item.h"
#include "producer/pika/pb_frame.h"
#include "producer/pika/replication.pb.h"

namespace lockstep::pika {

struct PbSessionOptions {
  // What the slave calls itself; the master knows it by this, and two live slaves must differ.
  std::string slave_ip;
  int32_t slave_port = 0;
  std::string password;              // The master's `requirepass`; empty: none is sent.
  std::string database;              // `db0`, …; empty: the only one.
  BinlogPosition position;           // Where the last item that we have ended. Empty log: 0:0.
  std::optional<uint64_t> logic_id;  // Of the item that ended there, if it is known.
  std::string replication_id;        // The group that the position is of; empty: not known.
  uint64_t replication_hash = 0;     // The same, as ReplicationHash, for who only kept that. 0: no.
  bool copy = false;                 // A full copy, not the stream.
};

// 0 for an empty id; never 0 else.
uint64_t ReplicationHash(std::string_view replication_id);

class PbSession {
 public:
  static constexpr int64_t kAnswerTimeoutMs = 10'000;
  static constexpr int64_t kPingEveryMs = 5'000;
  static constexpr int64_t kSilenceMaxMs = 30'000;  // Without a frame while all is acknowledged.

  enum class Stage { kMeta, kTry, kStream, kCopy, kFailed };

  struct ReceivedItem {
    BinlogPosition end;
    std::string bytes;  // A binlog item that parses.
  };

  // The connection stands; the first request is in TakeOutput().
  PbSession(PbSessionOptions options, int64_t now_ms);

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

  // Known from kTry on.
  const std::string& database() const { return options_.database; }
  const std::string& replication_id() const { return replication_id_; }
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
  void Ask(int64_t now_ms);
  absl::Status OnTrySync(const Response& response);
  absl::Status OnDbSync(const Response& response);
  absl::Status OnBinlog(Response::BinlogSync& element);
  void Send(const Request& request, int64_t now_ms);
  void SendBinlogSync(const Unacknowledged& first, const Unacknowledged& last, bool first_send,
                      int64_t now_ms);
  void FillNode(Node& node) const;
  void Fail(absl::Status status);

  PbSessionOptions options_;
  Stage stage_ = Stage::kMeta;
  absl::Status status_;
  PbFrameReader reader_;
  std::string output_;
  std::vector<ReceivedItem> items_;
  std::deque<Unacknowledged> unacknowledged_;

  std::string replication_id_;
  BinlogPosition master_end_;
  int32_t session_id_ = 0;
  BinlogPosition position_;
  std::optional<uint64_t> logic_id_;  // Of the item that ended at position_.
  bool ping_due_ = false;
  int64_t ignored_ = 0;
  int64_t asked_at_ms_ = 0;  // kMeta, kTry: the request that waits for its answer.
  int64_t sent_at_ms_ = 0;
  int64_t heard_at_ms_ = 0;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_PB_SESSION_H_
