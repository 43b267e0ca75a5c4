// PikaFilter decides which of a Pika's events are passed on: by command, type of data and key.
//
//   commands=set,del          only these, in any case; exclude-commands= all but these
//   types=string,hash,key     only these data types, as events name them: DEL, EXPIRE and the like
//                             have the type `key`, FLUSHDB and the like `database`
//   keys=user:*,cart:?        only keys that one of the patterns matches; exclude-keys= all but
//                             those
//
// An event passes if every rule that is given lets it pass. A pattern is matched against all of the
// key's bytes: `*` is any bytes, `?` one, `\` takes the next one as it is. Of several keys the
// first counts. A command without a key passes the key rules: it may act on any key.
//
// Pure, and a function of its rules alone: they are part of the SOURCE text, so that whoever reads
// the source again gets the same events.
#ifndef LOCKSTEP_PRODUCER_PIKA_PIKA_FILTER_H_
#define LOCKSTEP_PRODUCER_PIKA_PIKA_FILTER_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "producer/pika/command_table.h"

namespace lockstep::pika {

// True iff `pattern` matches the whole `text`. O(pattern × text).
bool MatchesGlob(std::string_view pattern, std::string_view text);

class PikaFilter {
 public:
  // Sets the rule `name` (`commands`, …) to `values`. INVALID_ARGUMENT says what is wrong with a
  // value: a command that no Pika logs, an unknown type, an empty pattern. NOT_FOUND: no such rule.
  absl::Status Set(std::string_view name, std::vector<std::string> values);

  // `lower_command` in lower case; `key` is nullopt for a command without one.
  bool Passes(std::string_view lower_command, DataType type,
              std::optional<std::string_view> key) const;

  bool operator==(const PikaFilter&) const = default;

 private:
  std::vector<std::string> commands_;  // In lower case. Empty: no such rule.
  std::vector<std::string> exclude_commands_;
  std::vector<DataType> types_;
  std::vector<std::string> keys_;
  std::vector<std::string> exclude_keys_;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_PIKA_FILTER_H_
