// What the two replication protocols have in common: what a slave asks for, what it gets, and how
// its session fails. pb_session.h is Pika 3.1 and later, legacy_session.h what came before.
//
// How a session fails, by code:
//   UNAVAILABLE          the master is away, silent, or said no for now: connect again.
//   DATA_LOSS            bytes that make no sense, or a hole: connect again at the last position;
//                        the second time at the same place a person must act.
//   PERMISSION_DENIED    wrong password.     NOT_FOUND  no such database.
//   INVALID_ARGUMENT     several databases and none was named.
//   OUT_OF_RANGE         the master's binlog ends below the position: a slave that lags, or an
//                        older copy.
//   ABORTED              the master has purged the position: only a full copy helps.
//   FAILED_PRECONDITION  the position can not be had: not a boundary, another history; no full copy
//                        can be had.
//   UNIMPLEMENTED        the master speaks the other protocol; or it pushes its copy, and `push`
//   was
//                        not set, or the other way round.
#ifndef LOCKSTEP_PRODUCER_PIKA_SLAVE_H_
#define LOCKSTEP_PRODUCER_PIKA_SLAVE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "producer/pika/binlog_item.h"

namespace lockstep::pika {

enum class Protocol { kPb, kLegacy };

struct SlaveOptions {
  // What the slave calls itself; the master knows it by this, and two live slaves must differ.
  std::string slave_ip;
  int32_t slave_port = 0;
  std::string password;     // The master's `requirepass`; empty: none is sent.
  std::string database;     // `db0`, …; empty: the only one.
  BinlogPosition position;  // Where the last record that we have ended. Empty log: 0:0.
  // Of the record that begins there, so many commands are had already (ReceivedItem::part).
  uint64_t parts = 0;
  std::optional<uint64_t> logic_id;  // Of the last command that we have, if it is known.
  std::string replication_id;        // The group that the position is of; empty: not known.
  uint64_t replication_hash = 0;     // The same, as ReplicationHash, for who only kept that. 0: no.
  // The ContentMark of the entry that ends at `position`. That entry is then asked for too, and
  // must be the first to come: ReceivedItem::verified. 0: it is not asked for.
  uint64_t content_mark = 0;
  bool copy = false;  // A full copy, not the stream.
  bool push = false;  // The copy may be pushed to us by rsync (rsync_receive.h).
};

struct ReceivedItem {
  BinlogPosition end;
  std::string bytes;  // A binlog item that parses. Empty: one that we have; only `end` is news.
  // 0: `end` is where the binlog can be read again. Else this is so many-th command of the record
  // that begins at the item's `start`, and there are, or may be, more: read on from `start`. Only
  // Pikas before 3.0.5 write such records.
  uint64_t part = 0;
  bool verified = false;  // The entry that SlaveOptions::content_mark is of; we have it.
};

// 0 for an empty id; never 0 else.
uint64_t ReplicationHash(std::string_view replication_id);

// What a master says, fit for a message of ours.
std::string Shown(std::string_view reply);
// FAILED_PRECONDITION: the entry that ends at `position` is not the one that was ledgered; `there`
// says what is found instead.
absl::Status OtherHistory(const BinlogPosition& position, uint64_t content_mark,
                          const std::string& there);
// PERMISSION_DENIED, and what to do about it.
absl::Status PasswordRefused(std::string_view reply);

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_SLAVE_H_
