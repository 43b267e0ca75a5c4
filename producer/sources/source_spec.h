// SOURCE texts, as typed after `--source` and as stored with the producer in the ledger.
//
//   jsonl:FILE   jsonl:-
//   table:schema.table?id=COLUMN&value=COLUMN[&key=COLUMN][&xid=COLUMN][&where=CONDITION]
//   pika://HOST:PORT[?db=NAME][&protocol=auto|pb|legacy][&FILTER…]   PORT is the client port
//
// A FILTER is commands=, exclude-commands=, types=, keys= or exclude-keys= with values separated by
// commas (pika_filter.h). In a table's options and in filters `%XX` stands for a byte (`%26` is
// '&', `%2C` a comma that separates nothing). Names are as the catalogue has them:
// case counts, nothing is quoted. Without a schema it is `public`. docs/formats/sources.md.
#ifndef LOCKSTEP_PRODUCER_SOURCES_SOURCE_SPEC_H_
#define LOCKSTEP_PRODUCER_SOURCES_SOURCE_SPEC_H_

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"

#include "producer/pika/pika_filter.h"

namespace lockstep {

struct JsonlSpec {
  std::string path;  // "-": standard input.
  bool standard_input() const { return path == "-"; }
  bool operator==(const JsonlSpec&) const = default;
};

struct TableSpec {
  std::string schema = "public";
  std::string table;
  std::string id;
  std::string value;
  std::optional<std::string> key;
  std::optional<std::string> xid;
  std::optional<std::string> where;  // SQL, ANDed to every read.
  bool operator==(const TableSpec&) const = default;
};

// Pika 3.1 and later speak pb; auto tries that, and falls back to legacy.
enum class PikaProtocol { kAuto, kPb, kLegacy };

struct PikaSpec {
  std::string host;
  int32_t port = 0;      // Of its clients.
  std::string database;  // Empty: the only one.
  PikaProtocol protocol = PikaProtocol::kAuto;
  pika::PikaFilter filter = {};
  std::string filter_text = {};  // As typed: `commands=set&keys=user:*`.
  std::string Address() const;
  bool operator==(const PikaSpec&) const = default;
};

struct SourceSpec {
  std::string text;  // As typed.
  std::variant<JsonlSpec, TableSpec, PikaSpec> kind;
};

// What the ledger knows a producer's source by, and its WAL: SOURCE as typed, but a Pika by its id,
// whatever server has it and however it is read: `pika://SOURCE_ID[?db=NAME][&FILTER…]`.
// `source_id`: empty is HOST:PORT.
std::string RegisteredSource(const SourceSpec& spec, const std::string& source_id);
// True iff `text` is such a Pika's.
bool IsRegisteredPika(std::string_view text);
// What it says but for where it is: database and filter. INVALID_ARGUMENT as below.
absl::StatusOr<PikaSpec> ParseRegisteredPika(std::string_view text);

// INVALID_ARGUMENT says what is wrong and shows a right one; UNIMPLEMENTED for `postgres://`,
// which this version does not read.
absl::StatusOr<SourceSpec> ParseSourceSpec(std::string_view text);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCES_SOURCE_SPEC_H_
