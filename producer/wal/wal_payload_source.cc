#include "producer/wal/wal_payload_source.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "producer/wal/wal.h"

namespace lockstep {
namespace {

constexpr size_t kReadMax = 1000;
constexpr size_t kReadBytesMax = size_t{8} << 20;

class WalPayloadSource final : public PayloadSource {
 public:
  WalPayloadSource(std::string name, std::unique_ptr<Wal> wal)
      : name_(std::move(name)), wal_(std::move(wal)) {}

  absl::StatusOr<std::vector<SourceEvent>> Read(const PayloadRequest& request) override {
    if (request.producer != wal_->owner().producer) {
      return absl::NotFoundError(
          absl::StrCat(name_, " has the events of producer '", wal_->owner().producer, "'"));
    }
    LOCKSTEP_ASSIGN_OR_RETURN(uint64_t place, FirstFrom(request.run.at_first));
    std::vector<SourceEvent> events;
    for (bool more = true; more && place < wal_->end();) {
      const size_t before = events.size();
      LOCKSTEP_ASSIGN_OR_RETURN(place, wal_->Read(place, kReadMax, kReadBytesMax, events));
      for (size_t i = before; more && i < events.size(); ++i) {
        if (CompareSourcePositions(events[i].at, request.run.at_last) <= 0) continue;
        events.resize(i);
        more = false;
      }
    }
    return SelectRunEvents(request, std::move(events), name_);
  }

 private:
  // The place of the first event at or above `at`.
  absl::StatusOr<uint64_t> FirstFrom(const std::string& at) {
    LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t behind, wal_->PlaceBehind(at));
    // Positions are unique: if `at` is here, it is the event just before.
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<WalEntry> before, wal_->EntryBefore(behind));
    return before && before->event.at == at ? before->place : behind;
  }

  const std::string name_;
  const std::unique_ptr<Wal> wal_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PayloadSource>> OpenWalPayloadSource(const std::string& directory) {
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<Wal> wal, Wal::OpenForReading(directory));
  return std::make_unique<WalPayloadSource>("wal:" + directory, std::move(wal));
}

}  // namespace lockstep
