#include "producer/pika/slave.h"

#include <xxhash.h>

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

absl::Status PasswordRefused(std::string_view reply) {
  return absl::PermissionDeniedError("the master refuses the password ('" + Shown(reply) +
                                     "'); give its requirepass with --source-password-file");
}

}  // namespace lockstep::pika
