#include "producer/pika/slave.h"

#include <xxhash.h>

#include "absl/strings/str_cat.h"

namespace lockstep::pika {
namespace {

constexpr size_t kReplyShownMax = 200;

}  // namespace

uint64_t ReplicationHash(std::string_view replication_id) {
  if (replication_id.empty()) return 0;
  const uint64_t hash = XXH3_64bits(replication_id.data(), replication_id.size());
  return hash == 0 ? 1 : hash;
}

std::string Shown(std::string_view reply) {
  std::string shown(reply.substr(0, kReplyShownMax));
  for (char& c : shown) {
    if (c < ' ' || c > '~') c = '?';
  }
  return shown;
}

absl::Status OtherHistory(const BinlogPosition& position, uint64_t content_mark,
                          const std::string& there) {
  return absl::FailedPreconditionError(absl::StrCat(
      "source behind ledger: this is another history: the last ledgered entry ends at ",
      ToString(position), " and has ", DescribeContentMark(content_mark), ", but here ", there,
      "; the Pika was written to apart from the one that was read so far, or rebuilt at that very "
      "place: name one that has that entry, or go on under another --name"));
}

absl::Status PasswordRefused(std::string_view reply) {
  return absl::PermissionDeniedError("the master refuses the password ('" + Shown(reply) +
                                     "'); give its requirepass with --source-password-file");
}

}  // namespace lockstep::pika
