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
    Break{"term", "an identity carries no term, nothing is void", &Rules::term},
    Break{"adopt-unclosed", "records of closed terms are adopted", &Rules::adopt_unclosed},
    Break{"noop-wal", "a repeated append writes nothing and does not wait", &Rules::noop_wal},
    Break{"strict", "a commit counts while the standby is away", &Rules::strict},
    Break{"open-sync", "records are sent before the open is durable", &Rules::open_sync},
    Break{"abandon-open", "an open of unknown outcome is used", &Rules::abandon_open},
    Break{"epoch-cursor", "a new epoch leaves the gates' terms alone", &Rules::epoch_cursor},
    Break{"cursor-fence", "intent and done do not check the gate's term", &Rules::cursor_fence},
    Break{"atomic-check", "an append checks first and inserts later", &Rules::atomic_check},
    Break{"old-gate-dead", "doubt is resolved while the old gate lives", &Rules::old_gate_dead},
    Break{"gap-safe", "the gap is what lies above the highest position", &Rules::gap_safe},
    Break{"complete", "the gate does not wait for records below", &Rules::complete},
    Break{"intent-sync", "an effect leaves before its intent is durable", &Rules::intent_sync},
    Break{"fence", "an append does not check its term", &Rules::fence},
    Break{"plant-reply-before-flush", "the ledger answers before the standby has flushed", nullptr,
          &Plants::reply_before_flush},
    Break{"plant-mirror-skips", "the mirror loses a record in the middle", nullptr,
          &Plants::mirror_skips},
    Break{"plant-effect-twice", "a gate sends an effect twice", nullptr, &Plants::effect_twice},
    Break{"plant-source-told-early", "the source is told at the delivery report", nullptr,
          &Plants::source_told_early},
    Break{"plant-reinject-loses", "the re-injection drops a record", nullptr,
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
