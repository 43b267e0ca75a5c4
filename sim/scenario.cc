#include "sim/scenario.h"

#include <array>

namespace lockstep::sim {
namespace {

constexpr std::array kScenarios = {
    Scenario{.name = "one-site",
             .about = "no site is lost: processes crash, come twice, answers are lost",
             .faults_max = 6},
    Scenario{.name = "site-loss",
             .about = "the primary site is lost, mirrored by the identity policy",
             .sites_lost = 1},
    Scenario{.name = "unordered",
             .about = "default policy, payloads from the sources, re-injected producer by producer",
             .sites_lost = 1,
             .mirror = MirrorKind::kDefault,
             .payload_in_ledger = false,
             .unordered = true},
    Scenario{.name = "no-mirror",
             .about = "the standby's Kafka is empty: everything is re-injected",
             .faults_max = 3,
             .sites_lost = 1,
             .mirror = MirrorKind::kNone},
    Scenario{.name = "two-streams",
             .about = "two partitions, three producers, commits over both",
             .partitions = 2,
             .producers = 3,
             .faults_max = 4,
             .sites_lost = 1},
    Scenario{.name = "fail-back",
             .about = "the old site is rebuilt, the new one is lost: back again",
             .events_max = 2,
             .sites_lost = 2},
};

constexpr std::array kBreaks = {
    Break{"term", "an identity carries no term, nothing is void", "corrupt", &Rules::term},
    Break{"adopt-unclosed", "records of closed terms are adopted", "I5", &Rules::adopt_unclosed},
    Break{"noop-wal", "a repeated append writes nothing and does not wait", "I6", &Rules::noop_wal},
    Break{"strict", "a commit counts while the standby is away", "I6", &Rules::strict},
    Break{"open-sync", "records are sent before the open is durable", "I2", &Rules::open_sync},
    Break{"abandon-open", "an open of unknown outcome is used", "I5", &Rules::abandon_open, nullptr,
          "site-loss"},
    Break{"epoch-cursor", "a new epoch leaves the gates' terms alone", "I3", &Rules::epoch_cursor},
    Break{"cursor-fence", "intent and done do not check the gate's term", "I5",
          &Rules::cursor_fence},
    Break{"atomic-check", "an append checks first and inserts later", "I1", &Rules::atomic_check},
    Break{"old-gate-dead", "doubt is resolved while the old gate lives", "I5: duplicate",
          &Rules::old_gate_dead},
    Break{"gap-safe", "the gap is what lies above the highest position", "lost", &Rules::gap_safe,
          nullptr, "unordered"},
    Break{"complete", "the gate does not wait for records below", "I5", &Rules::complete},
    Break{"intent-sync", "an effect leaves before its intent is durable", "I3",
          &Rules::intent_sync},
    Break{"fence", "an append does not check its term", "I2", &Rules::fence},
    Break{"plant-reply-before-flush", "the ledger answers before the standby has flushed", "I6",
          nullptr, &Plants::reply_before_flush},
    Break{"plant-mirror-skips", "the mirror loses a record in the middle", "lacks seq", nullptr,
          &Plants::mirror_skips},
    Break{"plant-effect-twice", "a gate sends an effect twice", "I5: duplicate", nullptr,
          &Plants::effect_twice},
    Break{"plant-source-told-early", "the source is told at the delivery report", "I6", nullptr,
          &Plants::source_told_early},
    Break{"plant-reinject-loses", "the re-injection drops a record", "hole", nullptr,
          &Plants::reinject_loses},
};

template <class T>
const T* Find(std::span<const T> all, std::string_view name) {
  for (const T& one : all) {
    if (one.name == name) return &one;
  }
  return nullptr;
}

}  // namespace

std::span<const Scenario> AllScenarios() { return kScenarios; }
const Scenario* FindScenario(std::string_view name) { return Find(AllScenarios(), name); }
std::span<const Break> AllBreaks() { return kBreaks; }
const Break* FindBreak(std::string_view name) { return Find(AllBreaks(), name); }

}  // namespace lockstep::sim
