// SitePreflight asks both sites and MirrorMaker's settings for what the promises rest on.
#ifndef LOCKSTEP_MIRROR_RECONCILE_SITE_PREFLIGHT_H_
#define LOCKSTEP_MIRROR_RECONCILE_SITE_PREFLIGHT_H_

#include <string>
#include <vector>

#include "common/kafka/preflight.h"
#include "mirror-reconcile/session.h"

namespace lockstep {

struct SiteFinding {
  std::string site;   // `here`, `primary`, `mirror`
  std::string topic;  // Empty: not of a topic.
  Finding finding;
};

// What could not be asked is kUnknown, never kOk.
std::vector<SiteFinding> PreflightSites(Session& session);

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_SITE_PREFLIGHT_H_
