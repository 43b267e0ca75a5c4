// LegacySession: a slave of a Pika 2.3 or 3.0, as a state machine without sockets or clock.
// docs/formats/pika-legacy.md is its manual.
//
// The master takes a slave's wish on its client port, wants to hear a heartbeat on another, and
// then dials the slave to push the binlog. So there are three connections, and this says which of
// them it wants to have:
//
//   kAsk ──trysync──► kHeartbeat ──spci──► kStream        any ──► kFailed
//     ├──────────────► kRoll (where the position lies behind a full file: until the next begins)
//     └──`wait`──────► kCopy
//
// With `copy` it asks for a full copy: the master then pushes a dump by rsync.
//
// What it promises:
//   (1) Items come without a hole: the first record begins at the position that was asked for, each
//       further one where the one before it ended, and logic_id counts on. Anything else fails. A
//       record that a new connection repeats is recognised; one cut short is not given out. With a
//       content_mark the first is the entry that ends there; one of another history fails.
//   (2) A purged position is not asked for by mistake: one that the master lacks at its end is
//       found out before, since a wrong wish makes it dump the database.
//   (3) The master hears a ping every kPingEveryMs.
//
// There are no acknowledgements: what the master has handed to the network counts as delivered.
//
// It fails as slave.h says. Not thread-safe. No bytes break it.
#ifndef LOCKSTEP_PRODUCER_PIKA_LEGACY_SESSION_H_
#define LOCKSTEP_PRODUCER_PIKA_LEGACY_SESSION_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "producer/pika/byte_queue.h"
#include "producer/pika/resp_reply.h"
#include "producer/pika/slave.h"

namespace lockstep::pika {

// The master dials this port above the one that the slave declares.
inline constexpr int32_t kBinlogPortOffset = 1000;

class LegacySession {
 public:
  static constexpr int64_t kAnswerTimeoutMs = 10'000;
  static constexpr int64_t kPingEveryMs = 1'000;
  static constexpr int64_t kPongTimeoutMs = 20'000;
  // The master dials 2 s after its answer, and again 3 s after a connection broke.
  static constexpr int64_t kDialBackMaxMs = 15'000;

  enum class Stage { kAsk, kRoll, kHeartbeat, kStream, kCopy, kFailed };
  enum Channel : size_t {
    kCommand,    // To the master's client port.
    kHeartbeat,  // To the heartbeat port.
    kBinlog,     // From the master to us; it comes more than once.
  };
  static constexpr size_t kChannels = 3;

  LegacySession(SlaveOptions options, int64_t now_ms);

  // Whether the connection is to be there. One that is not wanted (any more) is to be closed.
  bool Wants(Channel channel) const;
  // REQUIRES: a connection's bytes come between its open and its close; a binlog connection opens
  // after the one before it was read to its end and closed.
  void OnOpen(Channel channel, int64_t now_ms);
  void OnBytes(Channel channel, std::string_view bytes, int64_t now_ms);
  void OnClosed(Channel channel, int64_t now_ms);
  void OnTick(int64_t now_ms);  // At least once a second.

  // Bytes to send, in order; empty: none.
  std::string TakeOutput(Channel channel) { return std::exchange(output_[channel], {}); }
  std::vector<ReceivedItem> TakeItems() { return std::exchange(items_, {}); }

  Stage stage() const { return stage_; }
  const absl::Status& status() const { return status_; }  // Not OK iff kFailed.
  // True iff the master has answered as one that speaks this protocol.
  bool understood() const { return understood_; }
  // Known once understood: where the master's log ended then.
  const BinlogPosition& master_end() const { return master_end_; }
  // The entry that ends at the position has not come yet.
  bool verifying() const { return verifying_; }
  // The end of the last item received, or where it began.
  const BinlogPosition& position() const { return position_; }

 private:
  enum class Asked { kNothing, kAuth, kInfo, kFileSize, kLog, kTrySync };
  // The record that items come from.
  struct Record {
    BinlogPosition start;
    BinlogPosition begin;  // Where it lies: the start, or the next file's.
    uint64_t bytes = 0;    // Of its commands so far.
    uint64_t parts = 0;    // Its commands so far; 0: there was no record yet.
    std::optional<uint64_t> logic_id;
  };

  void Say(Channel channel, const std::vector<std::string_view>& args);
  void Ask(Asked what, int64_t now_ms);
  absl::Status OnCommandReply(const RespReply& reply, int64_t now_ms);
  absl::Status OnInfo(const RespReply& reply);
  absl::Status ReadLogEnd(const std::string& info);
  absl::Status OnFileSize(const RespReply& reply);
  absl::Status OnTrySync(const RespReply& reply, int64_t now_ms);
  // trysync, or what comes before it can be asked.
  void AskForStream(int64_t now_ms);
  absl::Status OnHeartbeatReply(const RespReply& reply, int64_t now_ms);
  absl::Status TakeReplies(Channel channel, int64_t now_ms);
  absl::Status TakeFrames();
  absl::Status TakeCommands();
  absl::Status OnAuth(std::string_view command);
  absl::Status OnRecord(std::string_view body);
  // One command that takes `length` bytes of its record. In 2.3 no command is known to be the last.
  absl::Status OnItem(std::string_view bytes, uint64_t length, bool ends_record);
  absl::Status OnPadding(std::string_view bytes);
  absl::Status BeginRecord(const BinlogItem& item);
  absl::Status Verify(const BinlogItem& item, size_t bytes, bool whole) const;
  bool marked() const { return version_ < 30'000; }  // 2.3: no frames.
  void Fail(absl::Status status);

  const SlaveOptions options_;
  Stage stage_ = Stage::kAsk;
  absl::Status status_;
  std::array<ByteQueue, kChannels> input_;
  std::array<std::string, kChannels> output_;
  std::vector<ReceivedItem> items_;

  bool understood_ = false;
  int64_t version_ = 0;  // 30016 is 3.0.16.
  BinlogPosition master_end_;
  uint64_t file_size_ = 0;  // A file that is larger is followed by another.
  Asked asked_ = Asked::kNothing;
  int64_t asked_at_ms_ = 0;
  int64_t sid_ = 0;
  int64_t pinged_at_ms_ = 0;
  int64_t heard_at_ms_ = 0;

  bool binlog_open_ = false;
  int64_t binlog_gone_at_ms_ = 0;
  bool authenticated_ = false;  // This binlog connection is ours.
  BinlogPosition position_;
  bool verifying_ = false;
  Record record_;
  bool record_open_ = false;  // The next command may be of the same record.
  bool fresh_ = true;         // No record came on this binlog connection yet.
  uint64_t skip_ = 0;         // Commands of the record that were given out already.
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_LEGACY_SESSION_H_
