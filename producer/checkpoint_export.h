// CheckpointExport decides when the ledger's checkpoint is written out, to a file and to a topic.
//
//   (1) Only what the ledger has durably is written.
//   (2) Each place is written at most once an interval, a failed write repeated after one.
//   (3) With both, the topic is given only what the file has: file first.
//
// Not thread-safe. No I/O, no clock.
#ifndef LOCKSTEP_PRODUCER_CHECKPOINT_EXPORT_H_
#define LOCKSTEP_PRODUCER_CHECKPOINT_EXPORT_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lockstep {

class CheckpointExport {
 public:
  enum class Place { kFile, kTopic };

  CheckpointExport(bool has_file, bool has_topic, int64_t interval_ms)
      : has_{has_file, has_topic}, interval_ms_(interval_ms) {}

  // The ledger has this checkpoint, durably. They ascend.
  void OnDurable(std::string_view checkpoint) { durable_ = checkpoint; }

  // What is to be written there now. nullopt: nothing new, too early, or a write is under way.
  // `last`: there is no later, so the interval is not waited for.
  std::optional<std::string> Begin(Place place, int64_t now_ms, bool last = false);
  // REQUIRES: Begin gave something, whose write has ended.
  void End(Place place, bool written, int64_t now_ms);

 private:
  struct Lane {
    std::string written;
    std::optional<std::string> under_way;
    std::optional<int64_t> due_ms;  // nullopt: at once.
  };
  static size_t Index(Place place) { return place == Place::kFile ? 0 : 1; }

  const std::array<bool, 2> has_;
  const int64_t interval_ms_;
  std::string durable_;
  std::array<Lane, 2> lanes_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_CHECKPOINT_EXPORT_H_
