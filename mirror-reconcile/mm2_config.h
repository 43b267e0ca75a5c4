// MirrorMaker 2's settings, as far as the mirror lemma and the promises rest on them.
#ifndef LOCKSTEP_MIRROR_RECONCILE_MM2_CONFIG_H_
#define LOCKSTEP_MIRROR_RECONCILE_MM2_CONFIG_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "common/kafka/preflight.h"

namespace lockstep {

using Mm2Settings = std::map<std::string, std::string>;

// The lines of a Java properties file: `name = value`, `#` and `!` comments, trailing `\` joins
// lines. The last of equal names counts.
Mm2Settings ParseProperties(std::string_view text);

// One finding per check, always the same checks in the same order. nullopt (no --mm2-config):
// everything is unknown, never ok.
std::vector<Finding> CheckMm2(const std::optional<Mm2Settings>& settings);

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_MM2_CONFIG_H_
